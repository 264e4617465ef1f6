#define INTARSIA_VECTORS "intarsia/formats/common/vectors_avx2-inl.h"
#include "intarsia/formats/common/code_panels-inl.h"
#include "intarsia/formats/q4_1/q4_1_cpu.h"

namespace intarsia::formats {

const PreparedKernels& Q41Avx2() {
  static constexpr PreparedKernels kernels =
      avx2::CodeKernels<avx2::NibblePanel<true>>();
  return kernels;
}

}  // namespace intarsia::formats
