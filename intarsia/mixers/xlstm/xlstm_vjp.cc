// The gates, the division by the sum of keys, and their gradients.
#include <algorithm>
#include <cmath>

#include "intarsia/autograd/op.h"
#include "intarsia/mixers/xlstm/xlstm.h"
#include "intarsia/mixers/xlstm/xlstm_cuda.h"
#include "intarsia/ops/common/rows.h"

namespace intarsia {
namespace {

OpDoor<xlstm_cuda::Kernels> Door(const char* name) {
  return {name, "xlstm", xlstm_cuda::kernels, Differentiable::kOnCpu};
}

float LogSigmoid(float x) {
  return std::min(x, 0.0f) - std::log1p(std::exp(-std::abs(x)));
}

XlstmGates OpenOnCpu(Context& ctx, const Tensor& i, const Tensor& f,
                     const Tensor& v, float eps, Tensor* m) {
  const Batch& batch = *ctx.batch;
  const int64_t rows = v.dim(0), heads = v.dim(1), width = v.dim(2);
  XlstmGates out;
  out.log_decay = Tensor::Empty({rows, heads});
  out.value = Tensor::Empty({rows, heads, width + 1});
  out.floor = Tensor::Empty({rows, heads});
  const float *in = i.data<float>(), *from = v.data<float>();
  float* decay = out.log_decay.mutable_data<float>();
  float* value = out.value.mutable_data<float>();
  float* floor = out.floor.mutable_data<float>();
  ForRange(ctx.pool, rows * heads, GrainFor(width + 20),
           [&](int64_t begin, int64_t end) {
             for (int64_t k = begin; k < end; ++k) {
               decay[k] = LogSigmoid(f.data<float>()[k]);
               const float open = std::exp(in[k]);
               float* to = value + k * (width + 1);
               for (int64_t c = 0; c < width; ++c) {
                 to[c] = open * from[k * width + c];
               }
               to[width] = open;
             }
           });
  for (int64_t n = 0; n < batch.segments(); ++n) {
    const int64_t slot = batch.slots[n];
    float* own = m != nullptr && slot >= 0
                     ? m->mutable_data<float>() + slot * heads
                     : nullptr;
    for (int64_t h = 0; h < heads; ++h) {
      float most = own != nullptr ? own[h] : 0.0f;
      for (int64_t t = batch.begin(n); t < batch.begin(n + 1); ++t) {
        most = std::max(decay[t * heads + h] + most, in[t * heads + h]);
        floor[t * heads + h] = eps * std::exp(most);
      }
      if (own != nullptr) own[h] = most;
    }
  }
  return out;
}

// di = Σ_c value_c dvalue_c, df = d log_decay σ(−f), dv = e^i dvalue.
std::vector<Tensor> OpenVjp(Context& ctx, const Tensor& i, const Tensor& f,
                            const Tensor& v, const Tensor& d_decay,
                            const Tensor& d_value) {
  const int64_t width = v.dim(2), count = i.numel();
  Tensor di = Tensor::Zeros(i.shape()), df = Tensor::Zeros(i.shape());
  Tensor dv = Tensor::Zeros(v.shape());
  ForRange(
      ctx.pool, count, GrainFor(width + 20), [&](int64_t begin, int64_t end) {
        for (int64_t k = begin; k < end; ++k) {
          if (d_decay.defined()) {
            df.mutable_data<float>()[k] = d_decay.data<float>()[k] /
                                          (1.0f + std::exp(f.data<float>()[k]));
          }
          if (!d_value.defined()) continue;
          const float* g = d_value.data<float>() + k * (width + 1);
          const float* x = v.data<float>() + k * width;
          float* to = dv.mutable_data<float>() + k * width;
          const float open = std::exp(i.data<float>()[k]);
          float sum = g[width];
          for (int64_t c = 0; c < width; ++c) {
            sum += g[c] * x[c];
            to[c] = open * g[c];
          }
          di.mutable_data<float>()[k] = open * sum;
        }
      });
  return {di, df, dv};
}

Tensor DivideOnCpu(Context& ctx, const Tensor& sums, const Tensor& floor) {
  const int64_t rows = sums.dim(0), heads = sums.dim(1);
  const int64_t width = sums.dim(2) - 1;
  Tensor y = Tensor::Empty({rows, heads, width});
  ForRange(
      ctx.pool, rows * heads, GrainFor(width), [&](int64_t begin, int64_t end) {
        for (int64_t k = begin; k < end; ++k) {
          const float* from = sums.data<float>() + k * (width + 1);
          const float below =
              std::max(std::abs(from[width]), 1.0f) + floor.data<float>()[k];
          float* to = y.mutable_data<float>() + k * width;
          for (int64_t c = 0; c < width; ++c) to[c] = from[c] / below;
        }
      });
  return y;
}

// With y = s / b: ds = dy / b, and of the last, where its size counts,
// −sign · Σ dy y / b.
Tensor DivideVjp(Context& ctx, const Tensor& sums, const Tensor& floor,
                 const Tensor& dy) {
  const int64_t width = dy.dim(2), count = floor.numel();
  Tensor d = Tensor::Empty(sums.shape());
  ForRange(ctx.pool, count, GrainFor(width), [&](int64_t begin, int64_t end) {
    for (int64_t k = begin; k < end; ++k) {
      const float* s = sums.data<float>() + k * (width + 1);
      const float* g = dy.data<float>() + k * width;
      float* to = d.mutable_data<float>() + k * (width + 1);
      const float last = s[width];
      const float below =
          std::max(std::abs(last), 1.0f) + floor.data<float>()[k];
      float dot = 0.0f;
      for (int64_t c = 0; c < width; ++c) {
        to[c] = g[c] / below;
        dot += to[c] * (s[c] / below);
      }
      to[width] = std::abs(last) > 1.0f ? (last > 0 ? -dot : dot) : 0.0f;
    }
  });
  return d;
}

}  // namespace

std::vector<Tensor*> TapeOutputs(XlstmGates* gates) {
  return {&gates->log_decay, &gates->value};
}

XlstmGates OpenGates(Context& ctx, const Tensor& i, const Tensor& f,
                     const Tensor& v, float eps, Tensor* m) {
  CHECK(i.shape() == Shape({v.dim(0), v.dim(1)}) && f.shape() == i.shape())
      << "gates " << i.shape() << " and " << f.shape() << ", v " << v.shape();
  if (m != nullptr) {
    CHECK(ctx.tape == nullptr) << "recording starts from zero state";
    CHECK(m->rank() == 2 && m->contiguous() && m->dim(1) == v.dim(1))
        << "m " << m->shape();
  }
  const Tensor in = i.Contiguous(), forget = f.Contiguous();
  const Tensor values = v.Contiguous();
  const auto vjp = [=](Context& back, const std::vector<Tensor>& given) {
    const auto dense = [](const Tensor& t) {
      return t.defined() ? t.Contiguous() : t;
    };
    return OpenVjp(back, in, forget, values, dense(given[0]), dense(given[1]));
  };
  return Run(
      ctx, Door("xlstm_gates"), v.device(), {i, f, v},
      [&] { return OpenOnCpu(ctx, in, forget, values, eps, m); },
      [&](const xlstm_cuda::Kernels& kernels) {
        return kernels.open(ctx, in, forget, values, eps, m);
      },
      vjp);
}

Tensor DivideSums(Context& ctx, const Tensor& sums, const Tensor& floor) {
  CHECK(floor.shape() == Shape({sums.dim(0), sums.dim(1)}))
      << "floor " << floor.shape() << ", sums " << sums.shape();
  const Tensor in = sums.Contiguous();
  const auto vjp = [=](Context& back, const std::vector<Tensor>& given) {
    return std::vector<Tensor>{
        DivideVjp(back, in, floor, given[0].Contiguous())};
  };
  return Run(
      ctx, Door("xlstm_divide"), sums.device(), {sums},
      [&] { return DivideOnCpu(ctx, in, floor); },
      [&](const xlstm_cuda::Kernels& kernels) {
        return kernels.divide(ctx, in, floor);
      },
      vjp);
}

}  // namespace intarsia
