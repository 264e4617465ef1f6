// The sum that vnni-inl.h and panels-inl.h promise, in plain loops: the bits
// must be equal, for stored rows and for panels, by each kind of integer
// kernels that this CPU has. Highway's kernels must come close to it.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <tuple>

#include "intarsia/formats/common/activations.h"
#include "intarsia/formats/common/paths.h"
#include "intarsia/formats/common/test_rows.h"
#include "intarsia/formats/registry.h"

namespace intarsia::formats {
namespace {

// A block of 32 as integers: number i is d (codes[i] - offset) + m.
struct PlainBlock {
  float d = 0, m = 0;
  int codes[32];
};

float Half(const uint8_t* p) {
  intarsia::f16 half;
  std::memcpy(&half, p, sizeof(half));
  return ToFloat(half);
}

PlainBlock Read(std::string_view format, const uint8_t* p) {
  PlainBlock block;
  block.d = Half(p);
  if (format == "q8_0") {
    for (int i = 0; i < 32; ++i) {
      block.codes[i] = static_cast<int8_t>(p[2 + i]);
    }
    return block;
  }
  const bool minimum = format == "q4_1";
  if (minimum) block.m = Half(p + 2);
  p += minimum ? 4 : 2;
  for (int i = 0; i < 16; ++i) {
    block.codes[i] = (p[i] & 15) - (minimum ? 0 : 8);
    block.codes[16 + i] = (p[i] >> 4) - (minimum ? 0 : 8);
  }
  return block;
}

float PlainDot(std::string_view format, const float* x, const uint8_t* w,
               int64_t bytes, int64_t k) {
  float partial[4] = {};
  for (int64_t b = 0; b < k / 32; ++b, x += 32, w += bytes) {
    const PlainBlock block = Read(format, w);
    float most = 0;
    for (int i = 0; i < 32; ++i) most = std::max(most, std::abs(x[i]));
    const float scale = most / kCodeLimit;
    const float inverse = most > 0 ? kCodeLimit / most : 0.0f;
    int64_t sum = 0, codes = 0;
    for (int i = 0; i < 32; ++i) {
      const int64_t code = std::lrint(x[i] * inverse);
      sum += code * block.codes[i];
      codes += code;
    }
    float& p = partial[b % 4];
    p = std::fma(static_cast<float>(sum), block.d * scale, p);
    if (format == "q4_1") {
      p = std::fma(block.m, scale * static_cast<float>(codes), p);
    }
  }
  return (partial[0] + partial[2]) + (partial[1] + partial[3]);
}

class IntegerTest
    : public testing::TestWithParam<std::tuple<std::string, Integers>> {
 protected:
  IntegerTest() { SetIntegersForTest(std::get<1>(GetParam())); }
  ~IntegerTest() override { SetIntegersForTest(Integers::kBest); }
  const std::string& name() const { return std::get<0>(GetParam()); }
};

TEST_P(IntegerTest, SumsAsThePlainLoops) {
  const bool integers = std::get<1>(GetParam()) != Integers::kNone;
  EXPECT_EQ(integers, HasVnni() || HasMadd());
  const Format& format = *FindFormat(name());
  constexpr int64_t kN = 37;
  ThreadPool pool(2);
  for (const int64_t k : {32, 64, 96, 128, 160, 576, 4736}) {
    const int64_t bytes = static_cast<int64_t>(format.row_bytes(k));
    const std::vector<float> weights = TestValues(kN * k, 1);
    const std::vector<uint8_t> w = Quantized(format, weights);
    for (const int64_t m : {1, 2, 3, 4, 5, 29}) {
      const std::vector<float> x = TestValues(m * k, 2);
      std::vector<float> y(m * kN, NAN);
      MatmulArgs args;
      args.x = x.data(), args.x_stride = k;
      args.w = reinterpret_cast<const std::byte*>(w.data());
      args.y = y.data(), args.y_stride = kN;
      args.m = m, args.n = kN, args.k = k;
      format.Matmul(pool, args);
      for (int64_t i = 0; i < m; ++i) {
        for (int64_t n = 0; n < kN; ++n) {
          const float sum = PlainDot(name(), x.data() + i * k,
                                     w.data() + n * bytes, bytes / (k / 32), k);
          double size = 0;  // Σ |x| · the largest weight
          for (int64_t c = 0; c < k; ++c) size += std::abs(x[i * k + c]);
          size *= *std::ranges::max_element(weights);
          const float got = y[i * kN + n];
          if (!integers) {
            ASSERT_NEAR(got, sum, 1e-3 * size) << m;
            continue;
          }
          ASSERT_EQ(std::bit_cast<uint32_t>(got), std::bit_cast<uint32_t>(sum))
              << m << " rows of " << k << ", row " << i << ", column " << n;
        }
      }
    }
  }
}

// Blocks of zeros, of numbers with no inverse, of the largest numbers.
TEST_P(IntegerTest, OddActivations) {
  const Format& format = *FindFormat(name());
  ThreadPool pool(1);
  const std::vector<uint8_t> w =
      Quantized(format, std::vector<float>(32, 1.0f));
  for (const float value : {0.0f, 1e-44f, 1e-38f, 1e-30f, 1e36f}) {
    const std::vector<float> x(32, value);
    float y = NAN;
    MatmulArgs args;
    args.x = x.data(), args.x_stride = 32;
    args.w = reinterpret_cast<const std::byte*>(w.data());
    args.y = &y, args.y_stride = 1;
    args.m = 1, args.n = 1, args.k = 32;
    format.Matmul(pool, args);
    EXPECT_NEAR(y, 32 * value, 1e-3 * 32 * value + 1e-36);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Formats, IntegerTest,
    testing::Combine(testing::Values("q8_0", "q4_0", "q4_1"),
                     testing::ValuesIn(EachIntegersForTest())),
    [](const auto& info) {
      return std::get<0>(info.param) + NameOf(std::get<1>(info.param));
    });

}  // namespace
}  // namespace intarsia::formats
