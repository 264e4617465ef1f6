#define INTARSIA_VECTORS "intarsia/formats/common/vectors_avx512-inl.h"
#include "intarsia/formats/q3_k/q3_k_cpu.h"
#include "intarsia/formats/q3_k/q3_k_panel-inl.h"

namespace intarsia::formats {

const PreparedKernels& Q3KPanelsAvx512() {
  static constexpr PreparedKernels kernels =
      avx512::CodeKernels<avx512::Q3KPanel>();
  return kernels;
}

}  // namespace intarsia::formats
