// Attention problems that the forward and the backward families share.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "bench/kernels/gpu/driver.h"
#include "intarsia/mixers/attention/sm90_attention_forward.h"

namespace intarsia::bench {

struct AttentionShape {
  std::string name;
  std::vector<std::pair<int, int>> lengths;  // queries, keys of each sequence
  int heads = 1, kv_heads = 1, head_dim = 128;
  bool causal = false;
  int window = -1;
  int broken_sequence = -1;  // its keys and values are NaN; it is not checked
  bool fused = false;        // q, k, v are slices of one [T, H + 2 G, D]
};

// Visible pairs of query and key, over all sequences; half of all for a causal
// mask over a square, as in every published figure.
double VisiblePairs(const AttentionShape& shape);

// Inputs and outputs of a shape on the device, and its arguments.
struct AttentionProblem {
  AttentionProblem(const AttentionShape& s, uint64_t seed);
  Sm90AttentionForwardArgs args;
  std::vector<int32_t> cu_q{0}, cu_k{0};
  DeviceBuffer<__nv_bfloat16> q, k, v, out;
  DeviceBuffer<float> lse;
  DeviceBuffer<int32_t> cu_q_device, cu_k_device, counter;
};

// Ragged, odd, grouped, windowed, strided and degenerate shapes; few if quick.
std::vector<AttentionShape> AttentionCheckShapes(int head_dim, bool quick);
// 2K to 16K tokens a sequence, 16K in all, and some others.
std::vector<AttentionShape> AttentionTimeShapes(int head_dim, bool quick);

}  // namespace intarsia::bench
