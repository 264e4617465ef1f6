#include "intarsia/ops/rows/rows.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "intarsia/autograd/op.h"
#include "intarsia/ops/common/rows.h"
#include "intarsia/ops/rows/rows_cuda.h"

namespace intarsia {
namespace {

using Indices = std::vector<int32_t>;

// out[i] = factor_i · x[rows[i]], factor 1 where factors is null.
Tensor Gathered(Context& ctx, const Tensor& x, const Indices& rows,
                const float* factors) {
  const int64_t n = static_cast<int64_t>(rows.size()), dim = x.dim(1);
  Tensor out = Tensor::Empty({n, dim});
  float* to = out.mutable_data<float>();
  const RowView from(x);
  ForRange(ctx.pool, n, GrainFor(dim), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const float* row = from.row(rows[i]);
      float* y = to + i * dim;
      if (factors == nullptr) {
        std::copy(row, row + dim, y);
      } else {
        for (int64_t c = 0; c < dim; ++c) y[c] = factors[i] * row[c];
      }
    }
  });
  return out;
}

// The i with rows[i] = t are order[first[t], first[t + 1]), ascending.
struct ByTarget {
  Indices first, order;
  ByTarget(const Indices& rows, int64_t count)
      : first(count + 1, 0), order(rows.size()) {
    for (int32_t t : rows) ++first[t + 1];
    for (int64_t t = 0; t < count; ++t) first[t + 1] += first[t];
    Indices next(first.begin(), first.end() - 1);
    for (size_t i = 0; i < rows.size(); ++i) {
      order[next[rows[i]]++] = static_cast<int32_t>(i);
    }
  }
};

// out[t] = Σ_i factor_i · x[i] over rows[i] = t.
Tensor Combined(Context& ctx, const Tensor& x, const Indices& rows,
                const float* factors, int64_t count) {
  const int64_t dim = x.dim(1);
  Tensor out = Tensor::Empty({count, dim});
  float* to = out.mutable_data<float>();
  const RowView from(x);
  const ByTarget by_target(rows, count);
  ForRange(ctx.pool, count, GrainFor(2 * dim), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      float* y = to + t * dim;
      std::fill_n(y, dim, 0.0f);
      for (int32_t k = by_target.first[t]; k < by_target.first[t + 1]; ++k) {
        const int32_t i = by_target.order[k];
        const float factor = factors == nullptr ? 1.0f : factors[i];
        const float* row = from.row(i);
        for (int64_t c = 0; c < dim; ++c) y[c] += factor * row[c];
      }
    }
  });
  return out;
}

// d out / d weights[i] = x[i] · g[rows[i]].
Tensor DotsOnCpu(Context& ctx, const Tensor& x, const Tensor& g,
                 const Indices& rows) {
  const int64_t n = static_cast<int64_t>(rows.size()), dim = x.dim(1);
  Tensor out = Tensor::Empty({n});
  float* to = out.mutable_data<float>();
  const RowView from(x), grads(g);
  ForRange(ctx.pool, n, GrainFor(dim), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const float* a = from.row(i);
      const float* b = grads.row(rows[i]);
      double sum = 0;
      for (int64_t c = 0; c < dim; ++c) sum += double{a[c]} * b[c];
      to[i] = static_cast<float>(sum);
    }
  });
  return out;
}

void CheckRows(std::span<const int32_t> rows, int64_t count) {
  for (int32_t r : rows) {
    CHECK(r >= 0 && r < count) << "row " << r << " of " << count;
  }
}

using rows_cuda::Kernels;

OpDoor<Kernels> Door(const char* name) {
  return {name, "rows", rows_cuda::kernels};
}

const float* DataOf(const Tensor& factors) {
  return factors.defined() ? factors.data<float>() : nullptr;
}

Tensor Gather(Context& ctx, const Tensor& x, const Indices& rows,
              const Tensor& factors) {
  return OnDevice(
      x.device(), Door("gather_rows"),
      [&] { return Gathered(ctx, x, rows, DataOf(factors)); },
      [&](const Kernels& cuda) { return cuda.gather(ctx, x, rows, factors); });
}

Tensor Combine(Context& ctx, const Tensor& x, const Indices& rows,
               const Tensor& factors, int64_t count) {
  return OnDevice(
      x.device(), Door("combine_rows"),
      [&] { return Combined(ctx, x, rows, DataOf(factors), count); },
      [&](const Kernels& cuda) {
        const ByTarget by_target(rows, count);
        return cuda.combine(ctx, x.Contiguous(), by_target.first,
                            by_target.order, factors);
      });
}

Tensor Dots(Context& ctx, const Tensor& x, const Tensor& g,
            const Indices& rows) {
  return OnDevice(
      x.device(), Door("combine_rows"),
      [&] { return DotsOnCpu(ctx, x, g, rows); },
      [&](const Kernels& cuda) {
        return cuda.dots(ctx, x.Contiguous(), g.Contiguous(), rows);
      });
}

Tensor Joined(const std::vector<Tensor>& parts, int64_t width) {
  Tensor y = Tensor::Empty({parts[0].dim(0), width});
  int64_t begin = 0;
  for (const Tensor& part : parts) {
    y.Slice(1, begin, begin + part.dim(1)).CopyFrom(part);
    begin += part.dim(1);
  }
  return y;
}

std::vector<Tensor> Split(const Tensor& x, const std::vector<int64_t>& widths) {
  std::vector<Tensor> parts;
  int64_t begin = 0;
  for (const int64_t width : widths) {
    parts.push_back(x.Slice(1, begin, begin + width).Clone());
    begin += width;
  }
  return parts;
}

}  // namespace

Tensor GatherRows(Context& ctx, const Tensor& x,
                  std::span<const int32_t> rows) {
  CHECK_EQ(x.rank(), 2);
  CheckRows(rows, x.dim(0));
  Indices indices(rows.begin(), rows.end());
  const auto gather = [&] { return Gather(ctx, x, indices, Tensor()); };
  return Run(
      ctx, Door("gather_rows"), x.device(), {x}, gather,
      [&](const Kernels&) { return gather(); },
      [indices, count = x.dim(0)](Context& ctx, const std::vector<Tensor>& g) {
        return std::vector<Tensor>{
            Combine(ctx, g[0], indices, Tensor(), count)};
      });
}

Tensor CombineRows(Context& ctx, const Tensor& x, std::span<const int32_t> rows,
                   const Tensor& weights, int64_t count) {
  CHECK_EQ(x.rank(), 2);
  CHECK_EQ(static_cast<int64_t>(rows.size()), x.dim(0));
  CheckRows(rows, count);
  if (weights.defined()) {
    CHECK(weights.shape() == Shape({x.dim(0)})) << weights.shape();
  }
  Indices indices(rows.begin(), rows.end());
  const Tensor factors = weights.defined() ? weights.Contiguous() : weights;
  const auto combine = [&] { return Combine(ctx, x, indices, factors, count); };
  return Run(
      ctx, Door("combine_rows"), x.device(), {x, weights}, combine,
      [&](const Kernels&) { return combine(); },
      [indices, x, factors, wants = weights.var() >= 0](
          Context& ctx, const std::vector<Tensor>& g) {
        std::vector<Tensor> out(2);
        if (x.var() >= 0) out[0] = Gather(ctx, g[0], indices, factors);
        if (wants) out[1] = Dots(ctx, x, g[0], indices);
        return out;
      });
}

Tensor JoinColumns(Context& ctx, const std::vector<Tensor>& parts) {
  CHECK(!parts.empty());
  std::vector<int64_t> widths;
  int64_t width = 0;
  for (const Tensor& part : parts) {
    CHECK_EQ(part.rank(), 2);
    CHECK_EQ(part.dim(0), parts[0].dim(0));
    CHECK(part.dtype() == parts[0].dtype() &&
          part.device() == parts[0].device());
    widths.push_back(part.dim(1));
    width += part.dim(1);
  }
  return Run(
      ctx, Door("join_columns"), parts[0].device(), parts,
      [&] { return Joined(parts, width); },
      [&](const Kernels& cuda) { return cuda.join(ctx, parts, width); },
      [widths](Context& ctx, const std::vector<Tensor>& g) {
        return OnDevice(
            g[0].device(), Door("join_columns"),
            [&] { return Split(g[0], widths); },
            [&](const Kernels& cuda) {
              return cuda.split(ctx, g[0].Contiguous(), widths);
            });
      });
}

std::vector<int32_t> LargestOfRows(Context& ctx, const Tensor& x) {
  CHECK_EQ(x.rank(), 2);
  CHECK_GT(x.dim(1), 0);
  const Tensor in = x.Contiguous();
  return OnDevice(
      x.device(), Door("largest_of_rows"),
      [&] {
        const int64_t n = in.dim(1);
        std::vector<int32_t> out(in.dim(0), 0);
        for (int64_t t = 0; t < in.dim(0); ++t) {
          const float* row = in.data<float>() + t * n;
          for (int64_t i = 0; i < n; ++i) {
            if (row[i] > row[out[t]]) out[t] = static_cast<int32_t>(i);
          }
          if (!std::all_of(row, row + n,
                           [](float v) { return std::isfinite(v); })) {
            out[t] = -1;
          }
        }
        return out;
      },
      [&](const rows_cuda::Kernels& cuda) {
        return cuda.largest(ctx, in).ToVector<int32_t>();
      });
}

}  // namespace intarsia
