// Packed weights: the products of the stored ones, bit by bit, where these meet
// integers too; those of the numbers stored with rounded activations, where
// they meet fp32; within the rounding that word_panels-inl.h allows where
// 16-bit weights become integers, and those bits by plain loops.
#include "intarsia/formats/packing.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <tuple>

#include "intarsia/formats/common/activations.h"
#include "intarsia/formats/common/paths.h"
#include "intarsia/formats/common/test_rows.h"

namespace intarsia::formats {
namespace {

uint32_t Bits(float x) { return std::bit_cast<uint32_t>(x); }

// Matrices of one format and rows of X, with gaps between the rows of Y.
struct Product {
  Product(const Format& format, int64_t groups, int64_t n, int64_t k,
          int64_t rows)
      : format(&format), groups(groups), n(n), k(k), rows(rows) {
    for (int64_t i = 0; i < groups * n; ++i) {
      const std::vector<float> row = TestValues(k, 100 + i);
      const std::vector<uint8_t> stored = Quantized(format, row);
      w.insert(w.end(), stored.begin(), stored.end());
    }
    x = TestValues(rows * k, 7);
    bias = TestValues(n, 8);
  }

  MatmulArgs Args(int64_t first, int64_t count, std::vector<float>* y) const {
    y->assign(count * (n + 3), NAN);
    MatmulArgs args;
    args.x = x.data() + first * k, args.x_stride = k;
    args.w = reinterpret_cast<const std::byte*>(w.data());
    args.y = y->data(), args.y_stride = n + 3;
    args.m = count, args.n = n, args.k = k;
    args.bias = bias.data();
    return args;
  }
  PackedMatrices Pack(ThreadPool& pool) const {
    return PackedMatrices(pool, *format,
                          reinterpret_cast<const std::byte*>(w.data()), groups,
                          n, k);
  }
  // Of all rows, group after group in shares as even as can be.
  std::vector<int32_t> Offsets() const {
    std::vector<int32_t> offsets;
    for (int64_t g = 0; g <= groups; ++g) {
      offsets.push_back(static_cast<int32_t>(rows * g / groups));
    }
    return offsets;
  }
  std::vector<float> Multiply(ThreadPool& pool,
                              const PackedMatrices& packed) const {
    std::vector<float> y;
    MatmulArgs args = Args(0, rows, &y);
    args.w = packed.raw();
    PackedMatmuls(pool, *packed.kernels(), {&args, 1}, Offsets());
    return y;
  }

  const Format* format;
  int64_t groups, n, k, rows;
  std::vector<uint8_t> w;
  std::vector<float> x, bias;
};

class PackingTest
    : public testing::TestWithParam<std::tuple<std::string, Integers>> {
 protected:
  PackingTest() { SetIntegersForTest(std::get<1>(GetParam())); }
  ~PackingTest() override { SetIntegersForTest(Integers::kBest); }
  const Format& format() const { return *FindFormat(std::get<0>(GetParam())); }
  // Whether it is packed; where not, Bytes says so.
  bool packs() const {
    const bool packs = format().packing() != nullptr;
    EXPECT_EQ(packs, std::get<1>(GetParam()) != Integers::kNone);
    EXPECT_EQ(PackedMatrices::Bytes(format(), 1, 16, 256) != 0, packs);
    return packs;
  }
  // Rows of whole blocks, not all of whole groups of activations.
  std::vector<int64_t> Lengths() const {
    if (format().block() == 256) return {256, 768};
    return {32, 96, 160, 576};
  }
  bool StoredMeetIntegers() const {
    const std::string& name = std::get<0>(GetParam());
    return name == "q8_0" || name == "q4_0" || name == "q4_1";
  }
};

TEST_P(PackingTest, ARowHasTheSameBitsInAnyBatchAndOnAnyThreads) {
  if (!packs()) return;
  for (const int64_t k : Lengths()) {
    for (const int64_t n : {1, 16, 37, 64}) {
      const Product all(format(), 1, n, k, 29);
      ThreadPool pool(2), serial(1);
      const PackedMatrices packed = all.Pack(pool);
      const std::vector<float> together = all.Multiply(pool, packed);
      for (const auto& [first, count] :
           {std::pair{0, 1}, {5, 2}, {9, 3}, {1, 4}, {2, 17}, {28, 1}}) {
        std::vector<float> y;
        MatmulArgs args = all.Args(first, count, &y);
        args.w = packed.raw();
        const int32_t offsets[] = {0, count};
        PackedMatmuls(serial, *packed.kernels(), {&args, 1}, offsets);
        for (int i = 0; i < count; ++i) {
          for (int64_t c = 0; c < n + 3; ++c) {
            const float want = together[(first + i) * (n + 3) + c];
            ASSERT_EQ(Bits(y[i * (n + 3) + c]), Bits(want)) << k << " " << n;
            ASSERT_EQ(std::isnan(want), c >= n);  // gaps stay untouched
          }
        }
      }
    }
  }
}

TEST_P(PackingTest, GroupsMeetTheirOwnMatrix) {
  if (!packs()) return;
  const Product all(format(), 5, 21, Lengths().back(), 23);
  ThreadPool pool(2);
  const std::vector<float> y = all.Multiply(pool, all.Pack(pool));
  const std::vector<int32_t> offsets = all.Offsets();
  for (int64_t g = 0; g < all.groups; ++g) {
    Product one = all;
    one.groups = 1;
    one.w.erase(one.w.begin(),
                one.w.begin() + g * all.n * all.format->row_bytes(all.k));
    const std::vector<float> alone = one.Multiply(pool, one.Pack(pool));
    for (int32_t row = offsets[g]; row < offsets[g + 1]; ++row) {
      for (int64_t c = 0; c < all.n; ++c) {
        const int64_t at = row * (all.n + 3) + c;
        ASSERT_EQ(Bits(y[at]), Bits(alone[at])) << g;
      }
    }
  }
}

// q8_0, q4_0 and q4_1 meet integers also as stored.
TEST_P(PackingTest, CodesKeepTheBitsOfStoredRows) {
  if (!packs() || !StoredMeetIntegers()) return;
  for (const int64_t rows : {1, 6, 40}) {
    const Product all(format(), 1, 37, 224, rows);
    ThreadPool pool(2);
    const std::vector<float> got = all.Multiply(pool, all.Pack(pool));
    std::vector<float> want;
    format().Matmul(pool, all.Args(0, rows, &want));
    ASSERT_EQ(got.size(), want.size());
    for (size_t i = 0; i < got.size(); ++i) {
      ASSERT_TRUE(Bits(got[i]) == Bits(want[i]) || std::isnan(want[i])) << i;
    }
  }
}

// Formats whose stored rows meet fp32: the exact product with the rounded X,
// but for the rounding of fp32 sums.
TEST_P(PackingTest, CodesMeetRoundedActivations) {
  if (!packs() || format().block() == 1 || StoredMeetIntegers()) return;
  ThreadPool pool(2);
  for (const int64_t k : {format().block(), 3 * format().block()}) {
    for (const int64_t rows : {1, 11, 40}) {
      const Product all(format(), 1, 37, k, rows);
      const std::vector<float> y = all.Multiply(pool, all.Pack(pool));
      std::vector<float> w(k);
      for (int64_t n = 0; n < all.n; ++n) {
        format().DequantizeRow(
            reinterpret_cast<const std::byte*>(all.w.data()) +
                n * format().row_bytes(k),
            w.data(), k);
        for (int64_t m = 0; m < rows; ++m) {
          const float* x = all.x.data() + m * k;
          double exact = all.bias[n], size = std::abs(exact);
          for (int64_t b = 0; b < k; b += 32) {
            float most = 0, most_w = 0;
            for (int64_t i = b; i < b + 32; ++i) {
              most = std::max(most, std::abs(x[i]));
              most_w = std::max(most_w, std::abs(w[i]));
            }
            const float inverse = kCodeLimit / most;
            for (int64_t i = b; i < b + 32; ++i) {
              const double rounded =
                  double{most / kCodeLimit} * std::lrint(x[i] * inverse);
              exact += rounded * w[i];
              size += std::abs(x[i]) * most_w;  // codes and minima cancel
            }
          }
          ASSERT_NEAR(y[m * (all.n + 3) + n], exact, 1e-6 * size)
              << k << " " << rows << ": " << m << ", " << n;
        }
      }
    }
  }
}

// A block that reads as NaN stays visible, and in its own row.
TEST_P(PackingTest, PoisonedBlocks) {
  if (!packs() || format().block() == 1) return;
  ThreadPool pool(1);
  const int64_t k = 2 * std::max<int64_t>(32, format().block());
  Product all(format(), 1, 2, k, 1);
  std::vector<float> values = TestValues(k, 3);
  values[k - 5] = NAN;
  const std::vector<uint8_t> poisoned = Quantized(format(), values);
  std::copy(poisoned.begin(), poisoned.end(), all.w.begin());
  const std::vector<float> y = all.Multiply(pool, all.Pack(pool));
  EXPECT_TRUE(std::isnan(y[0]));
  EXPECT_TRUE(std::isfinite(y[1]));
}

// The integers of 16-bit weights, and the sum, as the headers have it. `bound`:
// what rounding both to codes may cost.
float PlainDot(const float* x, const float* w, int64_t k, double* bound) {
  float partial[4] = {};
  *bound = 0;
  for (int64_t b = 0; b < k / 32; ++b, x += 32, w += 32) {
    float most_w = 0, most_x = 0;
    // In the order of eight lanes, as a scale near a step of bf16 needs it.
    float lanes[8] = {};
    for (int i = 0; i < 32; ++i) {
      most_w = std::max(most_w, std::abs(w[i]));
      most_x = std::max(most_x, std::abs(x[i]));
      lanes[i % 8] += std::abs(w[i]);
    }
    for (int half : {4, 2, 1}) {
      for (int i = 0; i < half; ++i) lanes[i] += lanes[i + half];
    }
    const float least = std::max(most_w / 32767, lanes[0] / 132000);
    const float d = std::bit_cast<float>(
        (std::bit_cast<uint32_t>(least) + 0xFFFF) & 0xFFFF0000u);
    const float scale = most_x / kCodeLimit;
    const float inverse_x = most_x > 0 ? kCodeLimit / most_x : 0;
    int64_t sum = 0, sizes = 0;
    for (int i = 0; i < 32; ++i) {
      const int64_t code = d > 0 ? std::lrint(w[i] * (1 / d)) : 0;
      sum += std::lrint(x[i] * inverse_x) * code;
      sizes += std::abs(code);
    }
    EXPECT_LT(sizes * kCodeLimit, int64_t{1} << 31);
    for (int i = 0; i < 32; ++i) {
      *bound += d / 2 * std::abs(x[i]) + scale / 2 * (std::abs(w[i]) + d / 2) +
                1e-6 * std::abs(x[i] * w[i]);  // of the fp32 sum
    }
    float& p = partial[b % 4];
    p = std::fma(static_cast<float>(sum), d * scale, p);
  }
  return (partial[0] + partial[2]) + (partial[1] + partial[3]);
}

TEST_P(PackingTest, SixteenBitsAsThePlainLoops) {
  if (!packs() || format().block() != 1) return;
  for (const int64_t k : {32, 64, 160, 576}) {
    const Product all(format(), 1, 19, k, 5);
    ThreadPool pool(2);
    const std::vector<float> y = all.Multiply(pool, all.Pack(pool));
    std::vector<float> w(all.n * k);
    for (int64_t n = 0; n < all.n; ++n) {
      format().DequantizeRow(reinterpret_cast<const std::byte*>(all.w.data()) +
                                 n * format().row_bytes(k),
                             w.data() + n * k, k);
    }
    for (int64_t m = 0; m < all.rows; ++m) {
      for (int64_t n = 0; n < all.n; ++n) {
        const float got = y[m * (all.n + 3) + n];
        const float* x = all.x.data() + m * k;
        double bound = 0;
        const float want = PlainDot(x, w.data() + n * k, k, &bound);
        ASSERT_EQ(Bits(got), Bits(want + all.bias[n]))
            << k << " " << m << " " << n;
        double exact = all.bias[n];
        for (int64_t i = 0; i < k; ++i) exact += double{x[i]} * w[n * k + i];
        ASSERT_NEAR(got, exact, bound) << k << " " << m << " " << n;
      }
    }
  }
}

// The largest sums that the scale admits: nothing overflows.
TEST_P(PackingTest, LargestSums) {
  if (!packs() || format().block() != 1) return;
  ThreadPool pool(1);
  for (const float sign : {1.0f, -1.0f}) {
    Product all(format(), 1, 1, 32, 1);
    all.w = Quantized(format(), std::vector<float>(32, 3.0f));
    std::fill(all.x.begin(), all.x.end(), sign * 2.0f);
    all.bias = {0.0f};
    const std::vector<float> y = all.Multiply(pool, all.Pack(pool));
    EXPECT_NEAR(y[0], sign * 192, 192 * 3e-4);
  }
}

// A fault stays visible, and in its own row; zeros and the least numbers are
// no fault.
TEST_P(PackingTest, OddWeights) {
  if (!packs() || format().block() != 1) return;
  ThreadPool pool(1);
  const float infinity = std::numeric_limits<float>::infinity();
  for (const float odd : {NAN, infinity, -infinity, 0.0f, 1e-40f, 6e-8f}) {
    std::vector<float> values(96, odd == 0.0f ? 0.0f : 1.0f);
    values[40] = odd;
    Product all(format(), 1, 2, 96, 1);
    all.w = Quantized(format(), values);
    const std::vector<uint8_t> sound =
        Quantized(format(), std::vector<float>(96, 1.0f));
    all.w.insert(all.w.end(), sound.begin(), sound.end());
    std::fill(all.x.begin(), all.x.end(), 1.0f);
    all.bias = {0.0f, 0.0f};
    const std::vector<float> y = all.Multiply(pool, all.Pack(pool));
    if (std::isfinite(odd)) {
      EXPECT_NEAR(y[0], odd == 0.0f ? 0 : 95, 0.02) << odd;
    } else {
      EXPECT_TRUE(std::isnan(y[0])) << odd;
    }
    EXPECT_NEAR(y[1], 96, 0.02) << odd;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Formats, PackingTest,
    testing::Combine(testing::Values("f16", "bf16", "q8_0", "q4_0", "q4_1",
                                     "q5_0", "q5_1", "iq4_nl", "mxfp4", "q3_k",
                                     "q4_k", "q5_k", "q6_k", "iq4_xs"),
                     testing::ValuesIn(EachIntegersForTest())),
    [](const auto& info) {
      return std::get<0>(info.param) + NameOf(std::get<1>(info.param));
    });

TEST(Packing, FormatsWithoutKernelsSaySo) {
  EXPECT_EQ(PackedMatrices::Bytes(*FindFormat("f32"), 1, 16, 64), 0u);
  EXPECT_EQ(PackedMatrices::Bytes(*FindFormat("q2_k"), 1, 16, 256), 0u);
  EXPECT_EQ(PackedMatrices::Bytes(*FindFormat("bf16"), 1, 16, 63), 0u);
}

}  // namespace
}  // namespace intarsia::formats
