#include <algorithm>
#include <chrono>

#include "intarsia/core/thread_pool.h"
#include "intarsia/eval/kernels.h"
#include "intarsia/formats/common/avx512.h"
#include "intarsia/formats/common/paths.h"

INTARSIA_BEGIN_AVX512
namespace intarsia {
namespace {

// Twelve chains, each of whose sums the compiler must believe to be used.
void DotBytes(int64_t rounds) {
  __m512i sum[12];
  const __m512i a = _mm512_set1_epi8(3), b = _mm512_set1_epi8(-5);
  INTARSIA_UNROLL
  for (int i = 0; i < 12; ++i) sum[i] = _mm512_set1_epi32(i);
  for (int64_t r = 0; r < rounds; ++r) {
    INTARSIA_UNROLL
    for (int i = 0; i < 12; ++i) sum[i] = _mm512_dpbusd_epi32(sum[i], a, b);
    INTARSIA_UNROLL
    for (int i = 0; i < 12; ++i) asm volatile("" : "+v"(sum[i]));
  }
}
constexpr double kOperations = 12.0 * 2 * 64;  // of a round

}  // namespace
}  // namespace intarsia
INTARSIA_END_AVX512

namespace intarsia {

double MeasureIntegerPeak(int threads) {
  if (!formats::HasVnni()) return 0;
  constexpr int64_t kRounds = 1 << 20;
  using Clock = std::chrono::steady_clock;
  ThreadPool pool(threads);
  double best = 0;
  for (int pass = 0; pass < 6; ++pass) {
    const auto start = Clock::now();
    pool.Run(pool.size(), [&](int64_t) { DotBytes(kRounds); });
    const double seconds =
        std::chrono::duration<double>(Clock::now() - start).count();
    best = std::max(best, kOperations * kRounds * pool.size() / seconds);
  }
  return best;
}

}  // namespace intarsia
