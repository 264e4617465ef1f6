#include "intarsia/autograd/fused.h"

#include <gtest/gtest.h>

#include <cmath>

#include "intarsia/autograd/op.h"

namespace intarsia {
namespace {

Tensor Map(const Tensor& x, float (*fn)(float)) {
  Tensor y = Tensor::Empty(x.shape());
  for (int64_t i = 0; i < x.numel(); ++i) {
    y.mutable_data<float>()[i] = fn(x.data<float>()[i]);
  }
  return y;
}

Tensor Times(const Tensor& a, const Tensor& b) {
  Tensor y = Tensor::Empty(a.shape());
  for (int64_t i = 0; i < a.numel(); ++i) {
    y.mutable_data<float>()[i] = a.data<float>()[i] * b.data<float>()[i];
  }
  return y;
}

// x² by ops: a product, which records itself.
Tensor Square(Context& ctx, const Tensor& x) {
  return Run(
      ctx, CpuOnly("square", "test"), x.device(), {x},
      [&] { return Times(x, x); },
      [x](Context&, const std::vector<Tensor>& g) {
        const Tensor half = Times(x, g[0]);
        return std::vector<Tensor>{Map(half, [](float v) { return 2 * v; })};
      });
}

// x⁴: in one pass that is off by `error`, or by two squares.
Tensor Fourth(Context& ctx, const Tensor& x, float error, bool has_kernel) {
  return Fused(
      ctx, "fourth",
      [&] {
        if (!has_kernel) return Tensor();
        Tensor y = Map(x, [](float v) { return v * v * v * v; });
        y.mutable_data<float>()[0] += error;
        return y;
      },
      [&] { return Square(ctx, Square(ctx, x)); });
}

const Tensor kInput = Tensor::From(std::vector<float>{1, -2, 0.5f}, {3});

TEST(FusedTest, TheFastFormRunsAndTheCompositionIsItsGradient) {
  Context ctx;
  EXPECT_EQ(Fourth(ctx, kInput, 1.0f, true).ToVector<float>(),
            (std::vector<float>{2, 16, 0.0625f}));
  EXPECT_EQ(Fourth(ctx, kInput, 1.0f, false).ToVector<float>(),
            (std::vector<float>{1, 16, 0.0625f}));
  Tape tape;
  ctx.tape = &tape;
  Tensor x = kInput.Clone();
  tape.Watch(&x);
  const Tensor y = Fourth(ctx, x, 1.0f, true);
  EXPECT_EQ(y.ToVector<float>(), (std::vector<float>{1, 16, 0.0625f}));
  tape.Backward(ctx, y, Tensor::Full({3}, 1.0f));
  EXPECT_EQ(tape.Gradient(x).ToVector<float>(),
            (std::vector<float>{4, -32, 0.5f}));
}

TEST(FusedTest, AnAuditFindsAFastFormThatDiffers) {
  Context ctx;
  FusedAudit audit;
  Fourth(ctx, kInput, 0.0f, false);
  EXPECT_TRUE(audit.differences().empty()) << "no fast form ran";
  Fourth(ctx, kInput, 0.0f, true);
  EXPECT_LE(audit.differences().at("fourth"), 1e-7);
  Fourth(ctx, kInput, 0.5f, true);
  EXPECT_NEAR(audit.differences().at("fourth"), 0.5 / std::sqrt(257), 1e-4);
  {
    FusedAudit inner;
    Fourth(ctx, kInput, NAN, true);
    EXPECT_TRUE(std::isinf(inner.differences().at("fourth")));
  }
  EXPECT_EQ(FusedAudit::Current(), &audit);
}

TEST(FusedTest, EveryResultOfSeveralIsCompared) {
  Context ctx;
  FusedAudit audit;
  const auto two = [&](float error, bool has_kernel) {
    return Fused(
        ctx, "two",
        [&] {
          if (!has_kernel) return std::vector<Tensor>();
          Tensor second = Times(kInput, kInput);
          second.mutable_data<float>()[1] += error;
          return std::vector<Tensor>{kInput, second};
        },
        [&] {
          return std::vector<Tensor>{kInput, Times(kInput, kInput)};
        });
  };
  EXPECT_EQ(two(1.0f, false)[1].ToVector<float>()[1], 4.0f);
  EXPECT_TRUE(audit.differences().empty());
  EXPECT_EQ(two(1.0f, true)[1].ToVector<float>()[1], 5.0f);
  EXPECT_GT(audit.differences().at("two"), 0.1);
}

// A run of two results, of which one is used, and ops computed together.
TEST(RunTest, StructsAndVectorsOfResultsAreRecorded) {
  Context ctx;
  Tape tape;
  ctx.tape = &tape;
  Tensor x = kInput.Clone();
  tape.Watch(&x);
  const std::vector<Tensor> y = ::intarsia::Run(
      ctx, CpuOnly("twice", "test"), x.device(), {x},
      [&] {
        return std::vector<Tensor>{x.Clone(), Times(x, x)};
      },
      [&](const std::vector<Tensor>& result) -> Tape::BackwardFn {
        EXPECT_EQ(result[1].var(), -1);
        return [x](Context&, const std::vector<Tensor>& g) {
          EXPECT_FALSE(g[0].defined());
          return std::vector<Tensor>{Times(x, g[1])};
        };
      });
  const auto both = [&] {
    return std::vector<Tensor>{y[1], Times(y[1], y[1])};
  };
  const std::vector<Tensor> z = RunEach(
      ctx, CpuOnly("each", "test"), x.device(), {y[1]}, both,
      [&](const NoKernels&) { return both(); },
      [](size_t i) {
        return [i](Context&, const std::vector<Tensor>& g) {
          return std::vector<Tensor>{i == 0 ? g[0] : Tensor()};
        };
      });
  EXPECT_EQ(tape.nodes(), 3u);
  tape.Backward(ctx, z[0], Tensor::Full({3}, 1.0f));
  EXPECT_EQ(tape.Gradient(x).ToVector<float>(), kInput.ToVector<float>());
}

}  // namespace
}  // namespace intarsia
