// The weighted mean, token by token; channels are independent.
#include <algorithm>
#include <cmath>

#include "intarsia/autograd/op.h"
#include "intarsia/mixers/rwkv4/rwkv4.h"
#include "intarsia/mixers/rwkv4/rwkv4_cuda.h"

namespace intarsia {
namespace {

constexpr int64_t kChannelsPerTask = 64;

const OpDoor<rwkv4_cuda::Kernels> kDoor = {"wkv", "rwkv4", rwkv4_cuda::kernels,
                                           Differentiable::kOnCpu};

// Σ over rows of g · factor[column] (1 where null), in double.
Tensor SumRows(const Tensor& g, const Shape& shape, const float* factor) {
  const int64_t width = shape.numel();
  std::vector<double> sum(width, 0.0);
  for (int64_t i = 0; i < g.numel(); ++i) sum[i % width] += g.data<float>()[i];
  Tensor out = Tensor::Empty(shape);
  for (int64_t c = 0; c < width; ++c) {
    out.mutable_data<float>()[c] =
        static_cast<float>(sum[c] * (factor ? factor[c] : 1.0f));
  }
  return out;
}

}  // namespace

Tensor Wkv(Context& ctx, const Tensor& k, const Tensor& v, const Weight& decay,
           const Weight& bonus, const WkvStates* states) {
  CHECK(k.rank() == 2 && k.shape() == v.shape() &&
        k.dim(0) == ctx.batch->size() && decay.shape().numel() == k.dim(1) &&
        bonus.shape().numel() == k.dim(1))
      << k.shape() << ", " << v.shape();
  CHECK(ctx.tape == nullptr || states == nullptr)
      << "state in place cannot be differentiated";
  const Tensor keys = k.Contiguous(), values = v.Contiguous();
  const int64_t width = k.dim(1);
  const auto cpu = [&] {
    const Batch& batch = *ctx.batch;
    Tensor out = Tensor::Empty(keys.shape());
    const int64_t blocks = (width + kChannelsPerTask - 1) / kChannelsPerTask;
    ctx.pool->Run(batch.segments() * blocks, [&](int64_t task) {
      const int64_t n = task / blocks;
      const int64_t slot = states ? batch.slots[n] : -1;
      const int64_t first = task % blocks * kChannelsPerTask;
      const int64_t last = std::min(first + kChannelsPerTask, width);
      for (int64_t c = first; c < last; ++c) {
        const float w = -std::exp(decay.f32()[c]), u = bonus.f32()[c];
        const int64_t at = slot * width + c;
        float a = slot < 0 ? 0.0f : states->a->data<float>()[at];
        float b = slot < 0 ? 0.0f : states->b->data<float>()[at];
        float p = slot < 0 ? -1e38f : states->p->data<float>()[at];
        for (int64_t t = batch.begin(n); t < batch.begin(n + 1); ++t) {
          const float key = keys.data<float>()[t * width + c];
          const float value = values.data<float>()[t * width + c];
          // Whatever is larger stands as e^0.
          float top = std::max(p, u + key);
          float old = std::exp(p - top), own = std::exp(u + key - top);
          out.mutable_data<float>()[t * width + c] =
              (old * a + own * value) / (old * b + own);
          top = std::max(p + w, key);
          old = std::exp(p + w - top);
          own = std::exp(key - top);
          a = old * a + own * value;
          b = old * b + own;
          p = top;
        }
        if (slot < 0) continue;
        states->a->mutable_data<float>()[at] = a;
        states->b->mutable_data<float>()[at] = b;
        states->p->mutable_data<float>()[at] = p;
      }
    });
    return out;
  };
  const auto cuda = [&](const rwkv4_cuda::Kernels& kernels) {
    return kernels.wkv(ctx, keys, values, decay, bonus, states);
  };
  const Weight *of_decay = &decay, *of_bonus = &bonus;
  return Run(
      ctx, kDoor, k.device(), {k, v}, cpu, cuda,
      [=, tape = ctx.tape](Context& back, const std::vector<Tensor>& given) {
        const rwkv4_internal::WkvGradients d = rwkv4_internal::WkvBackward(
            back, keys, values, *of_decay, *of_bonus, given[0]);
        const Tensor dw = d.w, du = d.u;
        // w = −e^decay: dw/ddecay = w.
        tape->QueueWeightGradient(*of_decay, back, [=](Context&) {
          std::vector<float> slope(width);
          for (int64_t c = 0; c < width; ++c) {
            slope[c] = -std::exp(of_decay->f32()[c]);
          }
          return SumRows(dw, of_decay->shape(), slope.data());
        });
        tape->QueueWeightGradient(*of_bonus, back, [=](Context&) {
          return SumRows(du, of_bonus->shape(), nullptr);
        });
        return std::vector<Tensor>{d.k, d.v};
      });
}

}  // namespace intarsia
