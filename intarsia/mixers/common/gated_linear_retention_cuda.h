// A call of the core, and the tuned kernels of constant decays.
#pragma once

#include "intarsia/core/kernel_report.h"
#include "intarsia/mixers/common/gated_linear.h"

namespace intarsia::gated_linear_cuda {

// As Kernels::recurrent; inputs contiguous, fp32.
struct Call {
  const Batch& batch;
  DType dtype;  // Context::dtype
  const Tensor &q, &k, &v, &log_decay;
  Tensor* pool;
  const Tensor& state_in;
  Tensor* state_out;
  const GatedLinearOptions& options;
  Tensor out;
};

Status SupportsRetentionStep(const Call& call);
void RunRetentionStep(Context& ctx, Call& call);
Status SupportsRetention(const Call& call);
void RunRetention(Context& ctx, Call& call);

}  // namespace intarsia::gated_linear_cuda
