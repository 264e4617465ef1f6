#define INTARSIA_VECTORS "intarsia/formats/common/vectors_avx2-inl.h"
#include "intarsia/formats/common/code_panels-inl.h"
#include "intarsia/formats/iq4_nl/iq4_nl_cpu.h"

namespace intarsia::formats {

const PreparedKernels& Iq4NlPanelsAvx2() {
  static constexpr PreparedKernels kernels =
      avx2::CodeKernels<avx2::Iq4NlPanel>();
  return kernels;
}

}  // namespace intarsia::formats
