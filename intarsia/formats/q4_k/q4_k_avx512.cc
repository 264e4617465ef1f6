#define INTARSIA_VECTORS "intarsia/formats/common/vectors_avx512-inl.h"
#include "intarsia/formats/common/super_panels-inl.h"
#include "intarsia/formats/q4_k/q4_k_cpu.h"

namespace intarsia::formats {

const PreparedKernels& Q4KPanelsAvx512() {
  static constexpr PreparedKernels kernels =
      avx512::CodeKernels<avx512::LinearPanel<false>>();
  return kernels;
}

}  // namespace intarsia::formats
