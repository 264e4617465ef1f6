// The head dimensions that sm90_attention_forward.cc chooses from: one .cu
// each, since each takes the compiler a while.
#pragma once

#include "intarsia/mixers/attention/sm90_attention_forward.h"

namespace intarsia::sm90 {

cudaError_t AttentionForwardHd64(const Sm90AttentionForwardArgs& args,
                                 cudaStream_t stream);
cudaError_t AttentionForwardHd128(const Sm90AttentionForwardArgs& args,
                                  cudaStream_t stream);
cudaError_t AttentionForwardHd256(const Sm90AttentionForwardArgs& args,
                                  cudaStream_t stream);

}  // namespace intarsia::sm90
