#include "intarsia/channel_mixers/linear/linear.h"
#include "intarsia/mixers/common/mixer_bench.h"

namespace intarsia::bench {

// The matrix after a shared block of Zamba 2 1.2B.
std::vector<KernelBench> linear(bool quick) {
  return MixerRows({.room = "linear",
                    .create = &CreateLinear,
                    .config = "{}",
                    .dim = quick ? 32 : 2048},
                   quick);
}

}  // namespace intarsia::bench
