#define INTARSIA_VECTORS "intarsia/formats/common/vectors_avx2-inl.h"
#include "intarsia/formats/common/word_panels-inl.h"
#include "intarsia/formats/common/word_panels.h"

namespace intarsia::formats {

const PreparedKernels& BF16PanelsAvx2() {
  static constexpr PreparedKernels kernels =
      avx2::WordKernels<avx2::StoredBF16>();
  return kernels;
}

const PreparedKernels& F16PanelsAvx2() {
  static constexpr PreparedKernels kernels =
      avx2::WordKernels<avx2::StoredF16>();
  return kernels;
}

}  // namespace intarsia::formats
