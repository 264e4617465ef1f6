// CUDA kernels of the room; null in a build without them.
#pragma once

#include "intarsia/mixers/attention/attention.h"

namespace intarsia::attention_cuda {

struct Kernels {
  // As AttentionCore without the tape, over the batch's own keys or pages of
  // kToken growth; no splits over keys. ctx.batch is uploaded.
  AttentionResult (*core)(Context& ctx, const Tensor& q,
                          const AttentionKeys& keys,
                          const AttentionCoreConfig& config,
                          const Weight* sinks);
  // As AppendRows, for pages on the device.
  void (*append)(Context& ctx, const Tensor& rows, TokenPages* pages);
};
extern const Kernels* kernels;

}  // namespace intarsia::attention_cuda
