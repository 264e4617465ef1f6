#define INTARSIA_VECTORS "intarsia/formats/common/vectors_avx512-inl.h"
#include "intarsia/formats/common/code_panels-inl.h"
#include "intarsia/formats/common/nibbles_avx512-inl.h"
#include "intarsia/formats/q4_1/q4_1_cpu.h"

namespace intarsia::formats {

const PreparedKernels& Q41Avx512() {
  static constexpr PreparedKernels kernels = IntegerKernels<NibbleBlock<4>>();
  return kernels;
}

const PreparedKernels& Q41PanelsAvx512() {
  static constexpr PreparedKernels kernels =
      avx512::CodeKernels<avx512::NibblePanel<true>>();
  return kernels;
}

}  // namespace intarsia::formats
