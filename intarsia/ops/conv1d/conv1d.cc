#include "intarsia/ops/conv1d/conv1d.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "intarsia/autograd/op.h"
#include "intarsia/ops/common/activation_cpu.h"
#include "intarsia/ops/common/rows.h"
#include "intarsia/ops/conv1d/conv1d_cpu.h"
#include "intarsia/ops/conv1d/conv1d_cuda.h"

namespace intarsia {
namespace {

// Weight and bias as the kernels want them: W rows of C, oldest input first.
struct Taps {
  int64_t channels, width;
  std::vector<float> weight, bias;
  Taps(const Weight& w, const Weight* b)
      : channels(w.shape()[0]),
        width(w.shape()[1]),
        weight(channels * width),
        bias(channels, 0.0f) {
    conv1d::ToRows(channels, width, w.f32(), weight.data());
    if (b != nullptr) std::copy_n(b->f32(), channels, bias.data());
  }
};

// The W−1 rows before each segment's first, oldest first: [N, W−1, C].
std::vector<float> History(const Batch& batch, const Tensor& state,
                           int64_t channels, int64_t before) {
  std::vector<float> rows(batch.segments() * before * channels, 0.0f);
  if (!state.defined()) return rows;
  for (int64_t n = 0; n < batch.segments(); ++n) {
    if (batch.slots[n] < 0) continue;  // padding
    conv1d::ToRows(channels, before,
                   state.data<float>() + batch.slots[n] * channels * before,
                   rows.data() + n * before * channels);
  }
  return rows;
}

// The input `back` rows before row i of segment n.
struct Inputs {
  const Batch& batch;
  const RowView& x;
  const std::vector<float>& history;
  int64_t before;
  const float* At(int64_t n, int64_t i, int64_t back) const {
    if (back <= i) return x.row(batch.begin(n) + i - back);
    return history.data() + (n * before + before + i - back) * x.cols();
  }
};

void UpdateState(const Inputs& inputs, Tensor* state) {
  const int64_t channels = inputs.x.cols(), before = inputs.before;
  std::vector<float> last(before * channels);
  for (int64_t n = 0; n < inputs.batch.segments(); ++n) {
    if (inputs.batch.slots[n] < 0) continue;  // padding
    for (int64_t k = 0; k < before; ++k) {
      std::copy_n(inputs.At(n, inputs.batch.length(n), before - k), channels,
                  last.data() + k * channels);
    }
    conv1d::ToColumns(channels, before, last.data(),
                      state->mutable_data<float>() +
                          inputs.batch.slots[n] * channels * before);
  }
}

// The sums before the activation.
void Convolve(Context& ctx, const Inputs& inputs, const Taps& taps,
              Activation activation, float* out) {
  const std::vector<int32_t> segment = inputs.batch.SegmentIds();
  const int64_t channels = taps.channels, width = taps.width;
  ForRange(ctx.pool, inputs.x.rows(), GrainFor(channels * width),
           [&](int64_t begin, int64_t end) {
             std::vector<const float*> rows(width);
             for (int64_t t = begin; t < end; ++t) {
               const int64_t n = segment[t], i = t - inputs.batch.begin(n);
               for (int64_t k = 0; k < width; ++k) {
                 rows[k] = inputs.At(n, i, width - 1 - k);
               }
               float* y = out + t * channels;
               conv1d::Row(channels, width, rows.data(), taps.weight.data(),
                           channels, taps.bias.data(), y);
               if (activation != Activation::kNone) {
                 elementwise::Forward(activation, channels, &y, &y);
               }
             }
           });
}

// dx_t = Σ_j weight[W−1−j] ⊙ g_{t+j} within the segment: the same kernel over
// the gradients, with the taps in reverse.
Tensor InputGradient(Context& ctx, const Weight& weight, const Tensor& g) {
  const Batch& batch = *ctx.batch;
  const Taps taps(weight, nullptr);
  const int64_t channels = taps.channels, width = taps.width;
  Tensor dx = Tensor::Empty(g.shape());
  float* out = dx.mutable_data<float>();
  const RowView rows(g);
  const std::vector<int32_t> segment = batch.SegmentIds();
  const std::vector<float> zeros(channels, 0.0f);
  ForRange(ctx.pool, rows.rows(), GrainFor(channels * width),
           [&](int64_t begin, int64_t end) {
             std::vector<const float*> later(width);
             for (int64_t t = begin; t < end; ++t) {
               const int64_t stop = batch.begin(segment[t] + 1);
               for (int64_t k = 0; k < width; ++k) {
                 const int64_t at = t + width - 1 - k;
                 later[k] = at < stop ? rows.row(at) : zeros.data();
               }
               conv1d::Row(channels, width, later.data(), taps.weight.data(),
                           channels, zeros.data(), out + t * channels);
             }
           });
  return dx;
}

// dweight[c, W−1−j] = Σ_t g_t x_{t−j}: column c·W + W−1−j of SumColumns.
Tensor WeightGradient(Context& ctx, const Tensor& x, const Tensor& g,
                      const Weight& weight, const Tensor& state) {
  const Batch& batch = *ctx.batch;
  const int64_t channels = x.dim(1), width = weight.shape()[1];
  const std::vector<float> history = History(batch, state, channels, width - 1);
  Tensor out = Tensor::Empty(weight.shape());
  const RowView rows(x), grads(g);
  const std::vector<int32_t> segment = batch.SegmentIds();
  const Inputs inputs{batch, rows, history, width - 1};
  // By tap, so that the inner loop runs along the channels.
  std::vector<float> sums(channels);
  for (int64_t j = 0; j < width; ++j) {
    SumColumns(ctx.pool, rows.rows(), channels, sums.data(),
               [&](int64_t t, int64_t c0, int64_t c1, double* acc) {
                 const int64_t n = segment[t], i0 = t - batch.begin(n);
                 const float* a = grads.row(t) + c0;
                 const float* b = inputs.At(n, i0, j) + c0;
                 for (int64_t i = 0; i < c1 - c0; ++i) {
                   acc[i] += double{a[i]} * b[i];
                 }
               });
    float* to = out.mutable_data<float>();
    for (int64_t c = 0; c < channels; ++c) {
      to[c * width + width - 1 - j] = sums[c];
    }
  }
  return out;
}

Tensor BiasGradient(Context& ctx, const Tensor& g) {
  Tensor out = Tensor::Empty({g.dim(1)});
  const RowView rows(g);
  SumColumns(ctx.pool, rows.rows(), rows.cols(), out.mutable_data<float>(),
             [&](int64_t t, int64_t c0, int64_t c1, double* acc) {
               const float* from = rows.row(t) + c0;
               for (int64_t i = 0; i < c1 - c0; ++i) acc[i] += from[i];
             });
  return out;
}

void CheckArguments(const Context& ctx, const Tensor& x, const Weight& weight,
                    const Weight* bias, const Tensor& state) {
  CHECK_EQ(x.rank(), 2);
  CHECK(ctx.batch != nullptr);
  CHECK_EQ(x.dim(0), ctx.batch->size());
  CHECK_EQ(weight.shape().rank(), 2) << weight.spec().name;
  CHECK_EQ(x.dim(1), weight.shape()[0]) << weight.spec().name;
  CHECK_GE(weight.shape()[1], 1) << weight.spec().name;
  CHECK(weight.format().storage() == DType::kF32)
      << weight.spec().name << " is " << weight.format().name();
  if (bias != nullptr) {
    CHECK(bias->shape() == Shape({x.dim(1)}))
        << bias->spec().name << " is " << bias->shape();
  }
  if (!state.defined()) return;
  CHECK(ctx.tape == nullptr || x.device().is_cpu())
      << "on a GPU a recording starts from zero state";
  CHECK(state.rank() == 3 && state.contiguous() && state.dim(1) == x.dim(1) &&
        state.dim(2) == weight.shape()[1] - 1)
      << "state is " << state.shape() << " for a weight of " << weight.shape();
  for (int32_t slot : ctx.batch->slots) {
    CHECK(slot >= -1 && slot < state.dim(0)) << "slot " << slot;
  }
}

// Decoding: every segment is one token, so that state and input meet where they
// lie. Large rows are cut, that one sequence has work for all threads too.
void ConvolveStep(Context& ctx, const RowView& x, const Weight& weight,
                  const Weight* bias, Activation activation, Tensor* state,
                  float* out) {
  constexpr int64_t kBlock = 1024;  // channels
  const Batch& batch = *ctx.batch;
  const int64_t channels = x.cols(), width = weight.shape()[1];
  const std::vector<float> zeros(bias == nullptr ? channels : 0, 0.0f);
  const float* shift = bias == nullptr ? zeros.data() : bias->f32();
  const float* taps = weight.f32();
  float* kept = state->mutable_data<float>();
  const int64_t blocks = (channels + kBlock - 1) / kBlock;
  ForRange(ctx.pool, x.rows() * blocks, GrainFor(kBlock * width),
           [&](int64_t begin, int64_t end) {
             for (int64_t i = begin; i < end; ++i) {
               const int64_t t = i / blocks, c = i % blocks * kBlock;
               const int64_t n = std::min(kBlock, channels - c);
               float* y = out + t * channels + c;
               const int64_t slot = batch.slots[t];
               if (slot < 0) {  // padding
                 std::fill_n(y, n, 0.0f);
                 continue;
               }
               conv1d::Step(n, width, x.row(t) + c, taps + c * width, shift + c,
                            kept + (slot * channels + c) * (width - 1), y);
               if (activation != Activation::kNone) {
                 elementwise::Forward(activation, n, &y, &y);
               }
             }
           });
}

Tensor OnCpu(Context& ctx, const Tensor& x, const Weight& weight,
             const Weight* bias, Activation activation, Tensor* state) {
  const RowView rows(x);
  Tensor y = Tensor::Empty(x.shape());
  // Segments of one row each, none empty: row t is segment t's.
  if (state->defined() && ctx.batch->longest() == 1 &&
      ctx.batch->size() == ctx.batch->segments()) {
    ConvolveStep(ctx, rows, weight, bias, activation, state,
                 y.mutable_data<float>());
    return y;
  }
  const Taps taps(weight, bias);
  const std::vector<float> history =
      History(*ctx.batch, *state, taps.channels, taps.width - 1);
  const Inputs inputs{*ctx.batch, rows, history, taps.width - 1};
  Convolve(ctx, inputs, taps, activation, y.mutable_data<float>());
  if (state->defined()) UpdateState(inputs, state);
  return y;
}

using conv1d_cuda::Kernels;

OpDoor<Kernels> Door() {
  return {"causal_conv1d", "conv1d", conv1d_cuda::kernels};
}

// The gradient before the activation; the sums are computed again.
Tensor BeforeActivation(Context& ctx, const Tensor& x, const Weight& weight,
                        const Weight* bias, Activation activation,
                        const Tensor& g, const Tensor& state) {
  if (activation == Activation::kNone) return g;
  const Tensor sums = CausalConv1d(ctx, x, weight, bias, Activation::kNone,
                                   state.defined() ? state.Clone() : Tensor());
  return ActivationGradient(ctx, activation, sums, g);
}

// `state` is that before the batch.
Tape::BackwardFn Vjp(Tape* tape, const Tensor& x, const Weight& weight,
                     const Weight* bias, Activation activation,
                     const Tensor& state) {
  return [=, &weight](Context& ctx, const std::vector<Tensor>& grads) {
    const Tensor g =
        BeforeActivation(ctx, x, weight, bias, activation, grads[0], state);
    tape->QueueWeightGradient(weight, ctx, [=, &weight](Context& ctx) {
      return OnDevice(
          x.device(), Door(),
          [&] { return WeightGradient(ctx, x, g, weight, state); },
          [&](const Kernels& cuda) {
            return cuda.weight_gradient(ctx, x, weight, g);
          });
    });
    if (bias != nullptr) {
      tape->QueueWeightGradient(*bias, ctx, [g](Context& ctx) {
        return OnDevice(
            g.device(), Door(), [&] { return BiasGradient(ctx, g); },
            [&](const Kernels& cuda) { return cuda.bias_gradient(ctx, g); });
      });
    }
    if (x.var() < 0) return std::vector<Tensor>(1);
    return std::vector<Tensor>{OnDevice(
        x.device(), Door(), [&] { return InputGradient(ctx, weight, g); },
        [&](const Kernels& cuda) {
          return cuda.input_gradient(ctx, weight, g);
        })};
  };
}

}  // namespace

Tensor CausalConv1d(Context& ctx, const Tensor& x, const Weight& weight,
                    const Weight* bias, Activation activation, Tensor state) {
  CheckArguments(ctx, x, weight, bias, state);
  const Tensor before =
      ctx.tape != nullptr && state.defined() ? state.Clone() : Tensor();
  return Run(
      ctx, Door(), x.device(), {x},
      [&] { return OnCpu(ctx, x, weight, bias, activation, &state); },
      [&](const Kernels& cuda) {
        return cuda.conv1d(
            ctx, x.dim(1) <= 1 || x.stride(1) == 1 ? x : x.Contiguous(), weight,
            bias, activation, &state);
      },
      [&](const Tensor&) {
        return Vjp(ctx.tape, x, weight, bias, activation, before);
      });
}

}  // namespace intarsia
