#include "intarsia/mixers/common/mixer_bench.h"
#include "intarsia/mixers/rwkv7/rwkv7.h"

namespace intarsia::bench {

// RWKV-7-0.1B's.
std::vector<KernelBench> rwkv7(bool quick) {
  const int heads = quick ? 2 : 12, head_dim = quick ? 16 : 64;
  return MixerRows(
      {.room = "rwkv7",
       .create = &CreateRwkv7,
       .config = R"({"heads": )" + std::to_string(heads) + R"(, "head_dim": )" +
                 std::to_string(head_dim) + "}",
       .dim = heads * head_dim,
       .core_flops = [=](double) { return 9.0 * heads * head_dim * head_dim; }},
      quick);
}

}  // namespace intarsia::bench
