#include "bench/kernels/gpu/attention_forward_variants.cuh"

namespace intarsia::bench {

// Warpgroups, keys a block, stages, ping-pong, polynomial eighths, lazy
// rescaling, separate output buffer.
std::vector<ForwardVariant> ForwardVariants256() {
  return {
      MakeForwardVariant<TunedForward<256, 2, 64, 2, 1, 0, 0, 0>>(),
      MakeForwardVariant<TunedForward<256, 2, 80, 2, 1, 0, 0, 0>>(),
      MakeForwardVariant<TunedForward<256, 2, 80, 2, 0, 0, 0, 0>>(),
      MakeForwardVariant<TunedForward<256, 2, 80, 2, 1, 0, 1, 0>>(),
      MakeForwardVariant<TunedForward<256, 2, 80, 2, 1, 1, 1, 0>>(),
      MakeForwardVariant<TunedForward<256, 2, 64, 2, 1, 0, 1, 0>>(),
  };
}

}  // namespace intarsia::bench
