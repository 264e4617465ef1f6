#include "intarsia/mixers/common/mixer_bench.h"
#include "intarsia/mixers/rg_lru/rg_lru.h"

namespace intarsia::bench {

// A third of the width of RecurrentGemma-2B's, with blocks of its width.
std::vector<KernelBench> rg_lru(bool quick) {
  const int dim = quick ? 32 : 768, heads = quick ? 4 : 3;
  return MixerRows({.room = "rg_lru",
                    .create = &CreateRgLru,
                    .config = R"({"inner": )" + std::to_string(dim) +
                              R"(, "heads": )" + std::to_string(heads) + "}",
                    .dim = dim,
                    .core_flops = [=](double) { return 30.0 * dim; }},
                   quick);
}

}  // namespace intarsia::bench
