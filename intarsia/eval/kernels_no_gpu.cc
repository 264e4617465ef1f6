// Stands in for kernels_gpu.cc in a build without CUDA.
#include "intarsia/eval/kernels_gpu.h"

namespace intarsia {

std::string WhyNoGpuKernels() {
  return "this build has no CUDA, so no kernel of a GPU can be run: configure "
         "with -DINTARSIA_CUDA=ON (make cuda), which needs nvcc";
}

std::vector<KernelRow> MeasureGpuKernels(
    const KernelOptions&, const std::function<bool(const std::string&)>&,
    const std::function<void(const KernelRow&)>&, std::vector<std::string>*) {
  return {};
}

double MeasureCopyBandwidth() { return 0; }

}  // namespace intarsia
