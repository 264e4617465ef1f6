// In builds without CUDA.
#include "intarsia/autograd/autograd_cuda.h"

namespace intarsia {

const autograd_cuda::Kernels* autograd_cuda::kernels = nullptr;

}  // namespace intarsia
