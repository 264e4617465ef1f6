// Cross entropy over a vocabulary on Hopper: the loss of each row and, if
// wanted, the gradient written over the logits.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#include <cstdint>

namespace intarsia {

//   lse    = log sum_v exp(logits[v])
//   loss   = lse - logits[label]
//   logits = (softmax(logits) - onehot(label)) * gradient_scale
// the last line only if write_gradient. A row whose label is ignore_index (or
// lies outside 0 ... vocabulary - 1) has loss 0 and gradient 0; its lse is
// still written.
struct Sm90CrossEntropyArgs {
  __nv_bfloat16* logits = nullptr;  // [rows, vocabulary]
  const int32_t* labels = nullptr;  // [rows]
  float* loss = nullptr;            // [rows]
  float* lse = nullptr;             // [rows] or null
  int rows = 0;
  int vocabulary = 0;
  int64_t row_stride = 0;  // in elements
  int32_t ignore_index = -100;
  float gradient_scale = 1.0f;
  bool write_gradient = false;  // otherwise the logits are only read
};

// Any size; fast if vocabulary and row_stride are multiples of 8, the logits
// aligned to 16 bytes and, for gradients, the vocabulary at most 409600.
cudaError_t LaunchSm90CrossEntropy(const Sm90CrossEntropyArgs& args,
                                   cudaStream_t stream);

}  // namespace intarsia
