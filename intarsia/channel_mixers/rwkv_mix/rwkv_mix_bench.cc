#include "intarsia/channel_mixers/rwkv_mix/rwkv_mix.h"
#include "intarsia/mixers/common/mixer_bench.h"

namespace intarsia::bench {

// RWKV-7 0.1B's.
std::vector<KernelBench> rwkv_mix(bool quick) {
  return MixerRows(
      {.room = "rwkv_mix",
       .create = &CreateRwkvMix,
       .config = quick ? R"({"hidden": 96})" : R"({"hidden": 3072})",
       .dim = quick ? 32 : 768},
      quick);
}

}  // namespace intarsia::bench
