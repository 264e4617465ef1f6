#include "intarsia/autograd/tape.h"

#include <gtest/gtest.h>

#include <cmath>
#include <memory>

#include "intarsia/autograd/gradient_check.h"

namespace intarsia {
namespace {

// y = factor · x², with nothing of the ops' machinery.
Tensor Square(Context& ctx, const Tensor& x, float factor) {
  Tensor y = Tensor::Empty(x.shape());
  for (int64_t i = 0; i < x.numel(); ++i) {
    y.mutable_data<float>()[i] =
        factor * x.data<float>()[i] * x.data<float>()[i];
  }
  if (ctx.tape != nullptr) {
    ctx.tape->Record("square", ctx, {x}, {&y},
                     [x, factor](Context&, const std::vector<Tensor>& g) {
                       Tensor dx = Tensor::Empty(x.shape());
                       for (int64_t i = 0; i < x.numel(); ++i) {
                         dx.mutable_data<float>()[i] = 2 * factor *
                                                       x.data<float>()[i] *
                                                       g[0].data<float>()[i];
                       }
                       return std::vector<Tensor>{dx};
                     });
  }
  return y;
}

// a + b; hands one gradient to both, as Add does.
Tensor Sum(Context& ctx, const Tensor& a, const Tensor& b) {
  Tensor y = a.Clone();
  for (int64_t i = 0; i < y.numel(); ++i) {
    y.mutable_data<float>()[i] += b.data<float>()[i];
  }
  if (ctx.tape != nullptr) {
    ctx.tape->Record("sum", ctx, {a, b}, {&y},
                     [](Context&, const std::vector<Tensor>& g) {
                       return std::vector<Tensor>{g[0], g[0]};
                     });
  }
  return y;
}

// x · w[0]: the weight's gradient is queued.
Tensor Times(Context& ctx, const Tensor& x, const Weight& w) {
  Tensor y = Tensor::Full(x.shape(), x.data<float>()[0] * w.f32()[0]);
  if (ctx.tape != nullptr) {
    Tape* tape = ctx.tape;
    tape->Record(
        "times", ctx, {x}, {&y},
        [tape, x, &w](Context& ctx, const std::vector<Tensor>& g) {
          const float go = g[0].data<float>()[0];
          tape->QueueWeightGradient(w, ctx, [x, go](Context&) {
            return Tensor::Full({1}, go * x.data<float>()[0]);
          });
          return std::vector<Tensor>{Tensor::Full(x.shape(), go * w.f32()[0])};
        });
  }
  return y;
}

Weight Scalar(float value) {
  WeightSpec spec;
  spec.name = "w";
  spec.shape = Shape({1});
  Weight w = Weight::F32(std::move(spec), Tensor::Full({1}, value));
  w.trainable = true;
  return w;
}

TEST(TapeTest, SharedGradientsAddUpWithoutTouchingEachOther) {
  // z = (x + x) + x² + (x + 3x²)': x is read five times, sums alias.
  Tape tape;
  Context ctx;
  ctx.tape = &tape;
  Tensor x = Tensor::From(std::vector<float>{1, -2, 0.5f}, {3});
  tape.Watch(&x);
  const Tensor a = Sum(ctx, x, x);
  const Tensor b = Sum(ctx, a, Square(ctx, x, 1));
  const Tensor c = Sum(ctx, x, Square(ctx, x, 3));
  const Tensor z = Sum(ctx, b, c);
  EXPECT_EQ(tape.nodes(), 6u);
  const Tensor seed = Tensor::From(std::vector<float>{1, 10, 100}, {3});
  tape.Backward(Context(), z, seed);
  EXPECT_EQ(tape.nodes(), 0u);
  const std::vector<float> g = tape.Gradient(x).ToVector<float>();
  for (int i = 0; i < 3; ++i) {
    const float xi = x.data<float>()[i];
    EXPECT_FLOAT_EQ(g[i], seed.data<float>()[i] * (3 + 8 * xi));
  }
  EXPECT_EQ(seed.ToVector<float>(), (std::vector<float>{1, 10, 100}));
}

TEST(TapeTest, WeightGradientsAddUpAtOnceOrDeferred) {
  const Weight w = Scalar(3.0f);
  Weight frozen = Scalar(5.0f);
  frozen.trainable = false;
  for (bool defer : {false, true}) {
    Tape tape;
    tape.set_defer_weight_gradients(defer);
    Context ctx;
    ctx.tape = &tape;
    Tensor x = Tensor::Full({1}, 2.0f);
    tape.Watch(&x);
    // y = w (w x) f: dy/dw = 2 w x f = 60, dy/dx = w² f = 45.
    const Tensor y = Times(ctx, Times(ctx, Times(ctx, x, w), w), frozen);
    tape.Backward(Context(), y);
    EXPECT_EQ(tape.WeightGradient(w).defined(), !defer);
    tape.RunWeightGradients();
    EXPECT_EQ(tape.WeightGradient(w).data<float>()[0], 60.0f);
    EXPECT_EQ(tape.Gradient(x).data<float>()[0], 45.0f);
    EXPECT_FALSE(tape.WeightGradient(frozen).defined());
    tape.Clear();
    EXPECT_FALSE(tape.WeightGradient(w).defined());
  }
}

TEST(TapeTest, UnreachedValuesHaveNoGradientAndTheirNodesDoNotRun) {
  Tape tape;
  Context ctx;
  ctx.tape = &tape;
  Tensor x = Tensor::Full({1}, 2.0f), other = Tensor::Full({1}, 4.0f);
  tape.Watch(&x);
  tape.Watch(&other);
  bool ran = false;
  Tensor unused = other.Clone();
  tape.Record("unused", ctx, {other}, {&unused},
              [&ran](Context&, const std::vector<Tensor>& g) {
                ran = true;
                return g;
              });
  tape.Backward(Context(), Square(ctx, x, 1));
  EXPECT_FALSE(ran);
  EXPECT_FALSE(tape.Gradient(other).defined());
  EXPECT_EQ(tape.Gradient(x).data<float>()[0], 4.0f);
}

TEST(TapeTest, BackwardSeesTheForwardBatchAndWeightsThatAreGone) {
  Tape tape;
  const Weight w = Scalar(1.0f);
  Tensor x = Tensor::Full({1}, 2.0f);
  tape.Watch(&x);
  Tensor y = x.Clone();
  {
    auto batch = std::make_unique<Batch>(Batch::Of({{1, 2, 3}, {4}}));
    const std::vector<const Weight*> weights = {&w};
    Context ctx;
    ctx.batch = batch.get();
    ctx.weights = weights;
    ctx.tape = &tape;
    tape.Record(
        "reads", ctx, {x}, {&y},
        [](Context& ctx, const std::vector<Tensor>& g) {
          EXPECT_EQ(ctx.batch->positions, (std::vector<int32_t>{0, 1, 2, 0}));
          EXPECT_EQ(ctx.weight(0).f32()[0], 1.0f);
          EXPECT_EQ(ctx.tape, nullptr);
          EXPECT_NE(ctx.pool, nullptr);
          return g;
        });
  }
  ThreadPool pool(1);
  Context ctx;
  ctx.pool = &pool;
  tape.Backward(ctx, y);
  EXPECT_EQ(tape.Gradient(x).data<float>()[0], 1.0f);
}

TEST(TapeTest, ThreadsDoNotChangeSums) {
  Random random(3);
  const int64_t n = 100003;
  Tensor values = Tensor::Empty({n});
  for (int64_t i = 0; i < n; ++i) {
    values.mutable_data<float>()[i] = random.NextNormal();
  }
  std::vector<float> expected;
  for (int threads : {1, 2, 5}) {
    Tape tape;
    Context ctx;
    ctx.tape = &tape;
    Tensor x = values.Clone();
    tape.Watch(&x);
    const Tensor y =
        Sum(ctx, Square(ctx, x, 0.3f), Sum(ctx, x, Square(ctx, x, 1.7f)));
    ThreadPool pool(threads);
    Context backward;
    backward.pool = &pool;
    tape.Backward(backward, y, values);
    const std::vector<float> g = tape.Gradient(x).ToVector<float>();
    if (expected.empty()) expected = g;
    EXPECT_EQ(g, expected) << threads;
  }
}

TEST(TapeTest, RefusesWhatItCannotMean) {
  Tape tape;
  Context ctx;
  ctx.tape = &tape;
  Tensor x = Tensor::Full({2}, 2.0f);
  EXPECT_THROW(tape.Backward(Context(), x), CheckError);  // never seen
  tape.Watch(&x);
  const Tensor y = Square(ctx, x, 1);
  EXPECT_THROW(tape.Backward(Context(), y), CheckError);  // not one element
  EXPECT_THROW(tape.Backward(Context(), y, Tensor::Zeros({3})), CheckError);
  EXPECT_THROW(tape.Gradient(y), CheckError);  // not watched
  Weight w = Scalar(1);
  EXPECT_THROW(
      tape.QueueWeightGradient(w, ctx, [](Context&) { return Tensor(); }),
      CheckError);
  Tensor z = x.Clone();
  tape.Record("bad", ctx, {x}, {&z}, [](Context&, const std::vector<Tensor>&) {
    return std::vector<Tensor>{Tensor::Zeros({5})};
  });
  EXPECT_THROW(tape.Backward(Context(), z, Tensor::Zeros({2})), CheckError);
}

TEST(GradientCheckTest, AcceptsRightAndRefusesWrongGradients) {
  Weight w = Scalar(1.5f);
  const Tensor x = Tensor::Full({1}, 0.7f);
  const auto right = [&](Context& ctx, const std::vector<Tensor>& in) {
    return Square(ctx, Times(ctx, in[0], w), 1);
  };
  for (const GradientError& e : CheckGradients(Context(), {x}, {&w}, right)) {
    EXPECT_LT(e.max_relative, 1e-4) << e.name;
  }
  // The tape sees 1.01 times the function.
  const auto wrong = [&](Context& ctx, const std::vector<Tensor>& in) {
    return Square(ctx, Times(ctx, in[0], w), ctx.tape ? 1.01f : 1.0f);
  };
  for (const GradientError& e : CheckGradients(Context(), {x}, {&w}, wrong)) {
    EXPECT_NEAR(e.max_relative, 0.01, 1e-3) << e.name;
  }
  EXPECT_EQ(w.f32()[0], 1.5f);  // put back
}

}  // namespace
}  // namespace intarsia
