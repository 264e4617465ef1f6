#define INTARSIA_VECTORS "intarsia/formats/common/vectors_avx2-inl.h"
#include "intarsia/formats/q6_k/q6_k_cpu.h"
#include "intarsia/formats/q6_k/q6_k_panel-inl.h"

namespace intarsia::formats {

const PreparedKernels& Q6KPanelsAvx2() {
  static constexpr PreparedKernels kernels =
      avx2::CodeKernels<avx2::Q6KPanel>();
  return kernels;
}

}  // namespace intarsia::formats
