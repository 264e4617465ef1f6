#include "intarsia/channel_mixers/diagonal/diagonal.h"
#include "intarsia/mixers/common/mixer_bench.h"

namespace intarsia::bench {

// A factor a channel.
std::vector<KernelBench> diagonal(bool quick) {
  return MixerRows({.room = "diagonal",
                    .create = &CreateDiagonal,
                    .config = quick ? R"({})" : R"({})",
                    .dim = quick ? 32 : 2048},
                   quick);
}

}  // namespace intarsia::bench
