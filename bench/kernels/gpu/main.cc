// bench_gpu_kernels [FAMILY ...] [--check-only] [--time-only] [--quick]
//   [--only TEXT] [--shape TEXT] [--output FILE] [--seed N] [--rounds N]
//   [--budget SECONDS]
// Checks, then times, the kernels of the named families (all by default) on
// GPU 0. Exit status 1 if a check failed, 2 on bad usage, 3 on a CUDA error.
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "bench/kernels/gpu/driver.h"

namespace intarsia::bench {

#define FAMILY(name, function) void function(const Options&, Report*);
#include "bench/kernels/gpu/families.def"
#undef FAMILY

namespace {

struct Family {
  const char* name;
  FamilyFn run;
};
constexpr Family kFamilies[] = {
#define FAMILY(name, function) {#name, function},
#include "bench/kernels/gpu/families.def"
#undef FAMILY
};

int Usage() {
  std::fprintf(
      stderr,
      "usage: bench_gpu_kernels [FAMILY ...] [--check-only] "
      "[--time-only] [--quick]\n  [--only TEXT] [--shape TEXT] [--output FILE] "
      "[--seed N] [--rounds N] [--budget SECONDS]\nfamilies:");
  for (const Family& family : kFamilies) {
    std::fprintf(stderr, " %s", family.name);
  }
  std::fprintf(stderr, "\n");
  return 2;
}

int Run(int argc, char** argv) {
  Options options;
  std::vector<const Family*> chosen;
  for (int i = 1; i < argc; ++i) {
    const std::string_view arg = argv[i];
    const char* value = i + 1 < argc ? argv[i + 1] : nullptr;
    if (arg == "--check-only") {
      options.time = false;
    } else if (arg == "--time-only") {
      options.check = false;
    } else if (arg == "--quick") {
      options.quick = true;
    } else if (arg.substr(0, 2) != "--") {
      const Family* found = nullptr;
      for (const Family& family : kFamilies) {
        if (arg == family.name) found = &family;
      }
      if (found == nullptr) return Usage();
      chosen.push_back(found);
    } else {
      if (value == nullptr) return Usage();
      ++i;
      if (arg == "--only") {
        options.only = value;
      } else if (arg == "--shape") {
        options.shape = value;
      } else if (arg == "--output") {
        options.output = value;
      } else if (arg == "--seed") {
        options.seed = std::strtoull(value, nullptr, 10);
      } else if (arg == "--rounds") {
        options.rounds = std::atoi(value);
      } else if (arg == "--budget") {
        options.budget_s = std::atof(value);
      } else {
        return Usage();
      }
    }
  }
  if (chosen.empty()) {
    for (const Family& family : kFamilies) chosen.push_back(&family);
  }
  Report report(options.output);
  const DeviceInfo device = GetDeviceInfo();
  report.Line({Report::Str("device", device.name),
               Report::Num("multiprocessors", device.multiprocessors),
               Report::Num("l2_bytes", device.l2_bytes)});
  if (options.time) {
    report.Line({Report::Str("measure", "copy"),
                 Report::Num("tb_per_s", MeasureCopyBandwidth() * 1e-12)});
  }
  for (const Family* family : chosen) family->run(options, &report);
  std::printf("%s: %d failed checks\n", report.failures() ? "FAIL" : "ok",
              report.failures());
  return report.failures() > 0 ? 1 : 0;
}

}  // namespace
}  // namespace intarsia::bench

int main(int argc, char** argv) { return intarsia::bench::Run(argc, argv); }
