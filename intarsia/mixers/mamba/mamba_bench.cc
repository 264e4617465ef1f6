#include "intarsia/mixers/common/mixer_bench.h"
#include "intarsia/mixers/mamba/mamba.h"

namespace intarsia::bench {

// Mamba-130M's.
std::vector<KernelBench> mamba(bool quick) {
  const int dim = quick ? 32 : 768, states = 16;
  return MixerRows(
      {.room = "mamba",
       .create = &CreateMamba,
       .config = R"({"inner": )" + std::to_string(2 * dim) +
                 R"(, "state_dim": )" + std::to_string(states) +
                 R"(, "dt_rank": )" + std::to_string(dim / 16) + "}",
       .dim = dim,
       // Two products a state for the step, one each to fade, add and read.
       .core_flops = [=](double) { return 12.0 * dim * states; }},
      quick);
}

}  // namespace intarsia::bench
