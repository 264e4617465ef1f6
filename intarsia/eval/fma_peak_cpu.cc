#include <algorithm>
#include <chrono>
#include <vector>

#include "intarsia/core/thread_pool.h"
#include "intarsia/eval/kernels.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "intarsia/eval/fma_peak_cpu.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace intarsia {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// Independent chains: two units of latency four or five need ten. They start
// apart, or a compiler would make one of them. Operations done; the sum goes to
// *sink so that it counts as used.
double Multiply(int64_t rounds, float* sink) {
  const hn::ScalableTag<float> d;
  const auto a = hn::Set(d, 0.999f), b = hn::Set(d, 1e-3f);
  const auto start = [&](int i) { return hn::Set(d, 0.1f * (i + 1)); };
  auto s0 = start(0), s1 = start(1), s2 = start(2), s3 = start(3);
  auto s4 = start(4), s5 = start(5), s6 = start(6), s7 = start(7);
  auto s8 = start(8), s9 = start(9), s10 = start(10), s11 = start(11);
  for (int64_t i = 0; i < rounds; ++i) {
    s0 = hn::MulAdd(s0, a, b), s1 = hn::MulAdd(s1, a, b);
    s2 = hn::MulAdd(s2, a, b), s3 = hn::MulAdd(s3, a, b);
    s4 = hn::MulAdd(s4, a, b), s5 = hn::MulAdd(s5, a, b);
    s6 = hn::MulAdd(s6, a, b), s7 = hn::MulAdd(s7, a, b);
    s8 = hn::MulAdd(s8, a, b), s9 = hn::MulAdd(s9, a, b);
    s10 = hn::MulAdd(s10, a, b), s11 = hn::MulAdd(s11, a, b);
  }
  const auto low =
      hn::Add(hn::Add(hn::Add(s0, s1), hn::Add(s2, s3)), hn::Add(s4, s5));
  const auto high =
      hn::Add(hn::Add(hn::Add(s6, s7), hn::Add(s8, s9)), hn::Add(s10, s11));
  *sink = hn::GetLane(hn::Add(low, high));
  return 2.0 * 12 * static_cast<double>(hn::Lanes(d)) *
         static_cast<double>(rounds);
}

}  // namespace HWY_NAMESPACE
}  // namespace intarsia
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace intarsia {

HWY_EXPORT(Multiply);

double MeasureFmaPeak(int threads) {
  using Clock = std::chrono::steady_clock;
  ThreadPool pool(threads);
  std::vector<float> sinks(pool.size());
  std::vector<double> done(pool.size());
  double best = 0;
  for (int pass = 0; pass < 6; ++pass) {
    const auto start = Clock::now();
    pool.Run(pool.size(), [&](int64_t i) {
      done[i] = HWY_DYNAMIC_DISPATCH(Multiply)(1 << 20, &sinks[i]);
    });
    const double seconds =
        std::chrono::duration<double>(Clock::now() - start).count();
    best = std::max(best, done[0] * pool.size() / seconds);
  }
  return sinks[0] == 42.0f ? best + 1 : best;  // the sums must look used
}

}  // namespace intarsia
#endif  // HWY_ONCE
