// The tuned kernels of a GPU (cuda/bench/kernel_case.h) as rows beside those of
// the rooms. kernels_gpu.cc has them; in a build without CUDA
// kernels_no_gpu.cc stands in and has none.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "intarsia/eval/kernels.h"

namespace intarsia {

// Why this build on this machine cannot run them, for its user; "" if it can.
std::string WhyNoGpuKernels();

// Adds the names of all tuned kernels to `names`, each once, and measures those
// that `wanted` accepts: checked, then timed beside a copy. EngineError: a
// kernel failed.
std::vector<KernelRow> MeasureGpuKernels(
    const KernelOptions& options,
    const std::function<bool(const std::string& name)>& wanted,
    const std::function<void(const KernelRow&)>& done,
    std::vector<std::string>* names);

}  // namespace intarsia
