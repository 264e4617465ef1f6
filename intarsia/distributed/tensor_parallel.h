// Tensor parallelism after Shoeybi et al. 2019, "Megatron-LM": a mixer whose
// weights are cut by their ShardRule computes a partial sum on each rank. The
// two ends below surround it; with no group (or a group of one) both return
// their input.
#pragma once

#include "intarsia/core/context.h"
#include "intarsia/core/status.h"
#include "intarsia/formats/weight.h"

namespace intarsia {

// This rank of the group, and how many there are; without a group 0 of 1.
int TensorParallelRank(const Context& ctx);
int TensorParallelSize(const Context& ctx);

// Identity forward; sums the gradients of the ranks backward.
Tensor EnterTensorParallel(Context& ctx, const Tensor& x);
// Sums the ranks' partial results forward; identity backward.
Tensor LeaveTensorParallel(Context& ctx, const Tensor& partial);

// RMS norm over a width that is cut among the ranks: x [T, D/size], scale
// [D/size]. Same as RmsNorm over [T, D] of the joined columns.
Tensor ShardedRmsNorm(Context& ctx, const Tensor& x, const Weight& scale,
                      float eps);

// This rank's part of a whole weight, [format's own layout], by the spec's
// rule. Fails when the axis does not divide into `size` parts of whole units.
Result<Tensor> ShardWeight(const WeightSpec& whole, const Format& format,
                           const Tensor& values, int rank, int size);

}  // namespace intarsia
