#include <algorithm>
#include <chrono>

#include "intarsia/core/thread_pool.h"
#include "intarsia/eval/kernels.h"
#include "intarsia/formats/common/avx2.h"
#include "intarsia/formats/common/avx512.h"
#include "intarsia/formats/common/paths.h"

namespace intarsia {
namespace {

constexpr int kChains = 12;

}  // namespace
}  // namespace intarsia

INTARSIA_BEGIN_AVX512
namespace intarsia {
namespace {

// Chains, each of whose sums the compiler must believe to be used.
void DotBytes(int64_t rounds) {
  __m512i sum[kChains];
  const __m512i a = _mm512_set1_epi8(3), b = _mm512_set1_epi8(-5);
  INTARSIA_UNROLL
  for (int i = 0; i < kChains; ++i) sum[i] = _mm512_set1_epi32(i);
  for (int64_t r = 0; r < rounds; ++r) {
    INTARSIA_UNROLL
    for (int i = 0; i < kChains; ++i) {
      sum[i] = _mm512_dpbusd_epi32(sum[i], a, b);
    }
    INTARSIA_UNROLL
    for (int i = 0; i < kChains; ++i) asm volatile("" : "+v"(sum[i]));
  }
}

}  // namespace
}  // namespace intarsia
INTARSIA_END_AVX512

INTARSIA_BEGIN_AVX2
namespace intarsia {
namespace {

void DotWords(int64_t rounds) {
  __m256i sum[kChains];
  __m256i a = _mm256_set1_epi16(3), b = _mm256_set1_epi16(-5);
  INTARSIA_UNROLL
  for (int i = 0; i < kChains; ++i) sum[i] = _mm256_set1_epi32(i);
  for (int64_t r = 0; r < rounds; ++r) {
    INTARSIA_UNROLL
    for (int i = 0; i < kChains; ++i) {
      asm volatile("" : "+x"(a), "+x"(b));  // a product of its own each time
      sum[i] = _mm256_add_epi32(sum[i], _mm256_madd_epi16(a, b));
    }
    INTARSIA_UNROLL
    for (int i = 0; i < kChains; ++i) asm volatile("" : "+x"(sum[i]));
  }
}

}  // namespace
}  // namespace intarsia
INTARSIA_END_AVX2

namespace intarsia {

double MeasureIntegerPeak(int threads) {
  const bool bytes = formats::HasVnni();
  if (!bytes && !formats::HasMadd()) return 0;
  const double operations = kChains * 2.0 * (bytes ? 64 : 16);  // of a round
  constexpr int64_t kRounds = 1 << 20;
  using Clock = std::chrono::steady_clock;
  ThreadPool pool(threads);
  double best = 0;
  for (int pass = 0; pass < 6; ++pass) {
    const auto start = Clock::now();
    pool.Run(pool.size(),
             [&](int64_t) { bytes ? DotBytes(kRounds) : DotWords(kRounds); });
    const double seconds =
        std::chrono::duration<double>(Clock::now() - start).count();
    best = std::max(best, operations * kRounds * pool.size() / seconds);
  }
  return best;
}

}  // namespace intarsia
