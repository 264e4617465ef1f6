#include "intarsia/formats/common/nibbles_avx512-inl.h"
#include "intarsia/formats/q4_0/q4_0_cpu.h"

namespace intarsia::formats {

const PreparedKernels& Q40Avx512() {
  static constexpr PreparedKernels kernels = IntegerKernels<NibbleBlock<2>>();
  return kernels;
}

}  // namespace intarsia::formats
