// Configurations of the attention forward kernel to measure beside the ones
// the library chose. Built into bench_gpu_tune only.
#pragma once

#include <vector>

#include "intarsia/mixers/attention/sm90_attention_bench.h"

namespace intarsia::bench {

std::vector<ForwardVariant> ForwardVariants64();
std::vector<ForwardVariant> ForwardVariants128();
std::vector<ForwardVariant> ForwardVariants256();

}  // namespace intarsia::bench
