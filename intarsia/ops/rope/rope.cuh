// The angles of rotary pairs on a GPU: what kernels take by value, and sine and
// cosine of a pair of a token.
#pragma once

#include <algorithm>
#include <vector>

#include "intarsia/cuda/room.cuh"
#include "intarsia/ops/rope/rope.h"

namespace intarsia::rope_cuda {

constexpr int kMaxPairs = 256;

// By value, so that a recorded graph carries it. What depends on a sequence's
// length is chosen or computed by the kernel, since a replay rewrites lengths.
struct Frequencies {
  float values[kMaxPairs];
  float long_values[kMaxPairs];  // kLongRope
};

// The sequence of each row, and where it becomes long.
struct Lengths {
  const int32_t* lengths = nullptr;  // [segments]; null: nothing depends on it
  const int32_t* segment_ids = nullptr;
  int original = 0;
  // kDynamic: the base, the factor and the exponent of the base's growth.
  bool dynamic = false;
  float theta = 0, factor = 0, less = 0, exponent = 0;
};

// As RopeFrequencies, of pair j of `pairs`.
__device__ inline float FrequencyOf(const Frequencies& f, const Lengths& l,
                                    int64_t token, int j, int pairs) {
  if (l.lengths == nullptr) return f.values[j];
  const int length = l.lengths[l.segment_ids[token]];
  if (length <= l.original) return f.values[j];
  if (!l.dynamic) return f.long_values[j];
  const float stretch =
      l.factor * static_cast<float>(length) / static_cast<float>(l.original) -
      l.less;
  const float base =
      l.theta * static_cast<float>(pow(double{stretch}, double{l.exponent}));
  const float power =
      static_cast<float>(j) / static_cast<float>(pairs);  // 2j / 2 pairs
  return 1.0f / static_cast<float>(pow(double{base}, double{power}));
}

struct Angles {
  Frequencies frequencies;
  Lengths lengths;
  int pairs;    // that are rotated
  float scale;  // of the rotated values
};

// Times the scale.
__device__ inline void SineAndCosine(const Angles& a, int32_t position,
                                     int64_t token, int j, float* s, float* c) {
  sincosf(static_cast<float>(position) *
              FrequencyOf(a.frequencies, a.lengths, token, j, a.pairs),
          s, c);
  *s *= a.scale;
  *c *= a.scale;
}

inline Lengths LengthsOf(const Context& ctx, const RopeConfig& config,
                         int pairs) {
  if (!config.by_length()) return {};
  const Batch::OnDevice& batch = ctx.batch->device;
  CHECK(batch.lengths.defined() && batch.segment_ids.defined());
  return {.lengths = batch.lengths.data<int32_t>(),
          .segment_ids = batch.segment_ids.data<int32_t>(),
          .original = config.original_max_positions,
          .dynamic = config.scaling == RopeConfig::Scaling::kDynamic,
          .theta = static_cast<float>(config.theta),
          .factor = static_cast<float>(config.factor),
          .less = static_cast<float>(config.factor - 1),
          .exponent = static_cast<float>(pairs / (pairs - 1.0))};
}

inline Angles AnglesOf(const Context& ctx, const RopeConfig& config,
                       int head_dim) {
  const std::vector<float> table = RopeFrequencies(config, head_dim);
  if (table.size() > kMaxPairs) {
    throw EngineError("[rope] more than 512 rotated channels on a GPU");
  }
  Angles angles{};
  std::copy(table.begin(), table.end(), angles.frequencies.values);
  if (config.scaling == RopeConfig::Scaling::kLongRope) {
    const std::vector<float> past = RopeFrequencies(
        config, head_dim, int64_t{config.original_max_positions} + 1);
    std::copy(past.begin(), past.end(), angles.frequencies.long_values);
  }
  angles.pairs = static_cast<int>(table.size());
  angles.scale = RopeScale(config);
  angles.lengths = LengthsOf(ctx, config, angles.pairs);
  return angles;
}

}  // namespace intarsia::rope_cuda
