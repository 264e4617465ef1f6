// What every format owes, on all of them.
#include "intarsia/formats/format.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <cstring>

#include "intarsia/core/random.h"
#include "intarsia/formats/common/matmul.h"
#include "intarsia/formats/common/paths.h"

namespace intarsia {
namespace {

Tensor Normal(const Shape& shape, uint64_t seed) {
  Tensor t = Tensor::Empty(shape);
  Random random(seed);
  float* p = t.mutable_data<float>();
  for (int64_t i = 0; i < t.numel(); ++i) p[i] = random.NextNormal();
  return t;
}

uint32_t Bits(float x) { return std::bit_cast<uint32_t>(x); }

// x [M, K] and y [M, N] with gaps between rows, y NaN all over.
struct Problem {
  Problem(const Format& format, ThreadPool& pool, int64_t m, int64_t n,
          int64_t k, int64_t gap = 3, int64_t groups = 1)
      : of(&format),
        x(Normal({m, k + gap}, 1)),
        w(format.Quantize(pool, Normal({groups * n, k}, 2))),
        dense(format.Dequantize(pool, w, k)),
        bias(Normal({n}, 3)),
        y(Tensor::Full({m, n + gap}, NAN)) {
    args.x = x.data<float>();
    args.x_stride = k + gap;
    args.w = w.raw();
    args.y = y.mutable_data<float>();
    args.y_stride = n + gap;
    args.m = m, args.n = n, args.k = k;
  }

  // What rounding X may cost a sum: activations.h errs by 2^-15 of the largest
  // number of a block of 32.
  double Rounding(const Format& format, const float* x, const float* w) const {
    if (args.exact || format.block() != 32) return 0;
    double sum = 0;
    for (int64_t b = 0; b < args.k; b += 32) {
      double most = 0, weights = 0;
      for (int64_t k = b; k < b + 32; ++k) {
        most = std::max<double>(most, std::abs(x[k]));
        weights += std::abs(w[k]);
      }
      sum += 0x1p-15 * most * weights;
    }
    return sum;
  }

  // Against the dequantised weights in double; errors relative to Σ|x·w|.
  void ExpectProduct(int64_t m0, int64_t m1, int64_t group) const {
    for (int64_t m = m0; m < m1; ++m) {
      for (int64_t n = 0; n < args.n; ++n) {
        const float* row = dense.data<float>() + (group * args.n + n) * args.k;
        double sum = 0, size = 0;
        for (int64_t k = 0; k < args.k; ++k) {
          const double p = double{args.x[m * args.x_stride + k]} * row[k];
          sum += p, size += std::abs(p);
        }
        if (args.bias != nullptr) {
          sum += args.bias[n], size += std::abs(args.bias[n]);
        }
        const double rounding = Rounding(*of, args.x + m * args.x_stride, row);
        ASSERT_NEAR(args.y[m * args.y_stride + n], sum,
                    1e-6 * size + rounding + 1e-30)
            << "m " << m << " n " << n;
      }
    }
  }
  void ExpectGapsUntouched() const {
    for (int64_t m = 0; m < args.m; ++m) {
      for (int64_t n = args.n; n < args.y_stride; ++n) {
        ASSERT_TRUE(std::isnan(args.y[m * args.y_stride + n]));
      }
    }
  }

  const Format* of;
  Tensor x, w, dense, bias, y;
  MatmulArgs args;
};

class FormatTest : public testing::TestWithParam<const Format*> {
 protected:
  void SetUp() override { PoisonNewMemory(true); }
  void TearDown() override { PoisonNewMemory(false); }

  const Format& format() const { return *GetParam(); }
  bool plain() const { return format().block() == 1; }
  std::vector<int64_t> Columns() const {
    if (plain()) return {1, 7, 31, 32, 33, 95, 576};
    return {Whole(32), Whole(96) + Whole(1), Whole(576)};
  }
  int64_t Whole(int64_t k) const { return format().WholeBlocks(k); }
  ThreadPool pool_{2};
};

TEST_P(FormatTest, IsFoundByItsName) {
  EXPECT_EQ(FindFormat(format().name()), &format());
  if (plain()) {
    EXPECT_EQ(&PlainFormat(format().storage()), &format());
    EXPECT_EQ(format().row_bytes(5), 5 * SizeOf(format().storage()));
  } else {
    EXPECT_EQ(format().storage(), DType::kU8);
  }
}

TEST_P(FormatTest, MatmulIsTheProduct) {
  for (const int64_t k : Columns()) {
    for (const int64_t n : {1, 3, 4, 17, 66}) {
      for (const int64_t m : {1, 2, 3, 4, 5, 7, 33}) {
        SCOPED_TRACE(testing::Message() << m << "x" << n << "x" << k);
        Problem problem(format(), pool_, m, n, k);
        problem.args.bias = m % 2 ? problem.bias.data<float>() : nullptr;
        format().Matmul(pool_, problem.args);
        problem.ExpectProduct(0, m, 0);
        problem.ExpectGapsUntouched();
        if (HasFatalFailure()) return;
      }
    }
  }
}

// Training wants fp32 activations in every format.
TEST_P(FormatTest, ExactProductsDoNotRoundX) {
  for (const int64_t m : {1, 6, 40}) {
    Problem problem(format(), pool_, m, 37, Whole(96));
    problem.args.exact = true;
    format().Matmul(pool_, problem.args);
    problem.ExpectProduct(0, m, 0);
  }
}

// Each instruction set of the build that this CPU has, and the kernels without
// dot-product instructions: the product, and a row's bits in any batch.
TEST_P(FormatTest, EveryInstructionSetKeepsThePromises) {
  constexpr int64_t kRows = 37, kN = 35;
  const int64_t k = plain() ? 203 : Whole(224);
  formats::SetIntegersForTest(formats::Integers::kNone);
  for (const std::string& target : formats::EachSimdTarget()) {
    SCOPED_TRACE(target);
    formats::SetSimdTargetForTest(target);
    Problem problem(format(), pool_, kRows, kN, k);
    format().Matmul(pool_, problem.args);
    problem.ExpectProduct(0, kRows, 0);
    MatmulArgs args = problem.args;
    std::vector<float> alone(kN);
    args.y = alone.data(), args.m = 1;
    for (int64_t m = 0; m < kRows; ++m) {
      args.x = problem.args.x + m * args.x_stride;
      format().Matmul(pool_, args);
      for (int64_t n = 0; n < kN; ++n) {
        EXPECT_EQ(Bits(alone[n]),
                  Bits(problem.args.y[m * problem.args.y_stride + n]));
      }
    }
  }
  formats::SetSimdTargetForTest("");
  formats::SetIntegersForTest(formats::Integers::kBest);
}

TEST_P(FormatTest, MatmulOfNothing) {
  Problem problem(format(), pool_, 3, 5, Whole(32));
  MatmulArgs args = problem.args;
  args.m = 0;
  format().Matmul(pool_, args);
  args = problem.args, args.n = 0;
  format().Matmul(pool_, args);
  Problem many(format(), pool_, 40, 0, Whole(32));
  format().Matmul(pool_, many.args);
  problem.ExpectGapsUntouched();
  EXPECT_TRUE(std::isnan(args.y[0]));
  args = problem.args, args.k = 0, args.bias = problem.bias.data<float>();
  format().Matmul(pool_, args);  // empty sums: the bias alone
  EXPECT_EQ(args.y[2 * args.y_stride + 4], args.bias[4]);
}

// The promise of format.h: a row's bits in any batch, at any place of it, on
// any number of threads.
TEST_P(FormatTest, ARowsBitsDependOnNothingElse) {
  constexpr int64_t kRows = 33, kN = 70;
  for (const int64_t k : {int64_t{1536}, plain() ? 601 : Whole(608)}) {
    Problem problem(format(), pool_, kRows, kN, k);
    MatmulArgs args = problem.args;
    std::vector<uint32_t> alone(kRows * kN);
    ThreadPool single(1);
    for (int64_t m = 0; m < kRows; ++m) {
      args.m = 1;
      args.x = problem.args.x + m * args.x_stride;
      format().Matmul(single, args);
      for (int64_t n = 0; n < kN; ++n) alone[m * kN + n] = Bits(args.y[n]);
    }
    for (const int threads : {1, 2, 5}) {
      ThreadPool pool(threads);
      for (const int64_t m : {1, 2, 3, 4, 5, 7, 16, 33}) {
        for (const int64_t first : {int64_t{0}, (kRows - m) / 2, kRows - m}) {
          problem.y.CopyFrom(Tensor::Full(problem.y.shape(), NAN));
          args.m = m;
          args.x = problem.args.x + first * args.x_stride;
          format().Matmul(pool, args);
          for (int64_t i = 0; i < m; ++i) {
            for (int64_t n = 0; n < kN; ++n) {
              ASSERT_EQ(Bits(args.y[i * args.y_stride + n]),
                        alone[(first + i) * kN + n])
                  << threads << " threads, row " << i << " of " << m;
            }
          }
        }
      }
    }
  }
}

// Nor on which rows of W stand beside it: a slice of W gives the same bits.
TEST_P(FormatTest, AColumnsBitsDependOnNothingElse) {
  Problem problem(format(), pool_, 9, 41, Whole(96));
  format().Matmul(pool_, problem.args);
  for (const int64_t m : {1, 9}) {
    for (const int64_t n : {0, 1, 6, 40}) {
      std::vector<float> y(m, NAN);
      MatmulArgs args = problem.args;
      args.w += n * format().row_bytes(args.k);
      args.m = m, args.n = 1, args.y = y.data(), args.y_stride = 1;
      format().Matmul(pool_, args);
      for (int64_t i = 0; i < m; ++i) {
        EXPECT_EQ(Bits(y[i]),
                  Bits(problem.args.y[i * problem.args.y_stride + n]));
      }
    }
  }
}

TEST_P(FormatTest, ManyRowsCrossBlocksOfRows) {
  Problem problem(format(), pool_, 1030, 6, Whole(64));
  format().Matmul(pool_, problem.args);
  problem.ExpectProduct(0, 1030, 0);
}

TEST_P(FormatTest, GroupsMeetTheirMatrices) {
  const std::vector<int32_t> offsets = {0, 0, 1, 6, 6, 20, 23, 23};
  constexpr int64_t kGroups = 7, kN = 21;
  for (const int64_t k : {Whole(64), plain() ? 75 : Whole(96) + Whole(1)}) {
    Problem problem(format(), pool_, 23, kN, k, 2, kGroups);
    problem.args.bias = problem.bias.data<float>();
    format().GroupedMatmuls(pool_, {&problem.args, 1}, offsets);
    problem.ExpectGapsUntouched();
    for (int64_t g = 0; g < kGroups; ++g) {
      problem.ExpectProduct(offsets[g], offsets[g + 1], g);
      MatmulArgs args = problem.args;
      const int64_t m = offsets[g + 1] - offsets[g];
      std::vector<float> y(m * kN + 1, NAN);
      args.x += offsets[g] * args.x_stride;
      args.w += g * kN * format().row_bytes(k);
      args.y = y.data(), args.y_stride = kN, args.m = m;
      format().Matmul(pool_, args);
      for (int64_t i = 0; i < m * kN; ++i) {
        const int64_t row = offsets[g] + i / kN;
        ASSERT_EQ(Bits(y[i]),
                  Bits(problem.args.y[row * problem.args.y_stride + i % kN]));
      }
    }
  }
  Problem problem(format(), pool_, 4, 5, Whole(32), 0, 2);
  const std::vector<int32_t> falling = {0, 5, 4}, few = {0, 1, 3};
  EXPECT_THROW(format().GroupedMatmuls(pool_, {&problem.args, 1}, falling),
               CheckError);
  EXPECT_THROW(format().GroupedMatmuls(pool_, {&problem.args, 1}, few),
               CheckError);
}

// Several products of one X in one loop: each as if alone.
TEST_P(FormatTest, ProductsTogetherKeepTheirBits) {
  constexpr int64_t kN = 29;
  const int64_t k = Whole(96);
  for (const int64_t m : {1, 5, 40}) {
    Problem problem(format(), pool_, m, kN, k);
    const auto part = [&](int64_t n0, int64_t n1, std::vector<float>* y) {
      y->assign(m * (n1 - n0), NAN);
      MatmulArgs args = problem.args;
      args.w += n0 * format().row_bytes(k);
      args.n = n1 - n0, args.y = y->data(), args.y_stride = args.n;
      args.bias = problem.bias.data<float>() + n0;
      return args;
    };
    const int64_t ends[] = {0, 17, 17, 20, kN};  // one of them empty
    std::vector<float> together[4], alone[4];
    std::vector<MatmulArgs> products;
    for (int i = 0; i < 4; ++i) {
      products.push_back(part(ends[i], ends[i + 1], &together[i]));
    }
    format().Matmuls(pool_, products);
    for (int i = 0; i < 4; ++i) {
      format().Matmul(pool_, part(ends[i], ends[i + 1], &alone[i]));
      ASSERT_TRUE(std::ranges::equal(together[i], alone[i], {}, Bits, Bits))
          << m << " rows, product " << i;
    }
    products[1].k -= format().block();
    EXPECT_THROW(format().Matmuls(pool_, products), CheckError);
  }
}

TEST_P(FormatTest, MatmulTIsTheTransposedProduct) {
  for (const int64_t k : Columns()) {
    for (const int64_t n : {1, 5, 300}) {
      const int64_t m = n == 300 ? 9 : 6, x_stride = n + 2, y_stride = k + 1;
      const Tensor w = format().Quantize(pool_, Normal({n, k}, 4));
      const Tensor dense = format().Dequantize(pool_, w, k);
      const Tensor x = Normal({m, x_stride}, 5);
      Tensor y = Tensor::Full({m, y_stride}, NAN);
      const MatmulArgs args{
          x.data<float>(), x_stride, w.raw(), y.mutable_data<float>(),
          y_stride,        m,        n,       k};
      format().MatmulT(pool_, args);
      for (int64_t i = 0; i < m; ++i) {
        for (int64_t c = 0; c < k; ++c) {
          double sum = 0, size = 0;
          for (int64_t r = 0; r < n; ++r) {
            const double p = double{args.x[i * x_stride + r]} *
                             dense.data<float>()[r * k + c];
            sum += p, size += std::abs(p);
          }
          ASSERT_NEAR(args.y[i * y_stride + c], sum, 1e-5 * size + 1e-30);
        }
        ASSERT_TRUE(std::isnan(args.y[i * y_stride + k]));
      }
      // A row alone, on other threads: the same bits.
      ThreadPool pool(3);
      std::vector<float> alone(k, NAN);
      MatmulArgs row = args;
      row.x += (m - 1) * x_stride, row.y = alone.data(), row.m = 1;
      format().MatmulT(pool, row);
      for (int64_t c = 0; c < k; ++c) {
        ASSERT_EQ(Bits(alone[c]), Bits(args.y[(m - 1) * y_stride + c]));
      }
    }
  }
}

TEST_P(FormatTest, MatmulTOverNoRowsIsZero) {
  const int64_t k = Whole(32);
  std::vector<float> y(2 * k, NAN);
  MatmulArgs args;
  args.y = y.data(), args.y_stride = k, args.m = 2, args.k = k;
  format().MatmulT(pool_, args);
  EXPECT_THAT(y, testing::Each(0.0f));
}

TEST_P(FormatTest, GathersRows) {
  const int64_t k = plain() ? 37 : Whole(64);
  const Tensor w = format().Quantize(pool_, Normal({11, k}, 6));
  const Tensor dense = format().Dequantize(pool_, w, k);
  const std::vector<int32_t> rows = {10, 0, 3, 3, 7};
  Tensor out = Tensor::Empty({5, k});
  format().GatherRows(pool_, w.raw(), k, rows, out.mutable_data<float>());
  for (size_t i = 0; i < rows.size(); ++i) {
    EXPECT_EQ(out.Select(0, i).ToVector<float>(),
              dense.Select(0, rows[i]).ToVector<float>());
  }
}

TEST_P(FormatTest, SlicesAreCopiesOfTheSameNumbers) {
  const int64_t b = Whole(32), k = 4 * b;
  const Tensor w = format().Quantize(pool_, Normal({7, k}, 7));
  const Tensor part = format().Slice(w, 2, 6, b, 3 * b);
  const Tensor dense = format().Dequantize(pool_, w, k);
  EXPECT_EQ(format().Dequantize(pool_, part, 2 * b).ToVector<float>(),
            dense.Slice(0, 2, 6).Slice(1, b, 3 * b).ToVector<float>());
  EXPECT_EQ(format().Slice(w, 3, 3, 0, k).dim(0), 0);
  EXPECT_THROW(format().Slice(w, 2, 8, 0, k), CheckError);
  EXPECT_THROW(format().Slice(w, 0, 7, 0, 5 * b), CheckError);
  if (!plain()) {
    EXPECT_THROW(format().Slice(w, 0, 7, b / 2, 2 * b), CheckError);
  }
}

TEST_P(FormatTest, QuantisesStacksOfMatrices) {
  const int64_t k = Whole(64);
  const Tensor values = Normal({2, 3, k}, 8);
  const Tensor w = format().Quantize(pool_, values);
  EXPECT_EQ(w.dtype(), format().storage());
  EXPECT_EQ(w.shape().rank(), 3);
  EXPECT_EQ(w.nbytes(), 6 * format().row_bytes(k));
  const Tensor back = format().Dequantize(pool_, w, k);
  EXPECT_EQ(back.shape(), values.shape());
  // What it holds, it holds: quantising again changes little.
  const Tensor again =
      format().Dequantize(pool_, format().Quantize(pool_, back), k);
  double first = 0, second = 0;
  for (int64_t i = 0; i < back.numel(); ++i) {
    const float b = back.data<float>()[i];
    first += std::pow(values.data<float>()[i] - b, 2);
    second += std::pow(again.data<float>()[i] - b, 2);
  }
  EXPECT_LE(second, 0.2 * first);
  EXPECT_THROW(format().Dequantize(pool_, w, Whole(32) / 2), CheckError);
  if (!plain()) {
    EXPECT_THROW(format().Quantize(pool_, Normal({2, 33}, 1)), CheckError);
  }
}

// A mapped file promises no alignment.
TEST_P(FormatTest, ReadsWeightsAtAnyAddress) {
  for (const int64_t m : {1, 6}) {
    Problem problem(format(), pool_, m, 9, plain() ? 45 : Whole(64));
    std::vector<std::byte> moved(problem.w.nbytes() + 1);
    std::memcpy(moved.data() + 1, problem.w.raw(), problem.w.nbytes());
    problem.args.w = moved.data() + 1;
    format().Matmul(pool_, problem.args);
    problem.ExpectProduct(0, m, 0);
  }
}

// NaN in a weight or an activation shows in the sums that hold it, and in no
// other.
TEST_P(FormatTest, FaultsStayInTheirRows) {
  for (const int64_t m : {2, 6}) {
    const int64_t k = Whole(96);
    Problem clean(format(), pool_, m, 6, k);
    format().Matmul(pool_, clean.args);
    Problem problem(format(), pool_, m, 6, k);
    Tensor values = Normal({6, k}, 2);
    values.mutable_data<float>()[4 * k + 40] = NAN;
    const Tensor w = format().Quantize(pool_, values);
    problem.x.mutable_data<float>()[1 * problem.args.x_stride + 95] = NAN;
    problem.args.w = w.raw();
    format().Matmul(pool_, problem.args);
    for (int64_t i = 0; i < m; ++i) {
      for (int64_t n = 0; n < 6; ++n) {
        const float y = problem.args.y[i * problem.args.y_stride + n];
        if (i == 1 || n == 4) {
          EXPECT_TRUE(std::isnan(y));
        } else {
          EXPECT_EQ(Bits(y), Bits(clean.args.y[i * clean.args.y_stride + n]));
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, FormatTest, testing::ValuesIn(AllFormats()),
                         [](const auto& info) {
                           return std::string(info.param->name());
                         });

TEST(FormatsTest, UnknownNamesAndDTypes) {
  EXPECT_EQ(FindFormat("q9_9"), nullptr);
  EXPECT_EQ(FindFormat(""), nullptr);
  EXPECT_THROW(PlainFormat(DType::kI32), CheckError);
}

// A format in its first three functions: halves of integers in a byte each.
class ByteFormat : public Format {
 public:
  std::string_view name() const override { return "byte"; }
  int64_t block() const override { return 2; }
  size_t row_bytes(int64_t k) const override { return k; }
  DType storage() const override { return DType::kU8; }
  void QuantizeRow(const float* in, std::byte* out, int64_t k) const override {
    for (int64_t i = 0; i < k; ++i) {
      const float code = std::clamp(std::round(in[i] * 2), -127.0f, 127.0f);
      out[i] = static_cast<std::byte>(static_cast<int8_t>(code));
    }
  }
  void DequantizeRow(const std::byte* in, float* out,
                     int64_t k) const override {
    for (int64_t i = 0; i < k; ++i) out[i] = static_cast<int8_t>(in[i]) * 0.5f;
  }
};

TEST(FormatsTest, DefaultsServeAFormatOfThreeFunctions) {
  PoisonNewMemory(true);
  const ByteFormat format;
  ThreadPool pool(2);
  for (const int64_t m : {1, 4, 21}) {
    Problem problem(format, pool, m, 13, 46);
    format.Matmul(pool, problem.args);
    problem.ExpectProduct(0, m, 0);
    problem.ExpectGapsUntouched();
  }
  Problem problem(format, pool, 5, 13, 46, 0, 2);
  const std::vector<int32_t> offsets = {0, 2, 5};
  format.GroupedMatmuls(pool, {&problem.args, 1}, offsets);
  problem.ExpectProduct(0, 2, 0);
  problem.ExpectProduct(2, 5, 1);
  MatmulArgs args = problem.args;
  args.k = 45;
  EXPECT_THROW(format.Matmul(pool, args), CheckError);
  PoisonNewMemory(false);
}

// Highway silently falls back to an older instruction set when one flag is
// missing; that would cost a factor, so the build says what it meant.
TEST(FormatsTest, RunsOnTheInstructionSetTheBuildMeant) {
  const std::string target = formats::SimdTargetName();
  const std::string simd = INTARSIA_SIMD_NAME;
  if (simd == "avx2") {
    EXPECT_EQ(target, "AVX2");
  } else if (simd == "avx512") {
    EXPECT_THAT(target, testing::StartsWith("AVX3"));
  } else if (simd == "test") {
    const char* const only = std::getenv("INTARSIA_TEST_SIMD");
    EXPECT_EQ(target, only != nullptr ? only : "AVX2");
    if (only == nullptr) {
      EXPECT_THAT(formats::EachSimdTarget(),
                  testing::UnorderedElementsAre("AVX2", "EMU128"));
    }
  } else if (simd == "emu128") {
    EXPECT_EQ(target, "EMU128");
  } else if (__builtin_cpu_supports("avx2")) {
    EXPECT_THAT(target, testing::StartsWith("AVX"));
  }
}

}  // namespace
}  // namespace intarsia
