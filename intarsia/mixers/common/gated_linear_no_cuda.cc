// In place of gated_linear_cuda.cu in a build without CUDA.
#include "intarsia/mixers/common/gated_linear_cuda.h"

namespace intarsia::gated_linear_cuda {

const Kernels* kernels = nullptr;

}  // namespace intarsia::gated_linear_cuda
