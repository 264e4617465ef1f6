#include "intarsia/ops/matmul/matmul.h"

#include <utility>
#include <vector>

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

void RecordLinear(Context& ctx, const Tensor& x, const Tensor& rows,
                  const Weight& w, const Weight* bias, Tensor* y) {
  Tape* tape = ctx.tape;
  const bool wants_x = x.var() >= 0;
  tape->Record(
      "linear", ctx, {x}, {y},
      [tape, rows, &w, bias, wants_x](
          Context& ctx, const std::vector<Tensor>& g) -> std::vector<Tensor> {
        tape->QueueWeightGradient(w, ctx, [rows, &w, g = g[0]](Context& ctx) {
          return LinearWeightGradient(ctx, w, g, rows);
        });
        if (bias != nullptr) {
          tape->QueueWeightGradient(*bias, ctx, [g = g[0]](Context& ctx) {
            return BiasGradient(ctx, g);
          });
        }
        if (!wants_x) return {Tensor()};
        return {LinearInputGradient(ctx, w, g[0])};
      });
}

}  // namespace

namespace {

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
  std::vector<Tensor> y = OnDevice(
      x.device(), Door("linear"),
      [&] {
        std::vector<Tensor> y;
        for (const Weight* w : weights) {
          y.push_back(Tensor::Empty({x.dim(0), w->shape()[0]}));
        }
        const int32_t offsets[] = {0, static_cast<int32_t>(x.dim(0))};
        Multiply(ctx, rows, weights, biases, offsets, y);
        return y;
      },
      [&](const Kernels& cuda) { return cuda.linears(ctx, rows, layers); });
  if (ctx.tape != nullptr) {
    for (size_t i = 0; i < y.size(); ++i) {
      RecordLinear(ctx, x, rows, *weights[i], biases[i], &y[i]);
    }
  }
  return y;
}

Tensor Linear(Context& ctx, const Tensor& x, const Weight& w,
              const Weight* bias) {
  const LinearWeights layer[] = {{&w, bias}};
  return std::move(Linears(ctx, x, layer)[0]);
}

namespace {

// One MatmulT per expert that has rows.
Tensor GroupedInputGradient(Context& ctx, const Weight& w, const Tensor& g,
                            const std::vector<int32_t>& offsets) {
  const int64_t n = w.shape()[1], k = w.shape()[2];
  Tensor out = Tensor::Empty({g.dim(0), k});
  ThreadPool serial(1);
  const size_t bytes = w.format().row_bytes(k) * n;
  for (size_t e = 0; e + 1 < offsets.size(); ++e) {
    if (offsets[e] == offsets[e + 1]) continue;
    Tensor to = out.Slice(0, offsets[e], offsets[e + 1]);
    w.format().MatmulT(PoolOr(serial, ctx),
                       Args(g.Slice(0, offsets[e], offsets[e + 1]),
                            w.values().raw() + e * bytes, &to, n, k));
  }
  return out;
}

Tensor GroupedWeightGradient(Context& ctx, const Weight& w, const Tensor& g,
                             const Tensor& x,
                             const std::vector<int32_t>& offsets) {
  Tensor out = Tensor::Empty(w.shape());
  const int64_t matrix = w.shape()[1] * w.shape()[2];
  for (size_t e = 0; e + 1 < offsets.size(); ++e) {
    TransposedProduct(ctx.pool, g.Slice(0, offsets[e], offsets[e + 1]),
                      x.Slice(0, offsets[e], offsets[e + 1]),
                      out.mutable_data<float>() + e * matrix);
  }
  return out;
}

}  // namespace

std::vector<Tensor> GroupedLinears(Context& ctx, const Tensor& x,
                                   std::span<const Weight* const> weights,
                                   std::span<const int32_t> offsets) {
  OpDoor<Kernels> door = Door("grouped_linear");
  door.differentiable = Differentiable::kOnCpu;
  CheckDifferentiable(ctx, x.device(), door);
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
  std::vector<Tensor> y = OnDevice(
      x.device(), door,
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
      });
  if (ctx.tape == nullptr) return y;

  Tape* tape = ctx.tape;
  const bool wants_x = x.var() >= 0;
  const std::vector<int32_t> ends(offsets.begin(), offsets.end());
  for (size_t i = 0; i < y.size(); ++i) {
    const Weight& w = *weights[i];
    tape->Record(
        "grouped_linear", ctx, {x}, {&y[i]},
        [tape, rows, &w, ends, wants_x](
            Context& ctx, const std::vector<Tensor>& g) -> std::vector<Tensor> {
          tape->QueueWeightGradient(
              w, ctx, [rows, &w, ends, g = g[0]](Context& ctx) {
                return GroupedWeightGradient(ctx, w, g, rows, ends);
              });
          if (!wants_x) return {Tensor()};
          return {GroupedInputGradient(ctx, w, g[0], ends)};
        });
  }
  return y;
}

Tensor GroupedLinear(Context& ctx, const Tensor& x, const Weight& w,
                     std::span<const int32_t> offsets) {
  const Weight* const weights[] = {&w};
  return std::move(GroupedLinears(ctx, x, weights, offsets)[0]);
}

namespace {

Tensor Product(Context& ctx, const Tensor& a, bool trans_a, const Tensor& b,
               bool trans_b) {
  if (a.device().is_cuda()) {
    return RequireKernels(matmul_cuda::kernels, "matmul")
        .product(ctx, a, trans_a, b, trans_b);
  }
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
