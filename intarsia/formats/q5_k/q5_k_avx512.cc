#define INTARSIA_VECTORS "intarsia/formats/common/vectors_avx512-inl.h"
#include "intarsia/formats/common/super_panels-inl.h"
#include "intarsia/formats/q5_k/q5_k_cpu.h"

namespace intarsia::formats {

const PreparedKernels& Q5KPanelsAvx512() {
  static constexpr PreparedKernels kernels =
      avx512::CodeKernels<avx512::LinearPanel<true>>();
  return kernels;
}

}  // namespace intarsia::formats
