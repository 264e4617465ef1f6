// The benchmark that all mixers share: prefill of 512 tokens, decode of 16
// sequences at depth 2048, and a training step's forward and backward.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "intarsia/core/kernel_bench.h"
#include "intarsia/mixers/mixer.h"

namespace intarsia {

struct MixerBench {
  std::string room;
  Result<std::unique_ptr<Mixer>> (*create)(const Json& config, int dim);
  std::string config;  // JSON
  int dim = 0;
  // Operations of the core, without projections, for a token that follows
  // `before` others; empty: none.
  std::function<double(double before)> core_flops = {};
  double share = 1;  // of the matrices that a token meets: top_k / experts
};

// Rows <room>.prefill, .decode and .train; with `quick`, a few tokens.
// Matrices are bf16 (fp32 in training), state as the engine keeps it. Checked
// against Mixer::Reference on sequences of 70 tokens, decode at depth 70.
std::vector<KernelBench> MixerRows(const MixerBench& bench, bool quick);

}  // namespace intarsia
