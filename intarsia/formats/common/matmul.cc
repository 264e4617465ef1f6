#include "intarsia/formats/common/matmul.h"

#include <algorithm>
#include <vector>

namespace intarsia::formats {
namespace {

// Up to this many rows of X the stored blocks are read directly: unpacking
// twice costs less than writing and reading a panel.
constexpr int64_t kDirectRows = 8;
// A panel stays in the second-level cache beside a few rows of X.
constexpr int64_t kPanelFloats = 64 * 1024;
constexpr int64_t kPanelRows = 64;
constexpr int64_t kBlockRows = 512;  // rows of X that share a panel
// Products in a task: a few microseconds, so that waking a thread pays.
constexpr int64_t kTaskProducts = 32 * 1024;

// MatmulT: columns of W in a slab, rows of W in a panel of it.
constexpr int64_t kSlabColumns = 64;
constexpr int64_t kSlabRows = 256;

int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

struct Task {
  int64_t group, m0, m1, n0, n1;
};

void CheckArgs(const Format& format, const MatmulArgs& args) {
  CHECK(args.m >= 0 && args.n >= 0 && args.k >= 0)
      << "m " << args.m << ", n " << args.n << ", k " << args.k;
  CHECK(args.k % format.block() == 0)
      << format.name() << ": " << args.k << " columns, blocks of "
      << format.block();
}

// Rows of W in a task: a panel, or fewer so that every thread has some tasks;
// a multiple of 4, the width of a tile.
int64_t TaskRows(const MatmulArgs& args, int64_t rows, int64_t groups,
                 bool direct, int threads) {
  const int64_t share = CeilDiv(args.n * groups * CeilDiv(rows, kBlockRows),
                                int64_t{threads} * 4);
  const int64_t least =
      kTaskProducts / std::max<int64_t>(1, args.k * std::min(rows, kBlockRows));
  int64_t n = std::max({int64_t{4}, share, least});
  if (rows > kDirectRows || !direct) {
    n = std::min({n, kPanelRows, kPanelFloats / std::max<int64_t>(1, args.k)});
    // As many panels for one thread as for another.
    const int64_t panels =
        std::max<int64_t>(1, CeilDiv(args.n, std::max<int64_t>(4, n)));
    n = CeilDiv(args.n, CeilDiv(panels, threads) * threads);
  }
  return std::max<int64_t>(4, CeilDiv(n, 4) * 4);
}

// Rows of X that one task prepares.
constexpr int64_t kPrepareRows = 4;

void CheckOffsets(const MatmulArgs& args, std::span<const int32_t> offsets) {
  CHECK(!offsets.empty() && offsets.front() == 0 && offsets.back() == args.m)
      << "offsets must run from 0 to " << args.m;
  for (size_t g = 0; g + 1 < offsets.size(); ++g) {
    CHECK_LE(offsets[g], offsets[g + 1]);
  }
}

// Blocks of at most kBlockRows rows of a group, times step(rows of the group,
// groups with rows) rows of W.
template <typename Step>
std::vector<Task> Tasks(const MatmulArgs& args,
                        std::span<const int32_t> offsets, const Step& step) {
  const int64_t groups = static_cast<int64_t>(offsets.size()) - 1;
  int64_t used = 0;
  for (int64_t g = 0; g < groups; ++g) used += offsets[g] < offsets[g + 1];
  std::vector<Task> tasks;
  for (int64_t g = 0; g < groups; ++g) {
    const int64_t rows = offsets[g + 1] - offsets[g];
    if (rows == 0) continue;
    const int64_t columns = step(rows, used);
    for (int64_t m0 = offsets[g]; m0 < offsets[g + 1]; m0 += kBlockRows) {
      const int64_t m1 = std::min<int64_t>(m0 + kBlockRows, offsets[g + 1]);
      for (int64_t n0 = 0; n0 < args.n; n0 += columns) {
        tasks.push_back({g, m0, m1, n0, std::min(n0 + columns, args.n)});
      }
    }
  }
  return tasks;
}

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

}  // namespace

void RunPrepared(ThreadPool& pool, const Format& format,
                 const PreparedKernels& kernels, const MatmulArgs& args,
                 std::span<const int32_t> offsets) {
  CheckArgs(format, args);
  CheckOffsets(args, offsets);
  if (args.m == 0 || args.n == 0) return;
  const size_t x_bytes = kernels.x_bytes(args.k);
  const size_t w_bytes = format.row_bytes(args.k);
  const Tensor x = PrepareRows(pool, kernels, args, x_bytes);
  const auto panels = [&](int64_t rows) {
    return kernels.panel_from != 0 && rows >= kernels.panel_from;
  };
  const std::vector<Task> tasks =
      Tasks(args, offsets, [&](int64_t rows, int64_t groups) {
        return panels(rows) ? kernels.panel_rows
                            : TaskRows(args, rows, groups, true, pool.size());
      });
  pool.Run(static_cast<int64_t>(tasks.size()), [&](int64_t i) {
    const Task& task = tasks[i];
    PreparedArgs part;
    part.x = x.raw() + task.m0 * x_bytes;
    part.x_stride = x_bytes;
    part.w = args.w + (task.group * args.n + task.n0) * w_bytes;
    part.w_stride = w_bytes;
    part.y = args.y + task.m0 * args.y_stride + task.n0;
    part.y_stride = args.y_stride;
    part.m = task.m1 - task.m0;
    part.n = task.n1 - task.n0;
    part.k = args.k;
    part.bias = args.bias == nullptr ? nullptr : args.bias + task.n0;
    if (!panels(offsets[task.group + 1] - offsets[task.group])) {
      kernels.dot(part);
      return;
    }
    Tensor panel = Tensor::Empty(
        {static_cast<int64_t>(kernels.panel_bytes(args.k))}, DType::kU8);
    kernels.pack(part.w, w_bytes, part.n, args.k, panel.mutable_raw());
    part.w = panel.raw();
    kernels.panel_dot(part);
  });
}

void RunMatmul(ThreadPool& pool, const Format& format, DotFunction dot,
               const MatmulArgs& args, std::span<const int32_t> offsets) {
  CheckArgs(format, args);
  CheckOffsets(args, offsets);
  const bool fp32 = dot == &DotF32;
  const auto direct = [&](int64_t rows) {
    return dot != nullptr && (fp32 || rows <= kDirectRows);
  };
  const std::vector<Task> tasks =
      Tasks(args, offsets, [&](int64_t rows, int64_t groups) {
        return TaskRows(args, rows, groups, direct(rows), pool.size());
      });

  const size_t bytes = format.row_bytes(args.k);
  pool.Run(static_cast<int64_t>(tasks.size()), [&](int64_t i) {
    const Task& task = tasks[i];
    DotArgs part;
    part.x = args.x + task.m0 * args.x_stride;
    part.x_stride = args.x_stride;
    part.w = args.w + (task.group * args.n + task.n0) * bytes;
    part.w_stride = bytes;
    part.y = args.y + task.m0 * args.y_stride + task.n0;
    part.y_stride = args.y_stride;
    part.m = task.m1 - task.m0;
    part.n = task.n1 - task.n0;
    part.k = args.k;
    part.bias = args.bias == nullptr ? nullptr : args.bias + task.n0;
    if (direct(offsets[task.group + 1] - offsets[task.group])) {
      dot(part);
      return;
    }
    Tensor panel = Tensor::Empty({part.n, args.k});
    float* to = panel.mutable_data<float>();
    for (int64_t n = 0; n < part.n; ++n) {
      format.DequantizeRow(part.w + n * bytes, to + n * args.k, args.k);
    }
    part.w = panel.raw();
    part.w_stride = args.k * sizeof(float);
    DotF32(part);
  });
}

void RunMatmulT(ThreadPool& pool, const Format& format,
                const MatmulArgs& args) {
  CheckArgs(format, args);
  CHECK(args.bias == nullptr) << "MatmulT has no bias";
  const size_t bytes = format.row_bytes(args.k);
  const int64_t slabs = CeilDiv(args.k, kSlabColumns);
  const int64_t blocks = CeilDiv(args.m, kBlockRows);
  pool.Run(slabs * blocks, [&](int64_t i) {
    const int64_t k0 = i % slabs * kSlabColumns;
    const int64_t m0 = i / slabs * kBlockRows;
    SumArgs part;
    part.k = std::min(kSlabColumns, args.k - k0);
    part.m = std::min(kBlockRows, args.m - m0);
    part.y = args.y + m0 * args.y_stride + k0;
    part.y_stride = args.y_stride;
    part.x_stride = args.x_stride;
    Tensor panel = Tensor::Empty({std::min(kSlabRows, args.n), kSlabColumns});
    float* to = panel.mutable_data<float>();
    part.w = panel.raw();
    part.w_stride = kSlabColumns * sizeof(float);
    int64_t n0 = 0;
    do {  // once even when N is 0: Y is then zero
      part.n = std::min(kSlabRows, args.n - n0);
      for (int64_t n = 0; n < part.n; ++n) {
        format.DequantizeRow(args.w + (n0 + n) * bytes + format.row_bytes(k0),
                             to + n * kSlabColumns, part.k);
      }
      part.x = args.x + m0 * args.x_stride + n0;
      SumF32(part);
      part.add = true;
      n0 += part.n;
    } while (n0 < args.n);
  });
}

}  // namespace intarsia::formats
