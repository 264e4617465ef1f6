// Configurations of the attention backward kernel to measure beside the ones
// the library chose. Built into bench_gpu_tune only.
#pragma once

#include <vector>

#include "intarsia/mixers/attention/sm90_attention_bench.h"

namespace intarsia::bench {

std::vector<BackwardVariant> BackwardVariants64();
std::vector<BackwardVariant> BackwardVariants128();

}  // namespace intarsia::bench
