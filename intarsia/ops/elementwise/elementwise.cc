#include "intarsia/ops/elementwise/elementwise.h"

#include <array>
#include <cmath>
#include <utility>

#include "intarsia/autograd/fused.h"
#include "intarsia/autograd/op.h"
#include "intarsia/ops/common/activation_cpu.h"
#include "intarsia/ops/common/rows.h"
#include "intarsia/ops/elementwise/elementwise_cuda.h"

namespace intarsia {
namespace {

// Calls kernel(n, in, out) on stretches that cover the inputs, all of one
// shape, and the contiguous outputs.
template <size_t kIn, size_t kOut, typename Kernel>
void ForStretches(ThreadPool* pool, const std::array<Tensor, kIn>& in,
                  std::array<Tensor, kOut> out, const Kernel& kernel) {
  bool contiguous = true;
  for (const Tensor& t : in) contiguous &= t.contiguous();
  const auto run = [&](int64_t n, const std::array<const float*, kIn>& from,
                       int64_t offset) {
    std::array<float*, kOut> to;
    for (size_t i = 0; i < kOut; ++i) {
      to[i] = const_cast<float*>(out[i].template data<float>()) + offset;
    }
    kernel(n, from.data(), to.data());
  };
  std::array<const float*, kIn> from;
  if (contiguous) {
    for (size_t i = 0; i < kIn; ++i) from[i] = in[i].template data<float>();
    ForRange(pool, out[0].numel(), 4096, [&](int64_t begin, int64_t end) {
      std::array<const float*, kIn> part = from;
      for (const float*& p : part) p += begin;
      run(end - begin, part, begin);
    });
    return;
  }
  std::vector<RowView> views(in.begin(), in.end());
  const int64_t cols = views[0].cols();
  ForRange(pool, views[0].rows(), GrainFor(4 * cols),
           [&](int64_t begin, int64_t end) {
             for (int64_t r = begin; r < end; ++r) {
               std::array<const float*, kIn> row;
               for (size_t i = 0; i < kIn; ++i) row[i] = views[i].row(r);
               run(cols, row, r * cols);
             }
           });
}

void CheckSame(const Tensor& a, const Tensor& b) {
  CHECK(a.shape() == b.shape()) << a.shape() << " and " << b.shape();
  CHECK(a.device() == b.device());
}

Tensor Product(Context& ctx, const Tensor& a, const Tensor& b) {
  Tensor y = Tensor::Empty(a.shape());
  ForStretches<2, 1>(ctx.pool, {a, b}, {y},
                     [](int64_t n, const float* const* in, float* const* out) {
                       for (int64_t i = 0; i < n; ++i) {
                         out[0][i] = in[0][i] * in[1][i];
                       }
                     });
  return y;
}

Tensor Scaled(Context& ctx, const Tensor& x, float factor) {
  Tensor y = Tensor::Empty(x.shape());
  ForStretches<1, 1>(
      ctx.pool, {x}, {y},
      [factor](int64_t n, const float* const* in, float* const* out) {
        for (int64_t i = 0; i < n; ++i) out[0][i] = factor * in[0][i];
      });
  return y;
}

// cap · tanh(x / cap) in one pass over the memory.
Tensor Capped(Context& ctx, const Tensor& x, float cap) {
  Tensor y = Tensor::Empty(x.shape());
  const float inverse = 1.0f / cap;
  ForStretches<1, 1>(
      ctx.pool, {x}, {y},
      [=](int64_t n, const float* const* in, float* const* out) {
        constexpr int64_t kPiece = 1024;  // stays in the first-level cache
        for (int64_t begin = 0; begin < n; begin += kPiece) {
          const int64_t count = std::min(kPiece, n - begin);
          float* to = out[0] + begin;
          for (int64_t i = 0; i < count; ++i)
            to[i] = inverse * in[0][begin + i];
          elementwise::Forward(Activation::kTanh, count, &to, &to);
          for (int64_t i = 0; i < count; ++i) to[i] *= cap;
        }
      });
  return y;
}

Tensor GatedOnCpu(Context& ctx, Activation kind, const Tensor& gate,
                  const Tensor& up) {
  Tensor y = Tensor::Empty(gate.shape());
  ForStretches<2, 1>(
      ctx.pool, {gate, up}, {y},
      [kind](int64_t n, const float* const* in, float* const* out) {
        elementwise::Gated(kind, n, in, out);
      });
  return y;
}

constexpr ChoiceName kNames[] = {
    {"none", Activation::kNone},
    {"identity", Activation::kNone},
    {"silu", Activation::kSilu},
    {"swish", Activation::kSilu},
    {"gelu", Activation::kGelu},
    {"gelu_tanh", Activation::kGeluTanh},
    {"gelu_new", Activation::kGeluTanh},
    {"gelu_pytorch_tanh", Activation::kGeluTanh},
    {"gelu_fast", Activation::kGeluTanh},
    {"quick_gelu", Activation::kQuickGelu},
    {"relu", Activation::kRelu},
    {"relu2", Activation::kRelu2},
    {"relu_squared", Activation::kRelu2},
    {"sigmoid", Activation::kSigmoid},
    {"softplus", Activation::kSoftplus},
    {"tanh", Activation::kTanh},
};

}  // namespace

ChoiceNames ActivationNames() { return kNames; }

double ReferenceActivation(Activation kind, double x) {
  switch (kind) {
    case Activation::kNone:
      return x;
    case Activation::kSilu:
      return x / (1 + std::exp(-x));
    case Activation::kGelu:
      return 0.5 * x * std::erfc(-x / std::sqrt(2.0));
    case Activation::kGeluTanh:
      // ½ x (1 + tanh u) = x / (1 + exp(−2u)), without the cancellation.
      return x / (1 + std::exp(-2 * std::sqrt(2 / std::acos(-1.0)) *
                               (x + 0.044715 * x * x * x)));
    case Activation::kQuickGelu:
      return x / (1 + std::exp(-1.702 * x));
    case Activation::kRelu:
      return std::max(x, 0.0);
    case Activation::kRelu2:
      return std::max(x, 0.0) * std::max(x, 0.0);
    case Activation::kSigmoid:
      return 1 / (1 + std::exp(-x));
    case Activation::kSoftplus:
      return std::max(x, 0.0) + std::log1p(std::exp(-std::abs(x)));
    case Activation::kTanh:
      return std::tanh(x);
  }
  return x;
}

namespace {

using elementwise_cuda::Kernels;
using Gradients = std::vector<Tensor>;

OpDoor<Kernels> Door(const char* name) {
  return {name, "elementwise", elementwise_cuda::kernels};
}

Tensor ProductOnDevice(Context& ctx, const Tensor& a, const Tensor& b) {
  return OnDevice(
      a.device(), Door("mul"), [&] { return Product(ctx, a, b); },
      [&](const Kernels& cuda) {
        return cuda.mul(ctx, a.Contiguous(), b.Contiguous());
      });
}

Tensor ScaledOnDevice(Context& ctx, const Tensor& x, float factor) {
  return OnDevice(
      x.device(), Door("scale"), [&] { return Scaled(ctx, x, factor); },
      [&](const Kernels& cuda) {
        return cuda.scale(ctx, x.Contiguous(), factor);
      });
}

Gradients GatedGradients(Context& ctx, Activation kind, const Tensor& gate,
                         const Tensor& up, const Tensor& g) {
  return OnDevice(
      gate.device(), Door("gated_activation"),
      [&] {
        Tensor dgate = Tensor::Empty(gate.shape());
        Tensor dup = Tensor::Empty(gate.shape());
        ForStretches<3, 2>(
            ctx.pool, {gate, up, g}, {dgate, dup},
            [kind](int64_t n, const float* const* in, float* const* out) {
              elementwise::GatedBackward(kind, n, in, out);
            });
        return Gradients{dgate, dup};
      },
      [&](const Kernels& cuda) {
        return cuda.gated_backward(ctx, kind, gate.Contiguous(),
                                   up.Contiguous(), g);
      });
}

}  // namespace

Tensor Add(Context& ctx, const Tensor& a, const Tensor& b) {
  CheckSame(a, b);
  return Run(
      ctx, Door("add"), a.device(), {a, b},
      [&] {
        Tensor y = Tensor::Empty(a.shape());
        ForStretches<2, 1>(
            ctx.pool, {a, b}, {y},
            [](int64_t n, const float* const* in, float* const* out) {
              for (int64_t i = 0; i < n; ++i) {
                out[0][i] = in[0][i] + in[1][i];
              }
            });
        return y;
      },
      [&](const Kernels& cuda) {
        return cuda.add(ctx, a.Contiguous(), b.Contiguous());
      },
      [](Context&, const Gradients& g) {
        return Gradients{g[0], g[0]};
      });
}

Tensor Mul(Context& ctx, const Tensor& a, const Tensor& b) {
  CheckSame(a, b);
  return Run(
      ctx, Door("mul"), a.device(), {a, b}, [&] { return Product(ctx, a, b); },
      [&](const Kernels& cuda) {
        return cuda.mul(ctx, a.Contiguous(), b.Contiguous());
      },
      [a, b](Context& ctx, const Gradients& g) {
        return Gradients{
            a.var() >= 0 ? ProductOnDevice(ctx, g[0], b) : Tensor(),
            b.var() >= 0 ? ProductOnDevice(ctx, g[0], a) : Tensor()};
      });
}

Tensor Scale(Context& ctx, const Tensor& x, float factor) {
  return Run(
      ctx, Door("scale"), x.device(), {x},
      [&] { return Scaled(ctx, x, factor); },
      [&](const Kernels& cuda) {
        return cuda.scale(ctx, x.Contiguous(), factor);
      },
      [factor](Context& ctx, const Gradients& g) {
        return Gradients{ScaledOnDevice(ctx, g[0], factor)};
      });
}

Tensor Activate(Context& ctx, Activation kind, const Tensor& x) {
  return Run(
      ctx, Door("activate"), x.device(), {x},
      [&] {
        Tensor y = Tensor::Empty(x.shape());
        ForStretches<1, 1>(
            ctx.pool, {x}, {y},
            [kind](int64_t n, const float* const* in, float* const* out) {
              elementwise::Forward(kind, n, in, out);
            });
        return y;
      },
      [&](const Kernels& cuda) {
        return cuda.activate(ctx, kind, x.Contiguous());
      },
      [kind, x](Context& ctx, const Gradients& g) {
        return Gradients{ActivationGradient(ctx, kind, x, g[0])};
      });
}

Tensor ActivationGradient(Context& ctx, Activation kind, const Tensor& x,
                          const Tensor& g) {
  return OnDevice(
      x.device(), Door("activate"),
      [&] {
        Tensor dx = Tensor::Empty(x.shape());
        ForStretches<2, 1>(
            ctx.pool, {x, g}, {dx},
            [kind](int64_t n, const float* const* in, float* const* out) {
              elementwise::Backward(kind, n, in, out);
            });
        return dx;
      },
      [&](const Kernels& cuda) {
        return cuda.activate_backward(ctx, kind, x.Contiguous(), g);
      });
}

Tensor SoftCap(Context& ctx, const Tensor& x, float cap) {
  CHECK_GT(cap, 0.0f);
  return Fused(
      ctx, "soft_cap",
      [&] {
        return OnDevice(
            x.device(), Door("soft_cap"), [&] { return Capped(ctx, x, cap); },
            [&](const Kernels& cuda) {
              return cuda.soft_cap(ctx, x.Contiguous(), cap);
            });
      },
      [&] {
        const Tensor part = Scale(ctx, x, 1.0f / cap);
        return Scale(ctx, Activate(ctx, Activation::kTanh, part), cap);
      });
}

Tensor Clamp(Context& ctx, const Tensor& x, float low, float high,
             float offset) {
  CHECK_LE(low, high);
  const auto map = [&](const auto& f) {
    Tensor y = Tensor::Empty(x.shape());
    ForStretches<1, 1>(
        ctx.pool, {x}, {y},
        [&](int64_t n, const float* const* in, float* const* out) {
          for (int64_t i = 0; i < n; ++i) out[0][i] = f(in[0][i]);
        });
    return y;
  };
  return Run(
      ctx, Door("clamp"), x.device(), {x},
      [&] {
        return map(
            [=](float v) { return std::min(std::max(v, low), high) + offset; });
      },
      [&](const Kernels& cuda) {
        return cuda.clamp(ctx, x.Contiguous(), low, high, offset);
      },
      [x = x.Contiguous(), low, high](Context& ctx, const Gradients& g) {
        return Gradients{OnDevice(
            x.device(), Door("clamp"),
            [&] {
              Tensor dx = Tensor::Empty(x.shape());
              ForStretches<2, 1>(
                  ctx.pool, {x, g[0]}, {dx},
                  [=](int64_t n, const float* const* in, float* const* out) {
                    for (int64_t i = 0; i < n; ++i) {
                      const bool inside = in[0][i] >= low && in[0][i] <= high;
                      out[0][i] = inside ? in[1][i] : 0.0f;
                    }
                  });
              return dx;
            },
            [&](const Kernels& cuda) {
              return cuda.clamp_backward(ctx, x, low, high, g[0].Contiguous());
            })};
      });
}

Tensor RepeatEach(Context& ctx, const Tensor& x, int64_t times) {
  const auto repeat = [&] {
    Tensor y = Tensor::Empty({x.dim(0), x.dim(1) * times});
    const Tensor in = x.Contiguous();
    for (int64_t i = 0; i < y.numel(); ++i) {
      y.mutable_data<float>()[i] = in.data<float>()[i / times];
    }
    return y;
  };
  const auto door = CpuOnly("repeat_each", "elementwise");
  return Run(
      ctx, door, x.device(), {x}, repeat,
      [times, shape = x.shape()](Context&, const std::vector<Tensor>& g) {
        const Tensor from = g[0].Contiguous();
        Tensor dx = Tensor::Zeros(shape);
        for (int64_t i = 0; i < from.numel(); ++i) {
          dx.mutable_data<float>()[i / times] += from.data<float>()[i];
        }
        return std::vector<Tensor>{dx};
      });
}

Tensor GatedActivation(Context& ctx, Activation kind, const Tensor& gate,
                       const Tensor& up) {
  CheckSame(gate, up);
  const auto fast = [&] {
    return Run(
        ctx, Door("gated_activation"), gate.device(), {gate, up},
        [&] { return GatedOnCpu(ctx, kind, gate, up); },
        [&](const Kernels& cuda) { return cuda.gated(ctx, kind, gate, up); },
        [kind, gate, up](Context& ctx, const Gradients& g) {
          return GatedGradients(ctx, kind, gate, up, g[0]);
        });
  };
  return Fused(
      ctx, "gated_activation", fast,
      [&] { return Mul(ctx, Activate(ctx, kind, gate), up); },
      FusedGradient::kOwn);
}

Tensor Cast(Context& ctx, const Tensor& x, DType dtype) {
  if (x.dtype() == dtype) return x;
  return Run(
      ctx, Door("cast"), x.device(), {x}, [&] { return x.To(dtype); },
      [&](const Kernels& cuda) {
        return cuda.cast(ctx, x.Contiguous(), dtype);
      },
      [from = x.dtype()](Context& ctx, const Gradients& g) {
        return Gradients{Cast(ctx, g[0], from)};
      });
}

Tensor SliceView(Context& ctx, const Tensor& x, int axis, int64_t begin,
                 int64_t end) {
  Tensor y = x.Slice(axis, begin, end);
  if (ctx.tape != nullptr) ctx.tape->RecordSlice(x, axis, begin, &y);
  return y;
}

Tensor ReshapeView(Context& ctx, const Tensor& x, const Shape& shape) {
  return RunAnywhere(
      ctx, "reshape", {x}, [&] { return x.Contiguous().Reshape(shape); },
      [shape = x.shape()](Context&, const Gradients& g) {
        return Gradients{g[0].Reshape(shape)};
      });
}

}  // namespace intarsia
