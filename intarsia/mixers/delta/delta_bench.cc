#include "intarsia/mixers/common/mixer_bench.h"
#include "intarsia/mixers/delta/delta.h"

namespace intarsia::bench {

// A layer of Qwen3.5's, a quarter of its heads.
std::vector<KernelBench> delta(bool quick) {
  const int heads = quick ? 4 : 8, channels = quick ? 16 : 128;
  return MixerRows(
      {.room = "delta",
       .create = &CreateDelta,
       .config = R"({"heads": )" + std::to_string(heads) +
                 R"(, "key_heads": )" + std::to_string(heads / 2) +
                 R"(, "key_dim": )" + std::to_string(channels) +
                 R"(, "value_dim": )" + std::to_string(channels) + "}",
       .dim = heads * channels,
       // What is read for erasing, what is written, what is read.
       .core_flops = [=](double) { return 7.0 * heads * channels * channels; }},
      quick);
}

}  // namespace intarsia::bench
