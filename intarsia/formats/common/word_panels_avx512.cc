#define INTARSIA_VECTORS "intarsia/formats/common/vectors_avx512-inl.h"
#include "intarsia/formats/common/word_panels-inl.h"
#include "intarsia/formats/common/word_panels.h"

namespace intarsia::formats {

const PreparedKernels& BF16PanelsAvx512() {
  static constexpr PreparedKernels kernels =
      avx512::WordKernels<avx512::StoredBF16>();
  return kernels;
}

const PreparedKernels& F16PanelsAvx512() {
  static constexpr PreparedKernels kernels =
      avx512::WordKernels<avx512::StoredF16>();
  return kernels;
}

}  // namespace intarsia::formats
