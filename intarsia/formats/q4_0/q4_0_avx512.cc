#define INTARSIA_VECTORS "intarsia/formats/common/vectors_avx512-inl.h"
#include "intarsia/formats/common/code_panels-inl.h"
#include "intarsia/formats/common/nibbles_avx512-inl.h"
#include "intarsia/formats/q4_0/q4_0_cpu.h"

namespace intarsia::formats {

const PreparedKernels& Q40Avx512() {
  static constexpr PreparedKernels kernels = IntegerKernels<NibbleBlock<2>>();
  return kernels;
}

const PreparedKernels& Q40PanelsAvx512() {
  static constexpr PreparedKernels kernels =
      avx512::CodeKernels<avx512::NibblePanel<false>>();
  return kernels;
}

}  // namespace intarsia::formats
