// The head dimensions that sm90_attention_backward.cc chooses from.
#pragma once

#include "intarsia/mixers/attention/sm90_attention_backward.h"

namespace intarsia::sm90 {

cudaError_t AttentionBackwardHd64(const Sm90AttentionBackwardArgs& args,
                                  cudaStream_t stream);
cudaError_t AttentionBackwardHd128(const Sm90AttentionBackwardArgs& args,
                                   cudaStream_t stream);

}  // namespace intarsia::sm90
