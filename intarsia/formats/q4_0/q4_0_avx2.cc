#define INTARSIA_VECTORS "intarsia/formats/common/vectors_avx2-inl.h"
#include "intarsia/formats/common/code_panels-inl.h"
#include "intarsia/formats/q4_0/q4_0_cpu.h"

namespace intarsia::formats {

const PreparedKernels& Q40Avx2() {
  static constexpr PreparedKernels kernels =
      avx2::CodeKernels<avx2::NibblePanel<false>>();
  return kernels;
}

}  // namespace intarsia::formats
