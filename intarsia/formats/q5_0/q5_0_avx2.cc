#define INTARSIA_VECTORS "intarsia/formats/common/vectors_avx2-inl.h"
#include "intarsia/formats/common/code_panels-inl.h"
#include "intarsia/formats/q5_0/q5_0_cpu.h"

namespace intarsia::formats {

const PreparedKernels& Q50PanelsAvx2() {
  static constexpr PreparedKernels kernels =
      avx2::CodeKernels<avx2::NibblePanel<false, true>>();
  return kernels;
}

}  // namespace intarsia::formats
