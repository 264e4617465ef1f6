// Problems for the checks and timings of the attention kernels, forward and
// backward, and of variants of them.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "intarsia/cuda/bench/device_data.h"
#include "intarsia/mixers/attention/sm90_attention_backward.h"
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
  GpuCase::Use use = GpuCase::Use::kChecked;
};

// Visible pairs of query and key, over all sequences; half of all for a causal
// mask over a square, as in every published figure.
double VisiblePairs(const AttentionShape& shape);

// Inputs and outputs of a shape on the device, and its arguments.
struct AttentionProblem {
  AttentionProblem(const AttentionShape& s, uint64_t seed);

  // Keys that a query sees, counted in its sequence of `lengths` (m, n).
  std::pair<int, int> Visible(int query, std::pair<int, int> lengths) const;
  // The sequence of a row of q (or of k).
  int SequenceOf(const std::vector<int32_t>& cu, int64_t row) const;

  AttentionShape shape;
  Sm90AttentionForwardArgs args;
  std::vector<int32_t> cu_q{0}, cu_k{0};
  Bf16Buffer q, k, v, out;
  FloatBuffer lse;
  DeviceBuffer<int32_t> cu_q_device, cu_k_device, counter;
};

// q, k, v on the host, in the strides of the arguments.
struct AttentionInputs {
  explicit AttentionInputs(const AttentionProblem& problem);
  // The row of one head.
  const float* Q(int64_t row, int head) const;
  const float* K(int64_t row, int kv_head) const;
  const float* V(int64_t row, int kv_head) const;

  Sm90AttentionForwardArgs args;
  std::vector<float> q, k, v;
};

double Dot(const float* a, const float* b, int n);

// A kernel to be measured: the library's choice, or another configuration.
template <typename Args>
struct AttentionVariant {
  std::string name;  // "" is the library's
  int head_dim = 0;
  bool window = true;  // whether it has the windowed mask
  cudaError_t (*launch)(const Args&, cudaStream_t) = nullptr;
};
using ForwardVariant = AttentionVariant<Sm90AttentionForwardArgs>;
using BackwardVariant = AttentionVariant<Sm90AttentionBackwardArgs>;

// Ragged, odd, grouped, windowed, strided and degenerate shapes, and those that
// are timed: 2K to 16K tokens a sequence, 16K in all. Few if quick.
std::vector<AttentionShape> AttentionShapes(int head_dim, bool quick);

GpuCase AttentionForwardCase(const AttentionShape& shape,
                             const ForwardVariant& variant);
// All shapes of the variant's head dimension.
std::vector<GpuCase> AttentionForwardCases(const ForwardVariant& variant,
                                           bool quick);
std::vector<GpuCase> AttentionBackwardCases(const BackwardVariant& variant,
                                            bool quick);

}  // namespace intarsia::bench
