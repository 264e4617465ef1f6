#define INTARSIA_VECTORS "intarsia/formats/common/vectors_avx2-inl.h"
#include "intarsia/formats/q3_k/q3_k_cpu.h"
#include "intarsia/formats/q3_k/q3_k_panel-inl.h"

namespace intarsia::formats {

const PreparedKernels& Q3KPanelsAvx2() {
  static constexpr PreparedKernels kernels =
      avx2::CodeKernels<avx2::Q3KPanel>();
  return kernels;
}

}  // namespace intarsia::formats
