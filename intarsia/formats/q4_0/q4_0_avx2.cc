#include "intarsia/formats/common/code_panels_avx2-inl.h"
#include "intarsia/formats/q4_0/q4_0_cpu.h"

namespace intarsia::formats {

const PreparedKernels& Q40Avx2() {
  static constexpr PreparedKernels kernels =
      panels::CodeKernels<panels::NibblePanel<false>>();
  return kernels;
}

}  // namespace intarsia::formats
