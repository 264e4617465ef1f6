#include "intarsia/mixers/common/mixer_bench.h"
#include "intarsia/mixers/rwkv4/rwkv4.h"

namespace intarsia::bench {

// RWKV-4-169M's.
std::vector<KernelBench> rwkv4(bool quick) {
  const int dim = quick ? 32 : 768;
  return MixerRows({.room = "rwkv4",
                    .create = &CreateRwkv4,
                    .config = "{}",
                    .dim = dim,
                    .core_flops = [=](double) { return 12.0 * dim; }},
                   quick);
}

}  // namespace intarsia::bench
