#define INTARSIA_VECTORS "intarsia/formats/common/vectors_avx512-inl.h"
#include "intarsia/formats/mxfp4/mxfp4_cpu.h"
#include "intarsia/formats/mxfp4/mxfp4_panel-inl.h"

namespace intarsia::formats {

const PreparedKernels& Mxfp4PanelsAvx512() {
  static constexpr PreparedKernels kernels =
      avx512::CodeKernels<avx512::Mxfp4Panel>();
  return kernels;
}

}  // namespace intarsia::formats
