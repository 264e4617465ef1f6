#define INTARSIA_VECTORS "intarsia/formats/common/vectors_avx2-inl.h"
#include "intarsia/formats/common/code_panels-inl.h"
#include "intarsia/formats/q5_1/q5_1_cpu.h"

namespace intarsia::formats {

const PreparedKernels& Q51PanelsAvx2() {
  static constexpr PreparedKernels kernels =
      avx2::CodeKernels<avx2::NibblePanel<true, true>>();
  return kernels;
}

}  // namespace intarsia::formats
