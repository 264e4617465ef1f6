#include "intarsia/ops/rope/rope.h"

#include <algorithm>
#include <utility>

#include "intarsia/autograd/op.h"
#include "intarsia/ops/common/rows.h"
#include "intarsia/ops/rope/rope_cpu.h"
#include "intarsia/ops/rope/rope_cuda.h"

namespace intarsia {
namespace {

// A batch's angles: one table for all, or where they depend on the length of
// the sequence one a segment.
struct Plan {
  std::vector<std::vector<float>> frequencies;
  std::vector<int32_t> table;  // of each row; empty: all have the first
  float scale;
  bool interleaved;
};

Plan MakePlan(const RopeConfig& config, int head_dim, const Batch& batch) {
  Plan plan{.frequencies = {},
            .table = {},
            .scale = RopeScale(config),
            .interleaved = config.interleaved};
  if (!config.by_length()) {
    plan.frequencies.push_back(RopeFrequencies(config, head_dim));
    return plan;
  }
  plan.table = batch.SegmentIds();
  for (int64_t n = 0; n < batch.segments(); ++n) {
    plan.frequencies.push_back(
        RopeFrequencies(config, head_dim, batch.sequence_length(n)));
  }
  return plan;
}

// y = x with every head rotated; the channels past the pairs are copied.
Tensor Rotated(Context& ctx, const Tensor& x, const Plan& plan, bool inverse) {
  const int64_t heads = x.dim(1), dim = x.dim(2);
  if (x.dim(0) == 0) return Tensor::Empty(x.shape());
  const auto pairs = static_cast<int64_t>(plan.frequencies.at(0).size());
  const std::vector<int32_t>& positions = ctx.batch->positions;
  Tensor y = Tensor::Empty(x.shape());
  float* out = y.mutable_data<float>();
  const RowView rows(x);
  ForRange(ctx.pool, x.dim(0), GrainFor(heads * dim),
           [&](int64_t begin, int64_t end) {
             std::vector<float> cosine(pairs), sine(pairs);
             for (int64_t t = begin; t < end; ++t) {
               const size_t table = plan.table.empty() ? 0 : plan.table[t];
               rope::Angles(pairs, static_cast<float>(positions[t]),
                            plan.frequencies[table].data(), plan.scale,
                            cosine.data(), sine.data());
               for (int64_t h = 0; h < heads; ++h) {
                 const float* from = rows.row(t * heads + h);
                 float* to = out + (t * heads + h) * dim;
                 rope::Rotate(pairs, plan.interleaved, inverse, from,
                              cosine.data(), sine.data(), to);
                 std::copy(from + 2 * pairs, from + dim, to + 2 * pairs);
               }
             }
           });
  return y;
}

using rope_cuda::Kernels;

// Turned by the angles of ctx.batch, or back.
Tensor Turned(Context& ctx, const OpDoor<Kernels>& door, const Tensor& x,
              const RopeConfig& config, bool inverse) {
  return OnDevice(
      x.device(), door,
      [&] {
        const Plan plan =
            MakePlan(config, static_cast<int>(x.dim(2)), *ctx.batch);
        return Rotated(ctx, x, plan, inverse);
      },
      [&](const Kernels& cuda) {
        return cuda.rope(ctx, x.Contiguous(), config, inverse);
      });
}

}  // namespace

Tensor Rope(Context& ctx, const Tensor& x, const RopeConfig& config) {
  if (!config.enabled) return x;
  CHECK_EQ(x.rank(), 3);
  CHECK(ctx.batch != nullptr);
  CHECK_EQ(x.dim(0), ctx.batch->size());
  const OpDoor<Kernels> door = {"rope", "rope", rope_cuda::kernels};
  const auto turn = [&] { return Turned(ctx, door, x, config, false); };
  // A rotation's transpose turns back; the scale stays.
  return Run(
      ctx, door, x.device(), {x}, turn, [&](const Kernels&) { return turn(); },
      [door, config](Context& ctx, const std::vector<Tensor>& g) {
        return std::vector<Tensor>{Turned(ctx, door, g[0], config, true)};
      });
}

}  // namespace intarsia
