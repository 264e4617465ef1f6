#include "intarsia/formats/common/matmul.h"

#include <algorithm>
#include <functional>
#include <vector>

namespace intarsia::formats {
namespace {

// Up to this many rows of X the stored blocks are read directly: unpacking
// twice costs less than writing and reading a panel.
constexpr int64_t kDirectRows = 8;
// A panel stays in the second-level cache beside a few rows of X.
constexpr int64_t kPanelFloats = 64 * 1024;
constexpr int64_t kPanelRows = 64;
constexpr int64_t kCachedBytes = 256 * 1024;
constexpr int64_t kBlockRows = 512;      // rows of X that share a panel
constexpr int64_t kXBytes = 192 * 1024;  // prepared rows of X before packed W
// Products in a task: a few microseconds, so that waking a thread pays.
constexpr int64_t kTaskProducts = 32 * 1024;

// MatmulT: W is unpacked in slabs of whole blocks, at least so many columns.
constexpr int64_t kSlabColumns = 64;
constexpr int64_t kSlabFloats = 16 * 1024;

int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Rows [m0, m1) of X against rows [n0, n1) of matrix `group` of a product.
struct Task {
  const MatmulArgs* product;
  int64_t group, m0, m1, n0, n1;
};

void CheckProducts(std::string_view name, int64_t block,
                   std::span<const MatmulArgs> products,
                   std::span<const int32_t> offsets) {
  CHECK(!products.empty());
  const MatmulArgs& first = products[0];
  for (const MatmulArgs& args : products) {
    CHECK(args.m >= 0 && args.n >= 0 && args.k >= 0)
        << "m " << args.m << ", n " << args.n << ", k " << args.k;
    CHECK(args.x == first.x && args.x_stride == first.x_stride &&
          args.m == first.m && args.k == first.k && args.exact == first.exact)
        << "products of one loop share X";
  }
  CHECK(first.k % block == 0)
      << name << ": " << first.k << " columns, blocks of " << block;
  CHECK(!offsets.empty() && offsets.front() == 0 && offsets.back() == first.m)
      << "offsets must run from 0 to " << first.m;
  for (size_t g = 0; g + 1 < offsets.size(); ++g) {
    CHECK_LE(offsets[g], offsets[g + 1]);
  }
}

// How many rows of W the tasks of direct products take. The first are large,
// since a thread reads long streams faster, the last small, so that no thread
// waits long for another: each is a share of what is left.
class DirectSteps {
 public:
  // left: rows of W, `bytes` each, in all tasks; they meet `rows` rows of X.
  // Steps are multiples of `unit`.
  DirectSteps(int64_t left, int64_t rows, int64_t k, size_t bytes, int threads,
              int64_t unit)
      : left_(left),
        least_(kTaskProducts / std::max<int64_t>(1, k * rows)),
        // Many rows of X read a task's W again and again.
        most_(rows <= kDirectRows
                  ? left
                  : kCachedBytes /
                        static_cast<int64_t>(std::max<size_t>(1, bytes))),
        threads_(threads),
        unit_(unit) {}
  int64_t Next() {
    const int64_t n = std::max(least_, std::min(most_, left_ / (2 * threads_)));
    const int64_t step = std::max<int64_t>(1, CeilDiv(n, unit_)) * unit_;
    left_ -= step;
    return step;
  }

 private:
  int64_t left_, least_, most_;
  int threads_;
  int64_t unit_;
};

// As many panels of at most kPanelFloats for one thread as for another.
int64_t PanelStep(const MatmulArgs& args, int threads) {
  const int64_t most =
      std::min(kPanelRows, kPanelFloats / std::max<int64_t>(1, args.k));
  const int64_t panels =
      std::max<int64_t>(1, CeilDiv(args.n, std::max<int64_t>(4, most)));
  const int64_t n = CeilDiv(args.n, CeilDiv(panels, threads) * threads);
  return std::max<int64_t>(4, CeilDiv(n, 4) * 4);
}

// Whether `rows` rows of X, a group, read stored blocks (or panels), and how
// many rows of W a panel has.
struct Path {
  std::function<bool(int64_t rows)> direct;
  std::function<int64_t(const MatmulArgs& args)> panel;
};

// Blocks of at most kBlockRows rows of a group, times rows of W: multiples of
// `unit`, the width of a tile, where they are read directly.
std::vector<Task> Tasks(std::span<const MatmulArgs> products,
                        std::span<const int32_t> offsets, const Path& path,
                        size_t w_bytes, int threads, int64_t unit = 4) {
  int64_t rows_of_w = 0;
  for (const MatmulArgs& args : products) rows_of_w += args.n;
  int64_t left = 0, most = 1;
  for (size_t g = 0; g + 1 < offsets.size(); ++g) {
    const int64_t rows = offsets[g + 1] - offsets[g];
    left += CeilDiv(rows, kBlockRows) * rows_of_w;
    most = std::max(most, std::min(rows, kBlockRows));
  }
  DirectSteps steps(left, most, products[0].k, w_bytes, threads, unit);
  std::vector<Task> tasks;
  for (int64_t g = 0; g + 1 < static_cast<int64_t>(offsets.size()); ++g) {
    const int64_t end = offsets[g + 1];
    const bool direct = path.direct(end - offsets[g]);
    for (int64_t m0 = offsets[g]; m0 < end; m0 += kBlockRows) {
      const int64_t m1 = std::min<int64_t>(m0 + kBlockRows, end);
      for (const MatmulArgs& args : products) {
        for (int64_t n0 = 0, step; n0 < args.n; n0 += step) {
          step = direct ? steps.Next() : path.panel(args);
          tasks.push_back({&args, g, m0, m1, n0, std::min(n0 + step, args.n)});
        }
      }
    }
  }
  return tasks;
}

// The part of a product that a task computes, but for X.
template <typename Args>
Args PartOf(const Task& task, size_t w_bytes) {
  const MatmulArgs& args = *task.product;
  Args part;
  part.w = args.w + (task.group * args.n + task.n0) * w_bytes;
  part.w_stride = w_bytes;
  part.y = args.y + task.m0 * args.y_stride + task.n0;
  part.y_stride = args.y_stride;
  part.m = task.m1 - task.m0;
  part.n = task.n1 - task.n0;
  part.k = args.k;
  part.bias = args.bias == nullptr ? nullptr : args.bias + task.n0;
  return part;
}

// Rows of X that one task prepares.
constexpr int64_t kPrepareRows = 4;

Tensor PrepareRows(ThreadPool& pool, const PreparedKernels& kernels,
                   const MatmulArgs& args, size_t bytes) {
  Tensor x = Tensor::Empty({args.m * static_cast<int64_t>(bytes)}, DType::kU8);
  std::byte* to = x.mutable_raw();
  pool.For(args.m, kPrepareRows, [&](int64_t begin, int64_t end) {
    for (int64_t m = begin; m < end; ++m) {
      kernels.prepare(args.x + m * args.x_stride, args.k, to + m * bytes);
    }
  });
  return x;
}

// What panel_dot needs beside its arguments; undefined: nothing.
Tensor Scratch(const PreparedKernels& kernels, int64_t m, int64_t k) {
  const size_t bytes =
      kernels.scratch_bytes == nullptr ? 0 : kernels.scratch_bytes(m, k);
  if (bytes == 0) return {};
  return Tensor::Empty({static_cast<int64_t>(bytes)}, DType::kU8);
}
std::byte* RawOrNull(Tensor& tensor) {
  return tensor.defined() ? tensor.mutable_raw() : nullptr;
}

}  // namespace

void RunPrepared(ThreadPool& pool, const Format& format,
                 const PreparedKernels& kernels,
                 std::span<const MatmulArgs> products,
                 std::span<const int32_t> offsets) {
  CheckProducts(format.name(), format.block(), products, offsets);
  const MatmulArgs& first = products[0];
  if (first.m == 0) return;
  const size_t x_bytes = kernels.x_bytes(first.k);
  const size_t w_bytes = format.row_bytes(first.k);
  const Tensor x = PrepareRows(pool, kernels, first, x_bytes);
  const auto direct = [&](int64_t rows) {
    return kernels.panel_from == 0 || rows < kernels.panel_from;
  };
  const std::vector<Task> tasks =
      Tasks(products, offsets,
            {direct, [&](const MatmulArgs&) { return kernels.panel_rows; }},
            w_bytes, pool.size());
  pool.Run(static_cast<int64_t>(tasks.size()), [&](int64_t i) {
    const Task& task = tasks[i];
    auto part = PartOf<PreparedArgs>(task, w_bytes);
    part.x = x.raw() + task.m0 * x_bytes;
    part.x_stride = x_bytes;
    if (direct(offsets[task.group + 1] - offsets[task.group])) {
      kernels.dot(part);
      return;
    }
    Tensor panel = Tensor::Empty(
        {static_cast<int64_t>(kernels.panel_bytes(part.k))}, DType::kU8);
    kernels.pack(part.w, w_bytes, part.n, part.k, panel.mutable_raw());
    part.w = panel.raw();
    part.cold = false;  // just written
    Tensor scratch = Scratch(kernels, part.m, part.k);
    part.scratch = RawOrNull(scratch);
    kernels.panel_dot(part);
  });
}

void RunPacked(ThreadPool& pool, const PreparedKernels& kernels,
               std::span<const MatmulArgs> products,
               std::span<const int32_t> offsets) {
  CheckProducts("packed weights", 32, products, offsets);
  const MatmulArgs& first = products[0];
  if (first.m == 0) return;
  const int64_t rows = kernels.panel_rows;
  const size_t x_bytes = kernels.x_bytes(first.k);
  const size_t panel_bytes = kernels.panel_bytes(first.k);
  const Tensor x = PrepareRows(pool, kernels, first, x_bytes);
  const Path path{[](int64_t) { return true; }, {}};
  const std::vector<Task> tasks =
      Tasks(products, offsets, path, panel_bytes / rows, pool.size(), rows);
  pool.Run(static_cast<int64_t>(tasks.size()), [&](int64_t i) {
    const Task& task = tasks[i];
    const MatmulArgs& args = *task.product;
    const int64_t panels = CeilDiv(args.n, rows);
    // Rows of X that stay in the second-level cache meet all panels in turn.
    const int64_t step =
        std::max<int64_t>(8, kXBytes / static_cast<int64_t>(x_bytes) / 8 * 8);
    Tensor scratch = Scratch(kernels, task.m1 - task.m0, args.k);
    for (int64_t m0 = task.m0; m0 < task.m1; m0 += step) {
      for (int64_t n0 = task.n0; n0 < task.n1; n0 += rows) {
        PreparedArgs part;
        part.x = x.raw() + m0 * x_bytes;
        part.x_stride = x_bytes;
        part.w = args.w + (task.group * panels + n0 / rows) * panel_bytes;
        part.y = args.y + m0 * args.y_stride + n0;
        part.y_stride = args.y_stride;
        part.m = std::min(step, task.m1 - m0);
        part.n = std::min(rows, args.n - n0);
        part.k = args.k;
        part.bias = args.bias == nullptr ? nullptr : args.bias + n0;
        part.scratch = RawOrNull(scratch);
        part.cold = n0 == task.n0;
        if (n0 + rows < task.n1) part.next = part.w + panel_bytes;
        kernels.panel_dot(part);
      }
    }
  });
}

void RunMatmuls(ThreadPool& pool, const Format& format, DotFunction dot,
                std::span<const MatmulArgs> products,
                std::span<const int32_t> offsets) {
  CheckProducts(format.name(), format.block(), products, offsets);
  const bool always = dot == &DotF32 || (format.block() == 1 && WideTiles());
  const auto direct = [&](int64_t rows) {
    return dot != nullptr && (always || rows <= kDirectRows);
  };
  const size_t bytes = format.row_bytes(products[0].k);
  const std::vector<Task> tasks = Tasks(
      products, offsets,
      {direct,
       [&](const MatmulArgs& args) { return PanelStep(args, pool.size()); }},
      bytes, pool.size());
  pool.Run(static_cast<int64_t>(tasks.size()), [&](int64_t i) {
    const Task& task = tasks[i];
    auto part = PartOf<DotArgs>(task, bytes);
    part.x = task.product->x + task.m0 * task.product->x_stride;
    part.x_stride = task.product->x_stride;
    if (direct(offsets[task.group + 1] - offsets[task.group])) {
      dot(part);
      return;
    }
    Tensor panel = Tensor::Empty({part.n, part.k});
    float* to = panel.mutable_data<float>();
    for (int64_t n = 0; n < part.n; ++n) {
      format.DequantizeRow(part.w + n * bytes, to + n * part.k, part.k);
    }
    part.w = panel.raw();
    part.w_stride = part.k * sizeof(float);
    DotF32(part);
  });
}

void RunMatmulT(ThreadPool& pool, const Format& format,
                const MatmulArgs& args) {
  CHECK(args.m >= 0 && args.n >= 0 && args.k % format.block() == 0)
      << format.name() << ": m " << args.m << ", n " << args.n << ", k "
      << args.k << ", blocks of " << format.block();
  CHECK(args.bias == nullptr) << "MatmulT has no bias";
  const size_t bytes = format.row_bytes(args.k);
  const int64_t columns =
      CeilDiv(kSlabColumns, format.block()) * format.block();
  const int64_t rows = std::max<int64_t>(1, kSlabFloats / columns);
  const int64_t slabs = CeilDiv(args.k, columns);
  const int64_t blocks = CeilDiv(args.m, kBlockRows);
  pool.Run(slabs * blocks, [&](int64_t i) {
    const int64_t k0 = i % slabs * columns;
    const int64_t m0 = i / slabs * kBlockRows;
    SumArgs part;
    part.k = std::min(columns, args.k - k0);
    part.m = std::min(kBlockRows, args.m - m0);
    part.y = args.y + m0 * args.y_stride + k0;
    part.y_stride = args.y_stride;
    part.x_stride = args.x_stride;
    Tensor panel = Tensor::Empty({std::min(rows, args.n), columns});
    float* to = panel.mutable_data<float>();
    part.w = panel.raw();
    part.w_stride = columns * sizeof(float);
    int64_t n0 = 0;
    do {  // once even when N is 0: Y is then zero
      part.n = std::min(rows, args.n - n0);
      for (int64_t n = 0; n < part.n; ++n) {
        format.DequantizeRow(args.w + (n0 + n) * bytes + format.row_bytes(k0),
                             to + n * columns, part.k);
      }
      part.x = args.x + m0 * args.x_stride + n0;
      SumF32(part);
      part.add = true;
      n0 += part.n;
    } while (n0 < args.n);
  });
}

}  // namespace intarsia::formats
