#include "intarsia/ops/matmul/matmul.h"

#include <utility>
#include <vector>

#include "intarsia/autograd/fused.h"
#include "intarsia/autograd/op.h"
#include "intarsia/ops/common/rows.h"
#include "intarsia/ops/elementwise/elementwise.h"
#include "intarsia/ops/matmul/matmul_cpu.h"
#include "intarsia/ops/matmul/matmul_cuda.h"

namespace intarsia {
namespace {

ThreadPool& PoolOr(ThreadPool& serial, const Context& ctx) {
  return ctx.pool != nullptr ? *ctx.pool : serial;
}

// Rows of x with a dense last axis.
Tensor DenseRows(const Tensor& x) {
  return x.dim(1) <= 1 || x.stride(1) == 1 ? x : x.Contiguous();
}

// The arguments that all products with a weight share.
MatmulArgs Args(const Tensor& x, const std::byte* w, Tensor* y, int64_t n,
                int64_t k) {
  MatmulArgs args;
  args.x = x.data<float>();
  args.x_stride = x.stride(0);
  args.w = w;
  args.y = y->mutable_data<float>();
  args.y_stride = y->dim(1);
  args.m = x.dim(0);
  args.n = n;
  args.k = k;
  return args;
}

// out [M, N] = aᵀ b, both [T, ...] with dense rows.
void TransposedProduct(ThreadPool* pool, const Tensor& a, const Tensor& b,
                       float* out) {
  GemmArgs args;
  args.m = a.dim(1);
  args.n = b.dim(1);
  args.k = a.dim(0);
  args.a = a.data<float>();
  args.a_row = 1;
  args.a_col = a.stride(0);
  args.b = b.data<float>();
  args.b_row = b.stride(0);
  args.c = out;
  args.c_row = args.n;
  Gemm(pool, args);
}

void CheckLinear(const Tensor& x, const Weight& w, const Weight* bias) {
  CHECK_EQ(x.rank(), 2);
  CHECK_EQ(w.shape().rank(), 2) << w.spec().name;
  CHECK_EQ(x.dim(1), w.shape()[1]) << w.spec().name;
  CHECK(w.defined()) << w.spec().name << " has no values";
  if (bias != nullptr) {
    CHECK(bias->shape() == Shape({w.shape()[0]}))
        << bias->spec().name << " is " << bias->shape();
  }
}

using matmul_cuda::Kernels;

OpDoor<Kernels> Door(const char* name) {
  return {name, "matmul", matmul_cuda::kernels};
}

Tensor LinearInputGradient(Context& ctx, const Weight& w, const Tensor& g) {
  return OnDevice(
      g.device(), Door("linear"),
      [&] {
        const int64_t n = w.shape()[0], k = w.shape()[1];
        Tensor out = Tensor::Empty({g.dim(0), k});
        ThreadPool serial(1);
        w.format().MatmulT(PoolOr(serial, ctx),
                           Args(g, w.values().raw(), &out, n, k));
        return out;
      },
      [&](const Kernels& cuda) { return cuda.input_gradient(ctx, w, g); });
}

Tensor LinearWeightGradient(Context& ctx, const Weight& w, const Tensor& g,
                            const Tensor& x) {
  return OnDevice(
      g.device(), Door("linear"),
      [&] {
        Tensor out = Tensor::Empty(w.shape());
        TransposedProduct(ctx.pool, g, x, out.mutable_data<float>());
        return out;
      },
      [&](const Kernels& cuda) {
        return cuda.product(ctx, g, true, x, false);
      });
}

Tensor BiasGradient(Context& ctx, const Tensor& g) {
  return OnDevice(
      g.device(), Door("linear"),
      [&] {
        Tensor out = Tensor::Empty({g.dim(1)});
        const RowView rows(g);
        SumColumns(ctx.pool, rows.rows(), rows.cols(),
                   out.mutable_data<float>(),
                   [&](int64_t r, int64_t c0, int64_t c1, double* acc) {
                     const float* from = rows.row(r) + c0;
                     for (int64_t c = 0; c < c1 - c0; ++c) acc[c] += from[c];
                   });
        return out;
      },
      [&](const Kernels& cuda) { return cuda.column_sums(ctx, g); });
}

// Where the numbers of w are, for products that training does not see.
const PackedMatrices* PackedFor(const Context& ctx, const Weight& w) {
  return ctx.tape == nullptr ? w.packed() : nullptr;
}

// Whether one loop can compute products with both.
bool Alike(const Context& ctx, const Weight& a, const Weight& b) {
  const PackedMatrices* packed_a = PackedFor(ctx, a);
  const PackedMatrices* packed_b = PackedFor(ctx, b);
  if (packed_a == nullptr || packed_b == nullptr) {
    return packed_a == packed_b && &a.format() == &b.format();
  }
  return packed_a->kernels() == packed_b->kernels();
}

// Computes every product; those that are alike share a loop.
void Multiply(Context& ctx, const Tensor& rows,
              std::span<const Weight* const> w,
              std::span<const Weight* const> bias,
              std::span<const int32_t> offsets, std::span<Tensor> y) {
  ThreadPool serial(1);
  ThreadPool& pool = PoolOr(serial, ctx);
  std::vector<MatmulArgs> products;
  std::vector<bool> done(w.size());
  for (size_t first = 0; first < w.size(); ++first) {
    if (done[first]) continue;
    const PackedMatrices* packed = PackedFor(ctx, *w[first]);
    products.clear();
    for (size_t i = first; i < w.size(); ++i) {
      if (done[i] || !Alike(ctx, *w[i], *w[first])) continue;
      done[i] = true;
      const Shape& shape = w[i]->shape();
      MatmulArgs args =
          Args(rows,
               packed != nullptr ? w[i]->packed()->raw() : w[i]->values().raw(),
               &y[i], shape[shape.rank() - 2], shape[shape.rank() - 1]);
      args.bias = bias[i] != nullptr ? bias[i]->f32() : nullptr;
      args.exact = ctx.tape != nullptr;
      products.push_back(args);
    }
    if (packed != nullptr) {
      PackedMatmuls(pool, *packed->kernels(), products, offsets);
    } else {
      w[first]->format().GroupedMatmuls(pool, products, offsets);
    }
  }
}

Tape::BackwardFn LinearVjp(Tape* tape, const Tensor& x, const Tensor& rows,
                           const Weight& w, const Weight* bias) {
  return [tape, rows, &w, bias, wants_x = x.var() >= 0](
             Context& ctx, const std::vector<Tensor>& g) {
    tape->QueueWeightGradient(w, ctx, [rows, &w, g = g[0]](Context& ctx) {
      return LinearWeightGradient(ctx, w, g, rows);
    });
    if (bias != nullptr) {
      tape->QueueWeightGradient(*bias, ctx, [g = g[0]](Context& ctx) {
        return BiasGradient(ctx, g);
      });
    }
    return std::vector<Tensor>{wants_x ? LinearInputGradient(ctx, w, g[0])
                                       : Tensor()};
  };
}

// y of weight w plus what ctx.adapters add to it.
Tensor Adapted(Context& ctx, const Tensor& x, const Weight& w, Tensor y) {
  for (const Adapter& adapter : ctx.adapters) {
    if (adapter.of != &w) continue;
    Context plain = ctx;
    plain.adapters = {};
    Tensor low = Linear(plain, Linear(plain, x, *adapter.a), *adapter.b);
    if (adapter.scale != 1.0f) low = Scale(plain, low, adapter.scale);
    y = Add(plain, y, low);
  }
  return y;
}

}  // namespace

std::vector<Tensor> Linears(Context& ctx, const Tensor& x,
                            std::span<const LinearWeights> layers) {
  if (!ctx.adapters.empty()) {
    Context plain = ctx;
    plain.adapters = {};
    std::vector<Tensor> y = Linears(plain, x, layers);
    for (size_t i = 0; i < y.size(); ++i) {
      y[i] = Adapted(ctx, x, *layers[i].w, y[i]);
    }
    return y;
  }
  std::vector<const Weight*> weights, biases;
  for (const LinearWeights& layer : layers) {
    CheckLinear(x, *layer.w, layer.bias);
    weights.push_back(layer.w);
    biases.push_back(layer.bias);
  }
  const Tensor rows = DenseRows(x);
  return RunEach(
      ctx, Door("linear"), x.device(), {x},
      [&] {
        std::vector<Tensor> y;
        for (const Weight* w : weights) {
          y.push_back(Tensor::Empty({x.dim(0), w->shape()[0]}));
        }
        const int32_t offsets[] = {0, static_cast<int32_t>(x.dim(0))};
        Multiply(ctx, rows, weights, biases, offsets, y);
        return y;
      },
      [&](const Kernels& cuda) { return cuda.linears(ctx, rows, layers); },
      [&](size_t i) {
        return LinearVjp(ctx.tape, x, rows, *weights[i], biases[i]);
      });
}

Tensor Linear(Context& ctx, const Tensor& x, const Weight& w,
              const Weight* bias) {
  const LinearWeights layer[] = {{&w, bias}};
  return std::move(Linears(ctx, x, layer)[0]);
}

Tensor GatedLinear(Context& ctx, const Tensor& x, Activation activation,
                   const LinearWeights& gate, const LinearWeights& up) {
  return Fused(
      ctx, "gated_linear_unit",
      [&] {
        if (!ctx.adapters.empty() || activation != Activation::kSilu) {
          return Tensor();
        }
        return OnDevice(
            x.device(), Door("gated_linear_unit"), [] { return Tensor(); },
            [&](const Kernels& cuda) {
              Tensor y;
              return cuda.gated(ctx, DenseRows(x), gate, up, &y) ? y : Tensor();
            });
      },
      [&] {
        const std::array<Tensor, 2> parts = Linears(ctx, x, {gate, up});
        return GatedActivation(ctx, activation, parts[0], parts[1]);
      });
}

namespace {

// Matrix e of w [E, N, K]. Its values are w's.
Weight ExpertOf(const Weight& w, int64_t e) {
  WeightSpec spec;
  spec.name = w.spec().name;
  spec.shape = Shape({w.shape()[1], w.shape()[2]});
  return Weight(spec, &w.format(), w.values().Select(0, e));
}

// fn(e, begin, end) for every expert that has rows.
template <typename Fn>
void ForExperts(const std::vector<int32_t>& offsets, const Fn& fn) {
  for (size_t e = 0; e + 1 < offsets.size(); ++e) {
    if (offsets[e] < offsets[e + 1]) fn(e, offsets[e], offsets[e + 1]);
  }
}

Tensor GroupedInputGradient(Context& ctx, const Weight& w, const Tensor& g,
                            const std::vector<int32_t>& offsets) {
  Tensor out = Tensor::Empty({g.dim(0), w.shape()[2]}, DType::kF32, g.device());
  ForExperts(offsets, [&](int64_t e, int64_t begin, int64_t end) {
    const Tensor part = g.Slice(0, begin, end);
    const Weight expert = ExpertOf(w, e);
    out.Slice(0, begin, end).CopyFrom(LinearInputGradient(ctx, expert, part));
  });
  return out;
}

Tensor GroupedWeightGradient(Context& ctx, const Weight& w, const Tensor& g,
                             const Tensor& x,
                             const std::vector<int32_t>& offsets) {
  // Experts without rows have none.
  Tensor out = Tensor::Zeros(w.shape(), DType::kF32, g.device());
  ForExperts(offsets, [&](int64_t e, int64_t begin, int64_t end) {
    const Tensor part = g.Slice(0, begin, end), rows = x.Slice(0, begin, end);
    Tensor to = out.Select(0, e);
    OnDevice(
        g.device(), Door("grouped_linear"),
        [&] {
          TransposedProduct(ctx.pool, part, rows, to.mutable_data<float>());
        },
        [&](const Kernels& cuda) {
          to.CopyFrom(cuda.product(ctx, part, true, rows, false));
        });
  });
  return out;
}

}  // namespace

std::vector<Tensor> GroupedLinears(Context& ctx, const Tensor& x,
                                   std::span<const Weight* const> weights,
                                   std::span<const int32_t> offsets) {
  CHECK_EQ(x.rank(), 2);
  CHECK(!offsets.empty() && offsets.front() == 0 && offsets.back() == x.dim(0));
  CHECK(std::is_sorted(offsets.begin(), offsets.end()));
  const Tensor rows = DenseRows(x);
  for (const Weight* w : weights) {
    CHECK_EQ(w->shape().rank(), 3) << w->spec().name;
    CHECK_EQ(x.dim(1), w->shape()[2]) << w->spec().name;
    CHECK_EQ(static_cast<int64_t>(offsets.size()), w->shape()[0] + 1);
    CHECK(w->defined()) << w->spec().name << " has no values";
  }
  return RunEach(
      ctx, Door("grouped_linear"), x.device(), {x},
      [&] {
        std::vector<Tensor> y;
        for (const Weight* w : weights) {
          y.push_back(Tensor::Empty({x.dim(0), w->shape()[1]}));
        }
        const std::vector<const Weight*> no_bias(weights.size());
        Multiply(ctx, rows, weights, no_bias, offsets, y);
        return y;
      },
      [&](const Kernels& cuda) {
        return cuda.grouped_linears(ctx, rows, weights, offsets);
      },
      [&](size_t i) -> Tape::BackwardFn {
        return [tape = ctx.tape, rows, &w = *weights[i],
                ends = std::vector<int32_t>(offsets.begin(), offsets.end()),
                wants_x = x.var() >= 0](Context& ctx,
                                        const std::vector<Tensor>& g) {
          tape->QueueWeightGradient(
              w, ctx, [rows, &w, ends, g = g[0]](Context& ctx) {
                return GroupedWeightGradient(ctx, w, g, rows, ends);
              });
          return std::vector<Tensor>{
              wants_x ? GroupedInputGradient(ctx, w, g[0], ends) : Tensor()};
        };
      });
}

Tensor GroupedLinear(Context& ctx, const Tensor& x, const Weight& w,
                     std::span<const int32_t> offsets) {
  const Weight* const weights[] = {&w};
  return std::move(GroupedLinears(ctx, x, weights, offsets)[0]);
}

namespace {

Tensor ProductOnCpu(Context& ctx, const Tensor& a, bool trans_a,
                    const Tensor& b, bool trans_b) {
  GemmArgs args;
  args.m = a.dim(trans_a ? 1 : 0);
  args.k = a.dim(trans_a ? 0 : 1);
  args.n = b.dim(trans_b ? 0 : 1);
  args.a = a.data<float>();
  args.a_row = trans_a ? a.stride(1) : a.stride(0);
  args.a_col = trans_a ? a.stride(0) : a.stride(1);
  args.b = b.data<float>();
  args.b_row = trans_b ? b.stride(1) : b.stride(0);
  args.b_col = trans_b ? b.stride(0) : b.stride(1);
  Tensor c = Tensor::Empty({args.m, args.n});
  args.c = c.mutable_data<float>();
  args.c_row = args.n;
  Gemm(ctx.pool, args);
  return c;
}

Tensor Product(Context& ctx, const Tensor& a, bool trans_a, const Tensor& b,
               bool trans_b) {
  return OnDevice(
      a.device(), Door("dense_matmul"),
      [&] { return ProductOnCpu(ctx, a, trans_a, b, trans_b); },
      [&](const Kernels& cuda) {
        return cuda.product(ctx, a, trans_a, b, trans_b);
      });
}

}  // namespace

Tensor DenseMatmul(Context& ctx, const Tensor& a, bool trans_a, const Tensor& b,
                   bool trans_b) {
  CHECK(a.rank() == 2 && b.rank() == 2) << a.shape() << b.shape();
  CHECK_EQ(a.dim(trans_a ? 0 : 1), b.dim(trans_b ? 1 : 0))
      << a.shape() << b.shape();
  const auto product = [&] { return Product(ctx, a, trans_a, b, trans_b); };
  return Run(
      ctx, Door("dense_matmul"), a.device(), {a, b}, product,
      [&](const Kernels&) { return product(); },
      [a, trans_a, b, trans_b](
          Context& ctx, const std::vector<Tensor>& g) -> std::vector<Tensor> {
        Tensor da, db;
        if (a.var() >= 0) {
          da = trans_a ? Product(ctx, b, trans_b, g[0], true)
                       : Product(ctx, g[0], false, b, !trans_b);
        }
        if (b.var() >= 0) {
          db = trans_b ? Product(ctx, g[0], true, a, trans_a)
                       : Product(ctx, a, !trans_a, g[0], false);
        }
        return {da, db};
      });
}

}  // namespace intarsia
