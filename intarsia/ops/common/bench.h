// What the benchmarks of ops and mixers share.
#pragma once

#include "intarsia/core/kernel_bench.h"
#include "intarsia/formats/weight.h"

namespace intarsia::bench {

// `values` (fp32, on the host) as a weight in `format` on ctx.device.
inline Weight WeightOf(const Context& ctx, const Tensor& values,
                       const Format& format = PlainFormat(DType::kF32)) {
  WeightSpec spec;
  spec.name = "weight";
  spec.shape = values.shape();
  return Weight(std::move(spec), &format,
                format.Quantize(*ctx.pool, values).To(ctx.device));
}

}  // namespace intarsia::bench
