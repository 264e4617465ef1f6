#include "bench/kernels/gpu/attention_forward_variants.cuh"

namespace intarsia::bench {

// Warpgroups, keys a block, stages, ping-pong, polynomial eighths, lazy
// rescaling, separate output buffer.
std::vector<ForwardVariant> ForwardVariants128() {
  return {
      MakeForwardVariant<TunedForward<128, 2, 128, 2, 1, 0, 0, 1>>(),
      MakeForwardVariant<TunedForward<128, 2, 128, 2, 0, 0, 0, 1>>(),
      MakeForwardVariant<TunedForward<128, 2, 128, 2, 1, 0, 1, 1>>(),
      MakeForwardVariant<TunedForward<128, 2, 128, 2, 1, 1, 0, 1>>(),
      MakeForwardVariant<TunedForward<128, 2, 128, 2, 1, 2, 1, 1>>(),
      MakeForwardVariant<TunedForward<128, 2, 128, 2, 1, 0, 0, 0>>(),
      MakeForwardVariant<TunedForward<128, 2, 128, 3, 1, 0, 0, 0>>(),
      MakeForwardVariant<TunedForward<128, 2, 112, 2, 1, 0, 0, 1>>(),
      MakeForwardVariant<TunedForward<128, 2, 144, 2, 1, 0, 0, 1>>(),
      MakeForwardVariant<TunedForward<128, 2, 160, 2, 1, 0, 0, 1>>(),
      MakeForwardVariant<TunedForward<128, 2, 160, 2, 1, 0, 1, 1>>(),
      MakeForwardVariant<TunedForward<128, 2, 176, 2, 1, 0, 0, 0>>(),
      MakeForwardVariant<TunedForward<128, 2, 96, 3, 1, 0, 0, 1>>(),
      MakeForwardVariant<TunedForward<128, 3, 80, 2, 1, 0, 0, 1>>(),
  };
}

}  // namespace intarsia::bench
