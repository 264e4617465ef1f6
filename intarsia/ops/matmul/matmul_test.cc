#include "intarsia/ops/matmul/matmul.h"

#include "intarsia/ops/common/testing.h"

namespace intarsia {
namespace {

using testing::AsColumns;
using testing::BitwiseEqual;
using testing::ExpectGradients;
using testing::ExpectRowsIndependent;
using testing::ExpectSameBitsOnAnyThreads;
using testing::Near;
using testing::Poisoned;
using testing::RandomTensor;
using testing::RandomWeight;

// op(A) op(B) by the definition.
std::vector<double> PlainProduct(const Tensor& a, bool trans_a, const Tensor& b,
                                 bool trans_b) {
  const int64_t m = a.dim(trans_a ? 1 : 0), k = a.dim(trans_a ? 0 : 1);
  const int64_t n = b.dim(trans_b ? 0 : 1);
  std::vector<double> c(m * n);
  const auto at = [](const Tensor& x, bool t, int64_t i, int64_t j) {
    return double{x.data<float>()[t ? j * x.stride(0) + i * x.stride(1)
                                    : i * x.stride(0) + j * x.stride(1)]};
  };
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      for (int64_t l = 0; l < k; ++l) {
        c[i * n + j] += at(a, trans_a, i, l) * at(b, trans_b, l, j);
      }
    }
  }
  return c;
}

TEST(DenseMatmulTest, EqualsTheDefinitionAtAllEdges) {
  const Poisoned poisoned;
  Random random(1);
  Context ctx;
  ThreadPool pool(2);
  ctx.pool = &pool;
  const int64_t sizes[][3] = {{1, 1, 1},    {5, 7, 3},      {6, 16, 256},
                              {7, 17, 257}, {97, 33, 513},  {12, 64, 0},
                              {0, 4, 4},    {193, 130, 64}, {3, 3100, 20}};
  for (const auto& [m, n, k] : sizes) {
    for (int transposes = 0; transposes < 4; ++transposes) {
      const bool ta = transposes & 1, tb = transposes & 2;
      const Tensor a = RandomTensor(random, ta ? Shape({k, m}) : Shape({m, k}));
      const Tensor b = RandomTensor(random, tb ? Shape({n, k}) : Shape({k, n}));
      const Tensor c = DenseMatmul(ctx, AsColumns(a), ta, b, tb);
      EXPECT_TRUE(Near(c, PlainProduct(a, ta, b, tb), 3e-5))
          << m << " " << n << " " << k << " " << ta << tb;
    }
  }
}

TEST(DenseMatmulTest, ThreadsDoNotChangeTheBits) {
  Random random(2);
  const Tensor a = RandomTensor(random, {301, 700});
  const Tensor b = RandomTensor(random, {700, 150});
  ExpectSameBitsOnAnyThreads(Context(), [&](Context& ctx) {
    return DenseMatmul(ctx, a, false, b, false);
  });
}

TEST(DenseMatmulTest, Gradients) {
  Random random(3);
  for (int transposes = 0; transposes < 4; ++transposes) {
    const bool ta = transposes & 1, tb = transposes & 2;
    const Tensor a = RandomTensor(random, ta ? Shape({9, 7}) : Shape({7, 9}));
    const Tensor b = RandomTensor(random, tb ? Shape({5, 9}) : Shape({9, 5}));
    ExpectGradients(Context(), {a, b}, {},
                    [&](Context& ctx, const std::vector<Tensor>& in) {
                      return DenseMatmul(ctx, in[0], ta, in[1], tb);
                    });
  }
}

TEST(LinearTest, EqualsTheDefinition) {
  const Poisoned poisoned;
  Random random(4);
  ThreadPool pool(2);
  Context ctx;
  ctx.pool = &pool;
  for (const auto& [t, n, k] : {std::array<int64_t, 3>{1, 1, 1},
                                {1, 33, 67},
                                {5, 19, 65},
                                {70, 130, 31}}) {
    const Tensor x = RandomTensor(random, {t, k});
    const Weight w = RandomWeight(random, "w", {n, k});
    const Weight bias = RandomWeight(random, "bias", {n});
    std::vector<double> y = PlainProduct(x, false, w.values(), true);
    EXPECT_TRUE(Near(Linear(ctx, x, w), y, 2e-5));
    for (size_t i = 0; i < y.size(); ++i) y[i] += bias.f32()[i % n];
    EXPECT_TRUE(Near(Linear(ctx, AsColumns(x), w, &bias), y, 2e-5));
  }
}

TEST(LinearTest, RowsDoNotDependOnTheirBatch) {
  Random random(5);
  for (const Format* format : AllFormats()) {
    const int64_t k = format->WholeBlocks(96);
    const Tensor x = RandomTensor(random, {37, k});
    ThreadPool pool(2);
    Context ctx;
    ctx.pool = &pool;
    Weight w = RandomWeight(random, "w", {41, k});
    w.set_values(format, format->Quantize(pool, w.values()));
    ExpectRowsIndependent(
        x, [&](const Tensor& rows) { return Linear(ctx, rows, w); });
    ExpectSameBitsOnAnyThreads(ctx,
                               [&](Context& ctx) { return Linear(ctx, x, w); });
  }
}

TEST(LinearTest, Gradients) {
  Random random(6);
  Weight w = RandomWeight(random, "w", {11, 13}, 0.3f);
  Weight bias = RandomWeight(random, "bias", {11});
  ExpectGradients(Context(), {RandomTensor(random, {9, 13})}, {&w, &bias},
                  [&](Context& ctx, const std::vector<Tensor>& in) {
                    return Linear(ctx, in[0], w, &bias);
                  });
}

TEST(LinearTest, InputGradientThroughAQuantisedWeight) {
  Random random(7);
  ThreadPool pool(2);
  const Tensor g = RandomTensor(random, {5, 11});
  for (const Format* format : AllFormats()) {
    const int64_t k = format->WholeBlocks(64);
    const Tensor x = RandomTensor(random, {5, k});
    Weight w = RandomWeight(random, "w", {11, k});
    w.set_values(format, format->Quantize(pool, w.values()));
    Tape tape;
    Context ctx;
    ctx.pool = &pool;
    ctx.tape = &tape;
    Tensor leaf = x.Clone();
    tape.Watch(&leaf);
    const Tensor y = Linear(ctx, leaf, w);
    tape.Backward(ctx, y, g);
    const Tensor plain = format->Dequantize(pool, w.values(), k);
    EXPECT_TRUE(
        Near(tape.Gradient(leaf), PlainProduct(g, false, plain, false), 1e-4))
        << format->name();
    EXPECT_FALSE(tape.WeightGradient(w).defined()) << "frozen";
  }
}

// Weights of two formats, one with a bias: the bits of Linear, in any order.
TEST(LinearTest, SeveralOfOneInput) {
  Random random(14);
  Context ctx;
  ThreadPool pool(2);
  ctx.pool = &pool;
  const Tensor x = RandomTensor(random, {7, 64});
  const Format* q8_0 = FindFormat("q8_0");
  Weight a = RandomWeight(random, "a", {33, 64});
  const Weight b = RandomWeight(random, "b", {8, 64});
  Weight c = RandomWeight(random, "c", {5, 64});
  for (Weight* w : {&a, &c}) {
    w->set_values(q8_0, q8_0->Quantize(pool, w->values()));
  }
  const Weight bias = RandomWeight(random, "bias", {8});
  const auto [ya, yb, yc] = Linears(ctx, x, {{&a}, {&b, &bias}, {&c}});
  EXPECT_TRUE(BitwiseEqual(ya, Linear(ctx, x, a)));
  EXPECT_TRUE(BitwiseEqual(yb, Linear(ctx, x, b, &bias)));
  EXPECT_TRUE(BitwiseEqual(yc, Linear(ctx, x, c)));
}

TEST(GroupedLinearTest, EachExpertMeetsItsRows) {
  const Poisoned poisoned;
  Random random(8);
  ThreadPool pool(2);
  Context ctx;
  ctx.pool = &pool;
  Weight w = RandomWeight(random, "experts", {4, 6, 9}, 0.5f);
  const Tensor x = RandomTensor(random, {13, 9});
  const std::vector<int32_t> offsets = {0, 5, 5, 12, 13};
  const Tensor y = GroupedLinear(ctx, x, w, offsets);
  for (int e = 0; e < 4; ++e) {
    const Tensor rows = x.Slice(0, offsets[e], offsets[e + 1]);
    EXPECT_TRUE(Near(y.Slice(0, offsets[e], offsets[e + 1]),
                     PlainProduct(rows, false, w.values().Select(0, e), true),
                     2e-5));
  }
  ExpectGradients(ctx, {x}, {&w},
                  [&](Context& ctx, const std::vector<Tensor>& in) {
                    return GroupedLinear(ctx, in[0], w, offsets);
                  });
}

TEST(LinearTest, RefusesWrongShapes) {
  Random random(9);
  Context ctx;
  const Weight w = RandomWeight(random, "q_proj", {4, 6});
  const Weight bias = RandomWeight(random, "bias", {5});
  EXPECT_THROW(Linear(ctx, RandomTensor(random, {2, 5}), w), CheckError);
  EXPECT_THROW(Linear(ctx, RandomTensor(random, {2, 6}), w, &bias), CheckError);
  EXPECT_THROW(Linear(ctx, RandomTensor(random, {6}), w), CheckError);
  const Weight experts = RandomWeight(random, "experts", {2, 4, 6});
  const std::vector<int32_t> offsets = {0, 1, 3};
  EXPECT_THROW(
      GroupedLinear(ctx, RandomTensor(random, {2, 6}), experts, offsets),
      CheckError);
  EXPECT_THROW(DenseMatmul(ctx, Tensor::Zeros({2, 3}), false,
                           Tensor::Zeros({2, 3}), false),
               CheckError);
}

}  // namespace
}  // namespace intarsia
