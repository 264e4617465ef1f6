#include "intarsia/mixers/common/mixer_bench.h"
#include "intarsia/mixers/gla/gla.h"

namespace intarsia::bench {

// GLA-1.3B's, one head of its four.
std::vector<KernelBench> gla(bool quick) {
  const int key_dim = quick ? 16 : 256, value_dim = quick ? 32 : 512;
  return MixerRows(
      {.room = "gla",
       .create = &CreateGla,
       .config = R"({"heads": 1, "key_dim": )" + std::to_string(key_dim) +
                 R"(, "value_dim": )" + std::to_string(value_dim) + "}",
       .dim = value_dim,
       .core_flops = [=](double) { return 5.0 * key_dim * value_dim; }},
      quick);
}

}  // namespace intarsia::bench
