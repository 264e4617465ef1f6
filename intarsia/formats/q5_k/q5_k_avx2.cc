#define INTARSIA_VECTORS "intarsia/formats/common/vectors_avx2-inl.h"
#include "intarsia/formats/common/super_panels-inl.h"
#include "intarsia/formats/q5_k/q5_k_cpu.h"

namespace intarsia::formats {

const PreparedKernels& Q5KPanelsAvx2() {
  static constexpr PreparedKernels kernels =
      avx2::CodeKernels<avx2::LinearPanel<true>>();
  return kernels;
}

}  // namespace intarsia::formats
