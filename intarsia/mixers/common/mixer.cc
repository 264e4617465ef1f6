#include "intarsia/mixers/mixer.h"

#include "intarsia/mixers/common/gated_linear_cuda.h"

namespace intarsia {

Status Mixer::Supports(Device device) const {
  // A build has the kernels of all ops and common cores, or of none.
  if (device.is_cpu() || gated_linear_cuda::kernels != nullptr) {
    return Status::Ok();
  }
  return Unsupported(
      "[mixers] this build has no CUDA kernels; run this "
      "model with --device cpu");
}

}  // namespace intarsia
