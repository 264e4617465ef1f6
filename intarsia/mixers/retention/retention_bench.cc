#include "intarsia/mixers/common/mixer_bench.h"
#include "intarsia/mixers/retention/retention.h"

namespace intarsia::bench {

// Half the width of RetNet-1.3B, with its heads.
std::vector<KernelBench> retention(bool quick) {
  const int keys = quick ? 16 : 256;
  return MixerRows(
      {.room = "retention",
       .create = &CreateRetention,
       .config = quick ? R"({"heads": 4, "key_dim": 16, "value_dim": 32})"
                       : R"({"heads": 4, "key_dim": 256, "value_dim": 512})",
       .dim = 4 * keys,
       // S ← γ S + kᵀ v, then q S.
       .core_flops = [=](double) { return 40.0 * keys * keys; }},
      quick);
}

}  // namespace intarsia::bench
