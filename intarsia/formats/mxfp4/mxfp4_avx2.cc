#define INTARSIA_VECTORS "intarsia/formats/common/vectors_avx2-inl.h"
#include "intarsia/formats/mxfp4/mxfp4_cpu.h"
#include "intarsia/formats/mxfp4/mxfp4_panel-inl.h"

namespace intarsia::formats {

const PreparedKernels& Mxfp4PanelsAvx2() {
  static constexpr PreparedKernels kernels =
      avx2::CodeKernels<avx2::Mxfp4Panel>();
  return kernels;
}

}  // namespace intarsia::formats
