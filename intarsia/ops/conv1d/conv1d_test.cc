#include "intarsia/ops/conv1d/conv1d.h"

#include "intarsia/ops/common/testing.h"

namespace intarsia {
namespace {

using testing::AsColumns;
using testing::BitwiseEqual;
using testing::ExpectGradients;
using testing::ExpectSameBitsOnAnyThreads;
using testing::Near;
using testing::Poisoned;
using testing::RandomTensor;
using testing::RandomWeight;

std::vector<double> Plain(const Batch& batch, const Tensor& x, const Weight& w,
                          const Weight* bias, Activation activation) {
  const int64_t channels = x.dim(1), width = w.shape()[1];
  std::vector<double> y;
  for (int64_t n = 0; n < batch.segments(); ++n) {
    for (int64_t t = batch.begin(n); t < batch.begin(n + 1); ++t) {
      for (int64_t c = 0; c < channels; ++c) {
        double sum = bias != nullptr ? bias->f32()[c] : 0;
        for (int64_t j = 0; j < width && t - j >= batch.begin(n); ++j) {
          sum += double{w.f32()[c * width + width - 1 - j]} *
                 x.data<float>()[(t - j) * channels + c];
        }
        y.push_back(ReferenceActivation(activation, sum));
      }
    }
  }
  return y;
}

TEST(CausalConv1dTest, EqualsTheDefinition) {
  const Poisoned poisoned;
  Random random(1);
  const Batch batch = Batch::OfLengths(std::vector<int32_t>{1, 9, 0, 2, 17});
  Context ctx;
  ctx.batch = &batch;
  for (int64_t width : {1, 2, 4, 7}) {
    for (int64_t channels : {1, 8, 37, 64}) {
      const Tensor x = RandomTensor(random, {29, channels});
      const Weight w = RandomWeight(random, "conv", {channels, width});
      const Weight bias = RandomWeight(random, "conv_bias", {channels});
      EXPECT_TRUE(
          Near(CausalConv1d(ctx, AsColumns(x), w, &bias, Activation::kSilu),
               Plain(batch, x, w, &bias, Activation::kSilu), 2e-6));
      EXPECT_TRUE(Near(CausalConv1d(ctx, x, w, nullptr, Activation::kNone),
                       Plain(batch, x, w, nullptr, Activation::kNone), 2e-6));
    }
  }
}

// Two sequences through one state tensor, cut in pieces; slots in odd places.
TEST(CausalConv1dTest, SplitsAreBitwiseEqualToTheWhole) {
  const Poisoned poisoned;
  Random random(2);
  const int64_t channels = 21;
  for (int64_t width : {1, 2, 4, 5}) {
    const Weight w = RandomWeight(random, "conv", {channels, width});
    const Weight bias = RandomWeight(random, "conv_bias", {channels});
    const Tensor a = RandomTensor(random, {23, channels});
    const Tensor b = RandomTensor(random, {23, channels});
    const auto whole = [&](const Tensor& x) {
      const Batch batch = Batch::OfLengths(std::vector<int32_t>{23});
      Context ctx;
      ctx.batch = &batch;
      return CausalConv1d(ctx, x, w, &bias, Activation::kSilu);
    };
    const Tensor want_a = whole(a), want_b = whole(b);

    Tensor state = Tensor::Full({4, channels, width - 1}, NAN);
    for (int64_t slot : {1, 3}) {
      state.Slice(0, slot, slot + 1)
          .CopyFrom(Tensor::Zeros({1, channels, width - 1}));
    }
    // Pieces of a in slot 3 and of b in slot 1; b lags behind a.
    const int cuts_a[] = {0, 1, 2, 5, 5, 16, 23, 23};
    const int cuts_b[] = {0, 0, 7, 8, 9, 10, 11, 23};
    for (int i = 0; i < 7; ++i) {
      const Tensor rows_a = a.Slice(0, cuts_a[i], cuts_a[i + 1]);
      const Tensor rows_b = b.Slice(0, cuts_b[i], cuts_b[i + 1]);
      const int32_t na = static_cast<int32_t>(rows_a.dim(0));
      const int32_t nb = static_cast<int32_t>(rows_b.dim(0));
      Batch batch;
      batch.Add(std::vector<int32_t>(na, 0), cuts_a[i], 3);
      batch.Add(std::vector<int32_t>(nb, 0), cuts_b[i], 1);
      Tensor x = Tensor::Empty({na + nb, channels});
      x.Slice(0, 0, na).CopyFrom(rows_a);
      x.Slice(0, na, na + nb).CopyFrom(rows_b);
      ThreadPool pool(2);
      Context ctx;
      ctx.batch = &batch;
      ctx.pool = &pool;
      const Tensor y = CausalConv1d(ctx, x, w, &bias, Activation::kSilu, state);
      EXPECT_TRUE(BitwiseEqual(y.Slice(0, 0, na),
                               want_a.Slice(0, cuts_a[i], cuts_a[i + 1])));
      EXPECT_TRUE(BitwiseEqual(y.Slice(0, na, na + nb),
                               want_b.Slice(0, cuts_b[i], cuts_b[i + 1])));
    }
    // The state holds the last inputs, oldest first; others are untouched.
    for (int64_t c = 0; c < channels; ++c) {
      for (int64_t k = 0; k < width - 1; ++k) {
        const float* all = state.data<float>();
        EXPECT_EQ(all[(3 * channels + c) * (width - 1) + k],
                  a.data<float>()[(23 - (width - 1) + k) * channels + c]);
        EXPECT_TRUE(std::isnan(all[c * (width - 1) + k]));
      }
    }
  }
}

// Decode steps of two sequences together, in odd slots, beside the whole runs.
TEST(CausalConv1dTest, StepsAreBitwiseEqualToTheWhole) {
  const Poisoned poisoned;
  Random random(5);
  for (int64_t width : {1, 2, 4, 5}) {
    for (int64_t channels : {21, 1100}) {
      const Weight w = RandomWeight(random, "conv", {channels, width});
      const Weight bias = RandomWeight(random, "conv_bias", {channels});
      const Tensor x = RandomTensor(random, {2 * 9, channels});
      const Batch both = Batch::OfLengths(std::vector<int32_t>{9, 9});
      Context ctx;
      ctx.batch = &both;
      const Tensor want = CausalConv1d(ctx, x, w, &bias, Activation::kSilu);
      const Tensor plain = CausalConv1d(ctx, x, w, nullptr, Activation::kNone);

      Tensor state = Tensor::Zeros({4, channels, width - 1});
      Tensor other = Tensor::Zeros({4, channels, width - 1});
      ThreadPool pool(2);
      ctx.pool = &pool;
      for (int t = 0; t < 9; ++t) {
        Batch step;
        step.Add(std::vector<int32_t>{0}, t, 3);
        step.Add(std::vector<int32_t>{0}, t, 1);
        ctx.batch = &step;
        Tensor in = Tensor::Empty({2, channels});
        for (int s = 0; s < 2; ++s) {
          in.Slice(0, s, s + 1).CopyFrom(x.Slice(0, 9 * s + t, 9 * s + t + 1));
        }
        const Tensor y =
            CausalConv1d(ctx, in, w, &bias, Activation::kSilu, state);
        const Tensor z =
            CausalConv1d(ctx, in, w, nullptr, Activation::kNone, other);
        for (int s = 0; s < 2; ++s) {
          const auto row = [&](const Tensor& all, int r) {
            return all.Slice(0, r, r + 1);
          };
          ASSERT_TRUE(BitwiseEqual(row(y, s), row(want, 9 * s + t)))
              << "width " << width << ", token " << t;
          ASSERT_TRUE(BitwiseEqual(row(z, s), row(plain, 9 * s + t)));
        }
      }
      for (float kept : state.Slice(0, 0, 1).ToVector<float>()) {
        EXPECT_EQ(kept, 0.0f);
      }
    }
  }
}

TEST(CausalConv1dTest, Gradients) {
  Random random(3);
  const Batch batch = Batch::OfLengths(std::vector<int32_t>{2, 8, 1});
  Context ctx;
  ctx.batch = &batch;
  for (Activation activation : {Activation::kNone, Activation::kSilu}) {
    Weight w = RandomWeight(random, "conv", {19, 4});
    Weight bias = RandomWeight(random, "conv_bias", {19});
    ExpectGradients(ctx, {RandomTensor(random, {11, 19})}, {&w, &bias},
                    [&](Context& ctx, const std::vector<Tensor>& in) {
                      return CausalConv1d(ctx, in[0], w, &bias, activation);
                    });
  }
}

// A piece that starts from what stood before has the gradients of the whole, of
// whose other rows the loss sees nothing.
TEST(CausalConv1dTest, GradientsOfAPieceThatGoesOn) {
  Random random(14);
  const int64_t channels = 13, width = 4, first = 5, rows = 9;
  Weight w = RandomWeight(random, "conv", {channels, width});
  Weight bias = RandomWeight(random, "conv_bias", {channels});
  w.trainable = bias.trainable = true;
  const Tensor x = RandomTensor(random, {first + rows, channels});
  const Tensor g = RandomTensor(random, {rows, channels});
  struct Gradients {
    Tensor y, x, w, bias;
  };
  const auto run = [&](int64_t begin, Tensor state) {
    const auto n = static_cast<int32_t>(first + rows - begin);
    Batch batch = Batch::OfLengths(std::vector<int32_t>{n});
    batch.slots = {0};
    Tape tape;
    Context ctx;
    ctx.batch = &batch;
    ctx.tape = &tape;
    Tensor in = x.Slice(0, begin, first + rows).Contiguous().Clone();
    tape.Watch(&in);
    const Tensor y =
        CausalConv1d(ctx, in, w, &bias, Activation::kSilu, std::move(state));
    Tensor of_y = Tensor::Zeros(y.shape());
    of_y.Slice(0, first - begin, n).CopyFrom(g);
    Tensor loss = Tensor::Zeros({1});
    tape.Record("loss", ctx, {y}, {&loss},
                [=](Context&, const std::vector<Tensor>&) {
                  return std::vector<Tensor>{of_y};
                });
    ctx.tape = nullptr;
    tape.Backward(ctx, loss);
    return Gradients{y.Slice(0, first - begin, n).Contiguous(),
                     tape.Gradient(in).Slice(0, first - begin, n).Contiguous(),
                     tape.WeightGradient(w), tape.WeightGradient(bias)};
  };
  Tensor state = Tensor::Empty({1, channels, width - 1});
  for (int64_t c = 0; c < channels; ++c) {
    for (int64_t k = 0; k < width - 1; ++k) {
      state.mutable_data<float>()[c * (width - 1) + k] =
          x.data<float>()[(first - width + 1 + k) * channels + c];
    }
  }
  const Gradients whole = run(0, Tensor()), piece = run(first, state);
  const auto wide = [](const Tensor& t) {
    const std::vector<float> values = t.ToVector<float>();
    return std::vector<double>(values.begin(), values.end());
  };
  EXPECT_TRUE(BitwiseEqual(piece.y, whole.y));
  EXPECT_TRUE(Near(piece.x, wide(whole.x), 1e-6));
  EXPECT_TRUE(Near(piece.w, wide(whole.w), 1e-6));
  EXPECT_TRUE(Near(piece.bias, wide(whole.bias), 1e-6));
  // The state is that after the batch.
  EXPECT_EQ(state.data<float>()[width - 2],
            x.data<float>()[(first + rows - 1) * channels]);
}

TEST(CausalConv1dTest, ThreadsDoNotChangeTheBits) {
  Random random(4);
  const Batch batch = Batch::OfLengths(std::vector<int32_t>{70, 130});
  Context ctx;
  ctx.batch = &batch;
  const Weight w = RandomWeight(random, "conv", {300, 4});
  const Tensor x = RandomTensor(random, {200, 300});
  ExpectSameBitsOnAnyThreads(ctx, [&](Context& ctx) {
    return CausalConv1d(ctx, x, w, nullptr, Activation::kSilu);
  });
}

TEST(CausalConv1dTest, RefusesWrongShapes) {
  Random random(5);
  const Batch batch = Batch::OfLengths(std::vector<int32_t>{3});
  Context ctx;
  ctx.batch = &batch;
  const Weight w = RandomWeight(random, "conv", {6, 4});
  const auto run = [&](const Tensor& x, const Tensor& state) {
    return CausalConv1d(ctx, x, w, nullptr, Activation::kNone, state);
  };
  EXPECT_THROW(run(Tensor::Zeros({3, 5}), Tensor()), CheckError);
  EXPECT_THROW(run(Tensor::Zeros({2, 6}), Tensor()), CheckError);
  EXPECT_THROW(run(Tensor::Zeros({3, 6}), Tensor::Zeros({1, 6, 4})),
               CheckError);
  EXPECT_THROW(run(Tensor::Zeros({3, 6}), Tensor::Zeros({0, 6, 3})),
               CheckError);
}

}  // namespace
}  // namespace intarsia
