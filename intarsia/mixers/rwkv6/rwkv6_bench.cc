#include "intarsia/mixers/common/mixer_bench.h"
#include "intarsia/mixers/rwkv6/rwkv6.h"

namespace intarsia::bench {

// A layer of 768 channels, as RWKV-6's of 0.2B parameters.
std::vector<KernelBench> rwkv6(bool quick) {
  const int heads = quick ? 2 : 12, head_dim = quick ? 16 : 64;
  return MixerRows(
      {.room = "rwkv6",
       .create = &CreateRwkv6,
       .config = R"({"heads": )" + std::to_string(heads) + R"(, "head_dim": )" +
                 std::to_string(head_dim) + "}",
       .dim = heads * head_dim,
       .core_flops = [=](double) { return 5.0 * heads * head_dim * head_dim; }},
      quick);
}

}  // namespace intarsia::bench
