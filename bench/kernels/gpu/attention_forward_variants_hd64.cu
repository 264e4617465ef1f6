#include "bench/kernels/gpu/attention_forward_variants.cuh"

namespace intarsia::bench {

// Warpgroups, keys a block, stages, ping-pong, polynomial eighths, lazy
// rescaling, separate output buffer.
std::vector<ForwardVariant> ForwardVariants64() {
  return {
      MakeForwardVariant<TunedForward<64, 3, 128, 2, 1, 0, 0, 1>>(),
      MakeForwardVariant<TunedForward<64, 3, 128, 2, 0, 0, 0, 1>>(),
      MakeForwardVariant<TunedForward<64, 3, 128, 2, 1, 1, 0, 1>>(),
      MakeForwardVariant<TunedForward<64, 3, 128, 2, 1, 2, 0, 1>>(),
      MakeForwardVariant<TunedForward<64, 3, 128, 2, 1, 0, 1, 1>>(),
      MakeForwardVariant<TunedForward<64, 3, 128, 2, 1, 1, 1, 1>>(),
      MakeForwardVariant<TunedForward<64, 3, 128, 2, 1, 2, 1, 1>>(),
      MakeForwardVariant<TunedForward<64, 3, 128, 2, 1, 3, 1, 1>>(),
      MakeForwardVariant<TunedForward<64, 3, 96, 3, 1, 1, 1, 1>>(),
      MakeForwardVariant<TunedForward<64, 3, 112, 2, 1, 1, 1, 1>>(),
      MakeForwardVariant<TunedForward<64, 2, 128, 3, 1, 1, 1, 1>>(),
      MakeForwardVariant<TunedForward<64, 2, 192, 2, 1, 1, 1, 1>>(),
      MakeForwardVariant<TunedForward<64, 2, 160, 2, 1, 1, 1, 1>>(),
      MakeForwardVariant<TunedForward<64, 2, 176, 2, 1, 1, 0, 1>>(),
  };
}

}  // namespace intarsia::bench
