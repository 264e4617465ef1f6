// Configurations of the attention forward kernel to measure beside the ones
// the library chose. Built into bench_gpu_tune only.
#pragma once

#include <string>
#include <vector>

#include "intarsia/mixers/attention/sm90_attention_forward.h"

namespace intarsia::bench {

struct ForwardVariant {
  std::string name;
  int head_dim = 0;
  bool window = false;  // whether it has the windowed mask
  cudaError_t (*launch)(const Sm90AttentionForwardArgs&, cudaStream_t);
};

std::vector<ForwardVariant> ForwardVariants64();
std::vector<ForwardVariant> ForwardVariants128();
std::vector<ForwardVariant> ForwardVariants256();

}  // namespace intarsia::bench
