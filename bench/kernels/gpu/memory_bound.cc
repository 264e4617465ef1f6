#include "bench/kernels/gpu/memory_bound.h"

#include <algorithm>
#include <cmath>

namespace intarsia::bench {

void CheckClose(Report* report, const std::string& family,
                const std::string& name, const std::vector<float>& out,
                const std::vector<double>& reference, double tolerance) {
  const ErrorNorms error = Compare(out, reference);
  const bool pass = error.relative <= tolerance;
  if (!pass) report->Fail();
  report->Line({Report::Str("check", family), Report::Str("case", name),
                Report::Num("relative_error", error.relative),
                Report::Num("max_abs_error", error.max_abs),
                Report::Str("result", pass ? "ok" : "FAIL")});
}

void CheckTrue(Report* report, const std::string& family,
               const std::string& name, bool holds) {
  if (!holds) report->Fail();
  report->Line({Report::Str("check", family), Report::Str("case", name),
                Report::Str("result", holds ? "ok" : "FAIL")});
}

bool Wanted(const Options& options, const std::string& name) {
  return options.only.empty() || name.find(options.only) != std::string::npos;
}

void FillNormal(float* data, size_t count, uint64_t seed) {
  FillNormal(reinterpret_cast<__nv_bfloat16*>(data), 2 * count, seed);
}

void TimeBesideCopy(const Options& options, Report* report,
                    const std::string& family,
                    const std::vector<BandwidthCase>& cases) {
  constexpr double kIntervalBytes = 2e9;  // about 0.7 ms
  const size_t copy_bytes = size_t{1} << 30;
  DeviceBuffer<char> from(copy_bytes), to(copy_bytes);
  std::vector<Candidate> candidates;
  candidates.push_back(
      {"copy", [&](cudaStream_t stream, int) {
         INTARSIA_BENCH_CUDA(cudaMemcpyAsync(to.data(), from.data(), copy_bytes,
                                             cudaMemcpyDeviceToDevice, stream));
       }});
  std::vector<BandwidthCase> wanted;
  for (const BandwidthCase& c : cases) {
    if (Wanted(options, c.name)) wanted.push_back(c);
  }
  if (wanted.empty()) return;
  // The copy leaves the L2 cache full of lines to be written back, at the
  // expense of whatever runs next; let that be a run that nobody reports.
  candidates.push_back(
      {"settle", [&](cudaStream_t stream, int) { wanted[0].launch(stream); }});
  std::vector<int> repeats;
  for (const BandwidthCase& c : wanted) {
    const int n = std::max(1, static_cast<int>(kIntervalBytes / c.bytes));
    repeats.push_back(n);
    candidates.push_back({c.name, [&c, n](cudaStream_t stream, int) {
                            for (int i = 0; i < n; ++i) c.launch(stream);
                          }});
  }
  TimingOptions timing;
  timing.rounds = options.rounds;
  timing.flush_l2 = false;  // every case is larger than the cache
  const std::vector<Timing> times = TimeInterleaved(candidates, timing);
  const double copy_rate = 2e6 * copy_bytes / times[0].median_us;
  for (size_t i = 0; i < wanted.size(); ++i) {
    const double us = times[i + 2].median_us / repeats[i];
    const double rate = 1e6 * wanted[i].bytes / us;
    report->Line({Report::Str("time", family),
                  Report::Str("case", wanted[i].name), Report::Num("us", us),
                  Report::Num("tb_per_s", rate * 1e-12),
                  Report::Num("of_copy", rate / copy_rate),
                  Report::Num("copy_tb_per_s", copy_rate * 1e-12)});
  }
}

std::vector<double> ToDouble(const std::vector<float>& values) {
  return std::vector<double>(values.begin(), values.end());
}

std::vector<float> RandomBf16(size_t count, uint64_t seed, float scale) {
  return ToFloat(ToBf16(RandomNormal(count, seed, scale)));
}

double SiluReference(double x) { return x / (1 + std::exp(-x)); }

double SoftplusReference(double x) {
  return x > 20 ? x : std::log1p(std::exp(x));
}

}  // namespace intarsia::bench
