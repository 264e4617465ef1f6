#include "intarsia/formats/common/code_panels_avx2-inl.h"
#include "intarsia/formats/q8_0/q8_0_cpu.h"

namespace intarsia::formats {

const PreparedKernels& Q80Avx2() {
  static constexpr PreparedKernels kernels =
      panels::CodeKernels<panels::BytePanel>();
  return kernels;
}

}  // namespace intarsia::formats
