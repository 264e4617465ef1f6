// Gradients of the core: tiles are computed again from the log-sum-exp (Dao
// 2023, "FlashAttention-2", algorithm 2).
#include "intarsia/mixers/attention/attention_vjp.h"

#include <cmath>

#include "intarsia/mixers/attention/attention_kernels.h"

namespace intarsia::attention_internal {
namespace {

// The tensors of a recorded call, contiguous.
struct Saved {
  Tensor q, k, v, out, lse;
  Batch keys;  // empty: the context's batch
  bool own_keys = false;
  int64_t begin, end;
  AttentionCoreConfig config;
  Tensor bias;  // undefined: none
};

struct Gradients {
  Tensor q, k, v, bias;
};

// d_out: [T, H, V]; d_lse: [T, H] or undefined. A segment and key head a task,
// whose sums run over tiles and rows in ascending order.
Gradients Backward(Context& ctx, const Saved& saved, const Tensor& d_out,
                   const Tensor& d_lse) {
  const Batch& batch = *ctx.batch;
  const Batch& key_batch = saved.own_keys ? saved.keys : batch;
  const int64_t heads = saved.q.dim(1), key_dim = saved.q.dim(2);
  const int64_t kv_heads = saved.k.dim(1), value_dim = saved.v.dim(2);
  const int64_t group = heads / kv_heads;
  Gradients out{Tensor::Empty(saved.q.shape()), Tensor::Empty(saved.k.shape()),
                Tensor::Empty(saved.v.shape()), Tensor()};
  const bool biased = saved.bias.defined();
  if (biased) out.bias = Tensor::Empty(saved.bias.shape());
  float* d_q = out.q.mutable_data<float>();
  float* d_k = out.k.mutable_data<float>();
  float* d_v = out.v.mutable_data<float>();

  std::vector<Visible> visible(batch.size());
  for (int64_t n = 0; n < batch.segments(); ++n) {
    const int64_t end = std::min(saved.end, key_batch.length(n));
    FindVisible(
        saved.config.mask, batch.positions.data() + batch.begin(n),
        batch.length(n), key_batch.positions.data() + key_batch.begin(n),
        std::min(saved.begin, end), end, visible.data() + batch.begin(n));
  }
  const auto run = [&](int64_t i) {
    const int64_t n = i / kv_heads, h = i % kv_heads;
    const int64_t t = batch.begin(n), e = key_batch.begin(n);
    BackwardArgs args;
    args.visible = visible.data() + t;
    args.tokens = batch.length(n);
    args.keys = key_batch.length(n);
    args.group = group;
    args.key_dim = key_dim;
    args.value_dim = value_dim;
    args.q_stride = heads * key_dim;
    args.out_stride = heads * value_dim;
    args.lse_stride = heads;
    args.k_stride = kv_heads * key_dim;
    args.v_stride = kv_heads * value_dim;
    const int64_t at_q = t * args.q_stride + h * group * key_dim;
    const int64_t at_out = t * args.out_stride + h * group * value_dim;
    const int64_t at_lse = t * heads + h * group;
    const int64_t at_k = e * args.k_stride + h * key_dim;
    const int64_t at_v = e * args.v_stride + h * value_dim;
    args.q = saved.q.data<float>() + at_q;
    args.out = saved.out.data<float>() + at_out;
    args.d_out = d_out.data<float>() + at_out;
    args.lse = saved.lse.data<float>() + at_lse;
    args.d_lse = d_lse.defined() ? d_lse.data<float>() + at_lse : nullptr;
    args.k = saved.k.data<float>() + at_k;
    args.v = saved.v.data<float>() + at_v;
    args.d_q = d_q + at_q;
    args.d_k = d_k + at_k;
    args.d_v = d_v + at_v;
    const double scale = saved.config.scale;
    args.scale =
        static_cast<float>(scale > 0 ? scale : 1.0 / std::sqrt(key_dim));
    args.softcap = static_cast<float>(saved.config.softcap);
    args.positions = key_batch.positions.data() + e;
    args.query_positions = batch.positions.data() + t;
    if (!saved.config.slopes.empty()) {
      args.slopes = saved.config.slopes.data() + h * group;
    }
    std::vector<float> floors(saved.config.keep > 0 ? args.tokens : 0);
    if (biased) {
      args.bias_stride = kv_heads;
      args.bias = saved.bias.data<float>() + e * kv_heads + h;
      args.d_bias = out.bias.mutable_data<float>() + e * kv_heads + h;
    }
    if (!floors.empty()) {
      FindFloors(
          args.visible, args.tokens, saved.config.keep,
          [&](int64_t entry) { return args.bias[entry * kv_heads]; },
          floors.data());
      args.floors = floors.data();
    }
    Tensor scratch = Tensor::Empty({BackwardScratch(args)});
    BackwardSegment(args, scratch.mutable_data<float>());
  };
  const int64_t tasks = batch.segments() * kv_heads;
  if (ctx.pool != nullptr) {
    ctx.pool->Run(tasks, run);
  } else {
    for (int64_t i = 0; i < tasks; ++i) run(i);
  }
  return out;
}

// A sink is a score with value zero, so its gradient is Σ_t p (d_lse − delta)
// with p = exp(sink − lse).
Tensor SinkGradient(const Saved& saved, const float* sinks, const Tensor& d_out,
                    const Tensor& d_lse) {
  const int64_t tokens = saved.out.dim(0), heads = saved.out.dim(1);
  const int64_t dim = saved.out.dim(2);
  Tensor gradient = Tensor::Zeros({heads});
  for (int64_t h = 0; h < heads; ++h) {
    double sum = 0;
    for (int64_t t = 0; t < tokens; ++t) {
      const int64_t row = t * heads + h;
      double slope = d_lse.defined() ? d_lse.data<float>()[row] : 0.0;
      for (int64_t i = row * dim; i < (row + 1) * dim; ++i) {
        slope -= double{d_out.data<float>()[i]} * saved.out.data<float>()[i];
      }
      sum += slope * std::exp(double{sinks[h]} - saved.lse.data<float>()[row]);
    }
    gradient.mutable_data<float>()[h] = static_cast<float>(sum);
  }
  return gradient;
}

Tensor OrZeros(const Tensor& gradient, const Tensor& like) {
  return gradient.defined()
             ? gradient.Contiguous()
             : Tensor::Zeros(like.shape(), DType::kF32, like.device());
}

}  // namespace

Tape::BackwardFn CoreVjp(Tape* tape, const Tensor& q, const AttentionKeys& keys,
                         const AttentionCoreConfig& config, const Weight* sinks,
                         const AttentionResult& result) {
  using attention_cuda::Kernels;
  Saved saved{q.Contiguous(),
              keys.k.Contiguous(),
              keys.v.Contiguous(),
              result.out,
              result.lse,
              {},
              false,
              keys.begin,
              keys.end,
              config,
              keys.bias};
  if (saved.bias.defined()) saved.bias = saved.bias.Contiguous();
  if (keys.batch != nullptr) {
    saved.keys = *keys.batch;
    saved.own_keys = true;
  }
  return [=](Context& back, const std::vector<Tensor>& g) {
    const Tensor d_out = OrZeros(g[0], saved.out);
    const Tensor d_lse = g[1].defined() ? g[1].Contiguous() : Tensor();
    const AttentionResult of = {saved.out, saved.lse};
    if (sinks != nullptr) {
      tape->QueueWeightGradient(*sinks, back, [=](Context& ctx) {
        return OnDevice(
            d_out.device(), Door(),
            [&] { return SinkGradient(saved, sinks->f32(), d_out, d_lse); },
            [&](const Kernels& cuda) {
              return cuda.sink_gradient(ctx, *sinks, of, d_out, d_lse);
            });
      });
    }
    return OnDevice(
        d_out.device(), Door(),
        [&] {
          const Gradients d = Backward(back, saved, d_out, d_lse);
          std::vector<Tensor> all = {d.q, d.k, d.v};
          if (d.bias.defined()) all.push_back(d.bias);
          return all;
        },
        [&](const Kernels& cuda) {
          return cuda.gradients(back, saved.q, saved.k, saved.v, of,
                                saved.config, d_out, d_lse);
        });
  };
}

// out = wa a + wb b with wa = exp(lse_a − lse): d_lse_a = wa (d_lse + d_out ·
// (a − out)), and the same of b.
Tape::BackwardFn MergeVjp(const AttentionResult& a, const AttentionResult& b,
                          const AttentionResult& merged) {
  const auto part = [](const AttentionResult& x, const AttentionResult& merged,
                       const Tensor& d_out, const Tensor& d_lse, Tensor* d_x,
                       Tensor* d_x_lse) {
    const int64_t rows = x.lse.numel(), dim = x.out.dim(2);
    *d_x = Tensor::Empty(x.out.shape());
    *d_x_lse = Tensor::Empty(x.lse.shape());
    const float* px = x.out.data<float>();
    const float* po = merged.out.data<float>();
    const float* g = d_out.data<float>();
    float* dx = d_x->mutable_data<float>();
    for (int64_t r = 0; r < rows; ++r) {
      const float lse = x.lse.data<float>()[r];
      const double w =
          std::isinf(lse) && lse < 0
              ? 0.0
              : std::exp(double{lse} - merged.lse.data<float>()[r]);
      double slope = d_lse.data<float>()[r];
      for (int64_t i = r * dim; i < (r + 1) * dim; ++i) {
        slope += double{g[i]} * (double{px[i]} - po[i]);
        dx[i] = static_cast<float>(w * g[i]);
      }
      d_x_lse->mutable_data<float>()[r] = static_cast<float>(w * slope);
    }
  };
  const AttentionResult ca{a.out.Contiguous(), a.lse.Contiguous()};
  const AttentionResult cb{b.out.Contiguous(), b.lse.Contiguous()};
  return [=](Context&, const std::vector<Tensor>& g) {
    const Tensor d_out = OrZeros(g[0], merged.out);
    const Tensor d_lse = OrZeros(g[1], merged.lse);
    std::vector<Tensor> d(4);
    part(ca, merged, d_out, d_lse, &d[0], &d[1]);
    part(cb, merged, d_out, d_lse, &d[2], &d[3]);
    return d;
  };
}

}  // namespace intarsia::attention_internal
