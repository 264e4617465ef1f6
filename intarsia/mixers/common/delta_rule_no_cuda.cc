// In place of delta_rule_cuda.cu in a build without CUDA.
#include "intarsia/mixers/common/delta_rule_cuda.h"

namespace intarsia::delta_rule_cuda {

const Kernels* kernels = nullptr;

}  // namespace intarsia::delta_rule_cuda
