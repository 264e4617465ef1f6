// Configurations of the attention backward kernel to measure beside the ones
// the library chose. Built into bench_gpu_tune only.
#pragma once

#include <string>
#include <vector>

#include "intarsia/mixers/attention/sm90_attention_backward.h"

namespace intarsia::bench {

struct BackwardVariant {
  std::string name;
  int head_dim = 0;
  cudaError_t (*launch)(const Sm90AttentionBackwardArgs&, cudaStream_t);
};

std::vector<BackwardVariant> BackwardVariants64();
std::vector<BackwardVariant> BackwardVariants128();

}  // namespace intarsia::bench
