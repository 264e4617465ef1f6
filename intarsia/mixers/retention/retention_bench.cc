#include "intarsia/mixers/common/mixer_bench.h"
#include "intarsia/mixers/retention/retention.h"

namespace intarsia::bench {

// Half the width of RetNet-1.3B, with its heads.
std::vector<KernelBench> retention(bool quick) {
  const int heads = quick ? 2 : 4, keys = quick ? 16 : 256, values = 2 * keys;
  return MixerRows(
      {.room = "retention",
       .create = &CreateRetention,
       .config = R"({"heads": )" + std::to_string(heads) + R"(, "key_dim": )" +
                 std::to_string(keys) + R"(, "value_dim": )" +
                 std::to_string(values) + "}",
       .dim = heads * keys,
       // S ← γ S + kᵀ v, then q S.
       .core_flops = [=](double) { return 5.0 * heads * keys * values; }},
      quick);
}

}  // namespace intarsia::bench
