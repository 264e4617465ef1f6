// bench_gpu_kernels [NAME ...] [--check-only] [--time-only] [--quick] [--list]
//   [--only TEXT] [--shape TEXT] [--output FILE] [--seed N] [--rounds N]
//   [--budget SECONDS]
// Checks, then times, the kernels whose name or a part of it after a dot begins
// with a NAME (all by default; attention_forward stands for
// attention.sm90.forward) on GPU 0, as `intarsia bench kernels --device cuda`
// does, but on every shape, with variants, and in turn where they share a
// shape. Exit status 1 if a check failed, 2 on bad usage, 3 on a CUDA error.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>

#include "bench/kernels/gpu/more_cases.h"
#include "bench/kernels/gpu/report.h"
#include "intarsia/cuda/bench/timer.h"
#ifdef INTARSIA_BENCH_TUNE
#include "bench/kernels/gpu/attention_backward_variants.h"
#include "bench/kernels/gpu/attention_forward_variants.h"
#endif

namespace intarsia::bench {
namespace {

struct Options {
  bool check = true;   // compare with the reference
  bool time = true;    // measure
  bool quick = false;  // few, small shapes (for the sanitizer)
  bool list = false;   // names and shapes only; needs no GPU
  std::vector<std::string> names;
  std::string only;    // cases whose name contains this
  std::string shape;   // cases whose shape contains this
  std::string output;  // JSON lines go here as they come ("" = nowhere)
  uint64_t seed = 1;
  int rounds = 15;
  double budget_s = 200;  // no new timing starts after this long
};

int Usage() {
  std::fprintf(
      stderr,
      "usage: bench_gpu_kernels [NAME ...] [--check-only] [--time-only] "
      "[--quick]\n  [--list] [--only TEXT] [--shape TEXT] [--output FILE] "
      "[--seed N] [--rounds N]\n  [--budget SECONDS]\n");
  return 2;
}

// False on bad usage.
bool Parse(int argc, char** argv, Options* options) {
  for (int i = 1; i < argc; ++i) {
    const std::string_view arg = argv[i];
    if (arg == "--check-only") {
      options->time = false;
    } else if (arg == "--time-only") {
      options->check = false;
    } else if (arg == "--quick") {
      options->quick = true;
    } else if (arg == "--list") {
      options->list = true;
    } else if (arg.substr(0, 2) != "--") {
      options->names.emplace_back(arg);
    } else if (i + 1 == argc) {
      return false;
    } else {
      const char* value = argv[++i];
      if (arg == "--only") {
        options->only = value;
      } else if (arg == "--shape") {
        options->shape = value;
      } else if (arg == "--output") {
        options->output = value;
      } else if (arg == "--seed") {
        options->seed = std::strtoull(value, nullptr, 10);
      } else if (arg == "--rounds") {
        options->rounds = std::atoi(value);
      } else if (arg == "--budget") {
        options->budget_s = std::atof(value);
      } else {
        return false;
      }
    }
  }
  return true;
}

std::vector<GpuCase> AllCases(bool quick) {
  std::vector<GpuCase> all;
  const auto add = [&](std::vector<GpuCase> cases) {
    for (GpuCase& c : cases) all.push_back(std::move(c));
  };
  for (const GpuCases cases : AllGpuCases()) add(cases(quick));
#ifdef INTARSIA_BENCH_TUNE
  for (const auto variants :
       {ForwardVariants64(), ForwardVariants128(), ForwardVariants256()}) {
    for (const ForwardVariant& v : variants) {
      add(AttentionForwardCases(v, quick));
    }
  }
  for (const auto variants : {BackwardVariants64(), BackwardVariants128()}) {
    for (const BackwardVariant& v : variants) {
      add(AttentionBackwardCases(v, quick));
    }
  }
#endif
  if (!quick) add(AttentionSteps());
  if (!quick) add(ScanPeer());
  if (!quick) add(MlaPeer());
  return all;
}

bool IsWanted(const GpuCase& c, const Options& options) {
  bool named = options.names.empty();
  std::string joined = c.name;  // "attention_forward"
  const size_t middle = joined.find(".sm90.");
  if (middle != std::string::npos) joined.replace(middle, 6, "_");
  for (const std::string& name : options.names) {
    named |= c.name.rfind(name, 0) == 0 || joined.rfind(name, 0) == 0 ||
             c.name.find("." + name) != std::string::npos;
  }
  return named && c.name.find(options.only) != std::string::npos &&
         c.shape.find(options.shape) != std::string::npos;
}

void Check(const GpuCase& c, const Options& options, Report* report) {
  const GpuCase::Ready ready = c.prepare(options.seed);
  if (ready.check == nullptr) return;
  std::vector<Report::Field> line = {Report::Str("check", c.name),
                                     Report::Str("case", c.shape)};
  std::string wrong;
  for (const OutputError& e : ready.check()) {
    line.push_back(Report::Num(e.what, e.error));
    if (!e.right())
      wrong += (wrong.empty() ? "" : "; ") + e.what + " " + e.worst;
  }
  line.push_back(Report::Str("result", wrong.empty() ? "ok" : "FAIL"));
  if (!wrong.empty()) {
    line.push_back(Report::Str("worst", wrong));
    report->Fail();
  }
  report->Line(line);
}

// Variants of one kernel, on one shape.
void Time(const std::vector<const GpuCase*>& cases, const Options& options,
          Report* report) {
  std::vector<GpuWork> works;
  for (const GpuCase* c : cases) {
    works.push_back({c->prepare(options.seed).launch, c->bytes, c->flops});
  }
  const std::vector<GpuTiming> times = TimeBesideCopy(works, options.rounds);
  for (size_t i = 0; i < cases.size(); ++i) {
    const GpuTiming& t = times[i];
    const double rate = 1e6 * works[i].bytes / t.median_us;
    std::vector<Report::Field> line = {
        Report::Str("time", cases[i]->name),
        Report::Str("case", cases[i]->shape),
        Report::Num("us", t.median_us),
        Report::Num("min_us", t.min_us),
        Report::Num("p90_us", t.p90_us),
        Report::Num("tb_per_s", rate * 1e-12),
        Report::Num("of_copy", rate / t.copy_rate)};
    if (works[i].flops > 0) {
      line.push_back(
          Report::Num("tflops", works[i].flops / t.median_us * 1e-6));
    }
    report->Line(line);
  }
}

// "attention.sm90.forward" of a variant of it.
std::string KernelOf(const std::string& name) {
  size_t end = 0;
  for (int dots = 0; end < name.size(); ++end) {
    if (name[end] == '.' && ++dots == 3) break;
  }
  return name.substr(0, end);
}

int Run(const Options& options) {
  const auto start = std::chrono::steady_clock::now();
  std::vector<GpuCase> cases;
  for (GpuCase& c : AllCases(options.quick)) {
    if (IsWanted(c, options)) cases.push_back(std::move(c));
  }
  if (cases.empty()) {
    std::fprintf(stderr, "no kernel has such a name; --list shows all\n");
    return 2;
  }
  if (options.list) {
    for (const GpuCase& c : cases) {
      std::printf("%s  %s%s\n", c.name.c_str(), c.shape.c_str(),
                  c.use == GpuCase::Use::kChecked ? "" : "  timed");
    }
    return 0;
  }
  Report report(options.output);
  const GpuInfo gpu = GetGpuInfo();
  report.Line({Report::Str("device", gpu.name),
               Report::Num("multiprocessors", gpu.multiprocessors),
               Report::Num("l2_bytes", static_cast<double>(gpu.l2_bytes))});
  for (const GpuCase& c : cases) {
    // The sanitizer wants the odd shapes alone.
    if (!options.time && options.quick && c.use != GpuCase::Use::kChecked) {
      continue;
    }
    if (options.check) Check(c, options, &report);
  }
  if (options.time) {
    report.Line({Report::Str("measure", "copy"),
                 Report::Num("tb_per_s", CopyRate() * 1e-12)});
  }
  std::vector<bool> done(cases.size(), !options.time);
  for (size_t i = 0; i < cases.size(); ++i) {
    std::vector<const GpuCase*> group;
    for (size_t j = i; j < cases.size(); ++j) {
      if (done[j] || cases[j].use == GpuCase::Use::kChecked ||
          cases[j].shape != cases[i].shape ||
          KernelOf(cases[j].name) != KernelOf(cases[i].name)) {
        continue;
      }
      done[j] = true;
      group.push_back(&cases[j]);
    }
    if (group.empty()) continue;
    const std::chrono::duration<double> spent =
        std::chrono::steady_clock::now() - start;
    if (spent.count() > options.budget_s) break;
    Time(group, options, &report);
  }
  std::printf("%s: %d failed checks\n", report.failures() ? "FAIL" : "ok",
              report.failures());
  return report.failures() > 0 ? 1 : 0;
}

}  // namespace
}  // namespace intarsia::bench

int main(int argc, char** argv) {
  intarsia::bench::Options options;
  if (!intarsia::bench::Parse(argc, argv, &options)) {
    return intarsia::bench::Usage();
  }
  try {
    return intarsia::bench::Run(options);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 3;
  }
}
