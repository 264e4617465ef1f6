#include "intarsia/mixers/common/mixer_bench.h"
#include "intarsia/mixers/mamba2/mamba2.h"

namespace intarsia::bench {

// Mamba2-130M's.
std::vector<KernelBench> mamba2(bool quick) {
  const int heads = quick ? 4 : 24, head_dim = quick ? 16 : 64;
  const int state_dim = quick ? 16 : 128;
  return MixerRows(
      {.room = "mamba2",
       .create = &CreateMamba2,
       .config = R"({"heads": )" + std::to_string(heads) + R"(, "head_dim": )" +
                 std::to_string(head_dim) + R"(, "state_dim": )" +
                 std::to_string(state_dim) + "}",
       .dim = heads * head_dim / 2,
       .core_flops =
           [=](double) { return 5.0 * heads * head_dim * state_dim; }},
      quick);
}

}  // namespace intarsia::bench
