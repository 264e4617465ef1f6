#define INTARSIA_VECTORS "intarsia/formats/common/vectors_avx512-inl.h"
#include "intarsia/formats/common/code_panels-inl.h"
#include "intarsia/formats/q5_0/q5_0_cpu.h"

namespace intarsia::formats {

const PreparedKernels& Q50PanelsAvx512() {
  static constexpr PreparedKernels kernels =
      avx512::CodeKernels<avx512::NibblePanel<false, true>>();
  return kernels;
}

}  // namespace intarsia::formats
