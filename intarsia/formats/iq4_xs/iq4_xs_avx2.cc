#define INTARSIA_VECTORS "intarsia/formats/common/vectors_avx2-inl.h"
#include "intarsia/formats/iq4_xs/iq4_xs_cpu.h"
#include "intarsia/formats/iq4_xs/iq4_xs_panel-inl.h"

namespace intarsia::formats {

const PreparedKernels& Iq4XsPanelsAvx2() {
  static constexpr PreparedKernels kernels =
      avx2::CodeKernels<avx2::Iq4XsPanel>();
  return kernels;
}

}  // namespace intarsia::formats
