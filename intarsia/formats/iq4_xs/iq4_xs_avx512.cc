#define INTARSIA_VECTORS "intarsia/formats/common/vectors_avx512-inl.h"
#include "intarsia/formats/iq4_xs/iq4_xs_cpu.h"
#include "intarsia/formats/iq4_xs/iq4_xs_panel-inl.h"

namespace intarsia::formats {

const PreparedKernels& Iq4XsPanelsAvx512() {
  static constexpr PreparedKernels kernels =
      avx512::CodeKernels<avx512::Iq4XsPanel>();
  return kernels;
}

}  // namespace intarsia::formats
