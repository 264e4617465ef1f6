#define INTARSIA_VECTORS "intarsia/formats/common/vectors_avx2-inl.h"
#include "intarsia/formats/common/code_panels-inl.h"
#include "intarsia/formats/q8_0/q8_0_cpu.h"

namespace intarsia::formats {

const PreparedKernels& Q80Avx2() {
  static constexpr PreparedKernels kernels =
      avx2::CodeKernels<avx2::BytePanel>();
  return kernels;
}

}  // namespace intarsia::formats
