#include "intarsia/ops/embedding/embedding.h"

#include <algorithm>
#include <vector>

#include "intarsia/autograd/op.h"
#include "intarsia/ops/common/rows.h"
#include "intarsia/ops/embedding/embedding_cuda.h"

namespace intarsia {
namespace {

// Row i of g goes to row ids[i]. Threads take columns, so that rows that meet
// add up in order.
Tensor TableGradient(Context& ctx, const Weight& table, const Tensor& g,
                     const std::vector<int32_t>& ids) {
  Tensor out = Tensor::Zeros(table.shape());
  const RowView rows(g);
  const int64_t dim = rows.cols(), count = rows.rows();
  float* to = out.mutable_data<float>();
  const int64_t blocks = (dim + 31) / 32;
  ForRange(ctx.pool, blocks, GrainFor(32 * count), [&](int64_t b0, int64_t b1) {
    const int64_t c0 = b0 * 32, c1 = std::min(dim, b1 * 32);
    for (int64_t i = 0; i < count; ++i) {
      const float* from = rows.row(i);
      float* row = to + ids[i] * dim;
      for (int64_t c = c0; c < c1; ++c) row[c] += from[c];
    }
  });
  return out;
}

}  // namespace

Tensor Embedding(Context& ctx, const Weight& table,
                 std::span<const int32_t> ids) {
  CHECK_EQ(table.shape().rank(), 2) << table.spec().name;
  CHECK(table.defined()) << table.spec().name << " has no values";
  const int64_t rows = table.shape()[0], dim = table.shape()[1];
  for (int32_t id : ids) {
    CHECK(id >= 0 && id < rows)
        << table.spec().name << " has " << rows << " rows, asked for " << id;
  }
  const OpDoor<embedding_cuda::Kernels> door = {"embedding", "embedding",
                                                embedding_cuda::kernels};
  const Device device = table.values().device();
  Tensor uploaded;  // the same ids on a GPU
  if (device.is_cuda()) {
    const bool tokens = ids.data() == ctx.batch->tokens.data();
    CHECK(tokens || ids.data() == ctx.batch->positions.data())
        << "on a GPU the ids are the batch's tokens or positions";
    uploaded = tokens ? ctx.batch->device.tokens : ctx.batch->device.positions;
  }
  return Run(
      ctx, door, device, {},
      [&] {
        Tensor y = Tensor::Empty({static_cast<int64_t>(ids.size()), dim});
        ThreadPool serial(1);
        table.format().GatherRows(ctx.pool != nullptr ? *ctx.pool : serial,
                                  table.values().raw(), dim, ids,
                                  y.mutable_data<float>());
        return y;
      },
      [&](const embedding_cuda::Kernels& cuda) {
        return cuda.embedding(ctx, table, uploaded);
      },
      [tape = ctx.tape, &table, door, device, uploaded,
       ids = ctx.tape == nullptr
                 ? std::vector<int32_t>()
                 : std::vector<int32_t>(ids.begin(), ids.end())](
          Context& ctx, const std::vector<Tensor>& g) {
        tape->QueueWeightGradient(
            table, ctx,
            [&table, door, device, uploaded, g = g[0], ids](Context& ctx) {
              return OnDevice(
                  device, door,
                  [&] { return TableGradient(ctx, table, g, ids); },
                  [&](const embedding_cuda::Kernels& cuda) {
                    return cuda.gradient(ctx, table, g, uploaded);
                  });
            });
        return std::vector<Tensor>{};
      });
}

}  // namespace intarsia
