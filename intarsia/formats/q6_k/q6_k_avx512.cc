#define INTARSIA_VECTORS "intarsia/formats/common/vectors_avx512-inl.h"
#include "intarsia/formats/q6_k/q6_k_cpu.h"
#include "intarsia/formats/q6_k/q6_k_panel-inl.h"

namespace intarsia::formats {

const PreparedKernels& Q6KPanelsAvx512() {
  static constexpr PreparedKernels kernels =
      avx512::CodeKernels<avx512::Q6KPanel>();
  return kernels;
}

}  // namespace intarsia::formats
