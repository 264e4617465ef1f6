#include "intarsia/formats/common/nibbles_avx512-inl.h"
#include "intarsia/formats/q4_1/q4_1_cpu.h"

namespace intarsia::formats {

const PreparedKernels& Q41Avx512() {
  static constexpr PreparedKernels kernels = IntegerKernels<NibbleBlock<4>>();
  return kernels;
}

}  // namespace intarsia::formats
