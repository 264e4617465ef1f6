#include "intarsia/formats/common/kernels.h"
#include "intarsia/formats/common/nibbles_avx512-inl.h"

namespace intarsia::formats {

const PreparedKernels& q4_0_cpu::StoredAvx512() {
  static constexpr PreparedKernels kernels = IntegerKernels<NibbleBlock<2>>();
  return kernels;
}

}  // namespace intarsia::formats
