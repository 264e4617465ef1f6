#include "intarsia/channel_mixers/mlp/mlp.h"
#include "intarsia/mixers/common/mixer_bench.h"

namespace intarsia::bench {

// GPT-2's.
std::vector<KernelBench> mlp(bool quick) {
  return MixerRows(
      {.room = "mlp",
       .create = &CreateMlp,
       .config = quick ? R"({"hidden": 96})" : R"({"hidden": 3072})",
       .dim = quick ? 32 : 768},
      quick);
}

}  // namespace intarsia::bench
