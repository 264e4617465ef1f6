// Elementwise operations and differentiable views. All fp32, contiguous
// results.
#pragma once

#include <vector>

#include "intarsia/core/context.h"
#include "intarsia/core/fields.h"

namespace intarsia {

enum class Activation : uint8_t {
  kNone,
  kSilu,
  kGelu,
  kGeluTanh,
  kQuickGelu,
  kRelu,
  kRelu2,
  kSigmoid,
  kSoftplus,
  kTanh
};
// "silu" ("swish"), "gelu", "gelu_tanh" ("gelu_new"), "relu", "relu2", ...
ChoiceNames ActivationNames();
double ReferenceActivation(Activation kind, double x);  // the plain formula

Tensor Add(Context& ctx, const Tensor& a, const Tensor& b);  // same shape
Tensor Mul(Context& ctx, const Tensor& a, const Tensor& b);
Tensor Scale(Context& ctx, const Tensor& x, float factor);
Tensor Activate(Context& ctx, Activation kind, const Tensor& x);
// g ⊙ act'(x): for the gradients of rooms that activate. Not differentiable.
Tensor ActivationGradient(Context& ctx, Activation kind, const Tensor& x,
                          const Tensor& g);
// cap · tanh(x / cap), cap > 0.
Tensor SoftCap(Context& ctx, const Tensor& x, float cap);
// min(max(x, low), high) + offset; the gradient is 0 outside of [low, high].
Tensor Clamp(Context& ctx, const Tensor& x, float low, float high,
             float offset = 0.0f);
// [T, N] → [T, N · times], every column so many times, on the CPU.
Tensor RepeatEach(Context& ctx, const Tensor& x, int64_t times);
// act(gate) ⊙ up, same shape; both may be column slices of one projection.
Tensor GatedActivation(Context& ctx, Activation kind, const Tensor& gate,
                       const Tensor& up);

// The same numbers in fp32 or, on a GPU, bf16; x itself where it has them so.
Tensor Cast(Context& ctx, const Tensor& x, DType dtype);

// Views that the tape follows. The results share x's storage.
Tensor SliceView(Context& ctx, const Tensor& x, int axis, int64_t begin,
                 int64_t end);
Tensor ReshapeView(Context& ctx, const Tensor& x, const Shape& shape);

}  // namespace intarsia
