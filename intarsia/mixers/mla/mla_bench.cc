#include "intarsia/mixers/common/mixer_bench.h"
#include "intarsia/mixers/mla/mla.h"

namespace intarsia::bench {

// DeepSeek-V2-Lite's.
std::vector<KernelBench> mla(bool quick) {
  return MixerRows(
      {.room = "mla",
       .create = &CreateMla,
       .config =
           quick
               ? R"({"heads": 4, "rank": 16, "key_dim": 8, "rope_dim": 4, "value_dim": 8})"
               : R"({"heads": 16, "rank": 512, "key_dim": 128, "rope_dim": 64, "value_dim": 128})",
       .dim = quick ? 32 : 2048},
      quick);
}

}  // namespace intarsia::bench
