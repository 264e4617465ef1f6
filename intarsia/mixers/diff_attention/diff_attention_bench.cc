#include "intarsia/mixers/common/mixer_bench.h"
#include "intarsia/mixers/diff_attention/diff_attention.h"

namespace intarsia::bench {

// DiffLlama 375M's.
std::vector<KernelBench> diff_attention(bool quick) {
  return MixerRows({.room = "diff_attention",
                    .create = &CreateDiffAttention,
                    .config = quick ? R"({"heads": 4, "kv_heads": 2})"
                                    : R"({"heads": 32, "kv_heads": 8})",
                    .dim = quick ? 32 : 1024},
                   quick);
}

}  // namespace intarsia::bench
