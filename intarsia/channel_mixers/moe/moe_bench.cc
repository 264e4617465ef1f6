#include "intarsia/channel_mixers/moe/moe.h"
#include "intarsia/mixers/common/mixer_bench.h"

namespace intarsia::bench {

// Mixtral's eight experts, each as wide as SmolLM2-135M's.
std::vector<KernelBench> moe(bool quick) {
  return MixerRows(
      {.room = "moe",
       .create = &CreateMoe,
       .config = std::string(R"({"experts": 8, "top_k": 2, "hidden": )") +
                 (quick ? "24}" : "1536}"),
       .dim = quick ? 16 : 576,
       .share = 2.0 / 8},
      quick);
}

}  // namespace intarsia::bench
