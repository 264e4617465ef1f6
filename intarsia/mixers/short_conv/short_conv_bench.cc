#include "intarsia/mixers/common/mixer_bench.h"
#include "intarsia/mixers/short_conv/short_conv.h"

namespace intarsia::bench {

// LFM2-350M's.
std::vector<KernelBench> short_conv(bool quick) {
  const int dim = quick ? 32 : 1024;
  return MixerRows({.room = "short_conv",
                    .create = &CreateShortConv,
                    .config = "{}",
                    .dim = dim,
                    .core_flops = [=](double) { return 8.0 * dim; }},
                   quick);
}

}  // namespace intarsia::bench
