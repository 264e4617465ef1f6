#include "intarsia/eval/kernels_gpu.h"

#include <cuda_runtime_api.h>

#include <algorithm>

#include "intarsia/core/check.h"
#include "intarsia/cuda/bench/kernel_case.h"
#include "intarsia/cuda/bench/timer.h"

namespace intarsia {
namespace {

using bench::GpuCase;
using bench::OutputError;

// The output that is nearest to its tolerance, or past it.
OutputError Worst(const std::vector<OutputError>& errors) {
  const auto share = [](const OutputError& e) {
    return e.tolerance > 0 ? e.error / e.tolerance : e.error;
  };
  return *std::max_element(errors.begin(), errors.end(),
                           [&](const OutputError& a, const OutputError& b) {
                             return share(a) < share(b);
                           });
}

KernelRow Measure(const GpuCase& c, const KernelOptions& options) {
  KernelRow row;
  row.name = c.name;
  row.shape = c.shape;
  row.tuned = true;
  GpuCase::Ready ready;
  try {
    ready = c.prepare(/*seed=*/1);
  } catch (const EngineError& error) {  // less memory than an H100 has
    row.skipped = error.what();
    return row;
  }
  try {
    const OutputError worst = Worst(ready.check());
    row.max_error = worst.error;
    row.tolerance = worst.tolerance;
    row.output = worst.what;
    const int rounds = options.quick ? 3 : std::max(15, options.repeats);
    const bench::GpuTiming time =
        bench::TimeBesideCopy({{ready.launch, c.bytes, c.flops}}, rounds)[0];
    row.seconds = time.median_us * 1e-6;
    row.bytes_per_second = c.bytes / row.seconds;
    row.flops = c.flops / row.seconds;
    row.of_copy = row.bytes_per_second / time.copy_rate;
    return row;
  } catch (const EngineError& error) {
    // Not a row to be skipped: nothing on this GPU works after such a failure.
    throw EngineError("[bench] " + c.name + " (" + c.shape +
                      "): " + error.what());
  }
}

}  // namespace

std::string WhyNoGpuKernels() {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status != cudaSuccess || count == 0) {
    cudaGetLastError();
    return std::string("no GPU can be used: ") +
           (status != cudaSuccess ? cudaGetErrorString(status)
                                  : "the driver sees none");
  }
  const bench::GpuInfo gpu = bench::GetGpuInfo();
  if (gpu.major == 9 && gpu.minor == 0) return "";
  return "the first GPU, " + gpu.name + ", has compute capability " +
         std::to_string(gpu.major) + "." + std::to_string(gpu.minor) +
         "; the tuned kernels are for 9.0 alone (H100, H200)";
}

std::vector<KernelRow> MeasureGpuKernels(
    const KernelOptions& options,
    const std::function<bool(const std::string& name)>& wanted,
    const std::function<void(const KernelRow&)>& done,
    std::vector<std::string>* names) {
  const std::string why_not = WhyNoGpuKernels();
  std::vector<KernelRow> rows;
  for (const bench::GpuCases cases : bench::AllGpuCases()) {
    for (const GpuCase& c : cases(options.quick)) {
      if (c.use != GpuCase::Use::kTable) continue;
      const bool first =
          std::find(names->begin(), names->end(), c.name) == names->end();
      if (first) names->push_back(c.name);
      if (!wanted(c.name)) continue;
      if (why_not.empty()) {
        rows.push_back(Measure(c, options));
      } else if (first) {
        rows.emplace_back();
        rows.back().name = c.name;
        rows.back().tuned = true;
        rows.back().skipped = why_not;
      } else {
        continue;
      }
      if (done) done(rows.back());
    }
  }
  return rows;
}

double MeasureCopyBandwidth() { return bench::CopyRate(); }

}  // namespace intarsia
