#include "intarsia/channel_mixers/glu/glu.h"
#include "intarsia/mixers/common/mixer_bench.h"

namespace intarsia::bench {

// SmolLM2-135M's.
std::vector<KernelBench> glu(bool quick) {
  return MixerRows(
      {.room = "glu",
       .create = &CreateGlu,
       .config = quick ? R"({"hidden": 96})" : R"({"hidden": 1536})",
       .dim = quick ? 32 : 576},
      quick);
}

}  // namespace intarsia::bench
