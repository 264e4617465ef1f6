// FP8 checkpoints in the manner of DeepSeek-V3: a matrix NAME of E4M3 [N, K]
// beside NAME_scale_inv, fp32 [⌈N/128⌉, ⌈K/128⌉], by which the numbers of each
// 128 × 128 are multiplied.
#pragma once

#include <string>

#include "intarsia/checkpoint/checkpoint.h"
#include "intarsia/core/status.h"

namespace intarsia {

inline constexpr char kFp8ScaleSuffix[] = "_scale_inv";

// E4M3 with a tensor of scales beside it.
bool IsFp8Blocks(const Checkpoint& checkpoint, const StoredTensor& weight);
// The scales of a matrix that is there: no weight of its own.
bool IsFp8Scale(const Checkpoint& checkpoint, const std::string& name);

// The matrix with its encoding "f8_e4m3_128" (formats/f8_e4m3_128), where each
// row has its scales beside its numbers. Stacks [E, N, K] take scales
// [E, ⌈N/128⌉, ⌈K/128⌉]. Refuses K that 128 does not divide, scales of another
// shape or dtype, and scales that are not finite.
Result<StoredTensor> PackFp8Blocks(const Checkpoint& checkpoint,
                                   const StoredTensor& weight);

}  // namespace intarsia
