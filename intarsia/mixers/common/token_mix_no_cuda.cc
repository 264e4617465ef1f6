// In place of token_mix_cuda.cu in a build without CUDA.
#include "intarsia/mixers/common/token_mix_cuda.h"

namespace intarsia::token_mix_cuda {

const Kernels* kernels = nullptr;

}  // namespace intarsia::token_mix_cuda
