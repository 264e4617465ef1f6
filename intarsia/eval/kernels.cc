#include "intarsia/eval/kernels.h"

#include <algorithm>
#include <chrono>

#include "intarsia/eval/kernels_gpu.h"

namespace intarsia {
namespace {

// A sample lasts this long at least, so that the clock does not matter.
constexpr double kSample = 2e-3;

bool Named(const std::string& row, const std::string& name) {
  return row.starts_with(name) || row.find("." + name) != std::string::npos;
}

// Seconds of `times` runs, to the end of the device's work.
double Seconds(Device device, const std::function<void()>& run, int times) {
  Backend(device).Synchronize();
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < times; ++i) run();
  Backend(device).Synchronize();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start)
      .count();
}

KernelRow Measure(const KernelBench& bench, const Context& ctx,
                  const KernelOptions& options) {
  KernelRow row;
  row.name = bench.name;
  row.shape = bench.shape;
  row.tolerance = bench.tolerance;
  try {
    const KernelBench::Ready ready = bench.prepare(ctx);
    row.max_error = ready.check();
    const double once = Seconds(ctx.device, ready.run, 1);
    const int times =
        options.quick ? 1
                      : static_cast<int>(1 + kSample / (once + kSample / 1e3));
    std::vector<double> samples;
    for (int r = 0; r < options.repeats; ++r) {
      samples.push_back(Seconds(ctx.device, ready.run, times) / times);
    }
    std::ranges::sort(samples);
    row.seconds = samples[samples.size() / 2];
    row.bytes_per_second = bench.bytes / row.seconds;
    row.flops = bench.flops / row.seconds;
  } catch (const EngineError& error) {
    row.skipped = error.what();
  }
  return row;
}

}  // namespace

Result<std::vector<KernelRow>> MeasureKernels(
    const KernelOptions& options,
    const std::function<void(const KernelRow&)>& done) {
  const bool gpu = options.device.is_cuda();
  if (gpu && CudaBackendOrNull() == nullptr) {
    return Unavailable("[bench] " + WhyNoGpuKernels());
  }
  ThreadPool pool(options.threads);
  Context ctx;
  ctx.pool = &pool;
  ctx.device = options.device;
  std::vector<KernelRow> rows;
  std::vector<std::string> names;
  for (const RoomBench& room : RoomBenches()) {
    for (const KernelBench& bench : room(options.quick)) {
      names.push_back(bench.name);
      if (!Named(bench.name, options.name)) continue;
      rows.push_back(Measure(bench, ctx, options));
      if (done) done(rows.back());
    }
  }
  if (gpu) {
    const auto wanted = [&](const std::string& name) {
      return Named(name, options.name);
    };
    for (KernelRow& row : MeasureGpuKernels(options, wanted, done, &names)) {
      rows.push_back(std::move(row));
    }
  }
  if (rows.empty()) {
    std::string all;
    for (const std::string& name : names) all += " " + name;
    return NotFound("[bench] no kernel is named " + options.name +
                    "; there are:" + all +
                    (gpu ? "" : ", and those of a GPU (--device cuda)"));
  }
  return rows;
}

}  // namespace intarsia
