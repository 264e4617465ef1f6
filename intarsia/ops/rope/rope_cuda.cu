// Plain rotary embedding: a thread a pair of channels, or a channel to copy.
#include "intarsia/cuda/room.cuh"
#include "intarsia/ops/rope/rope.cuh"
#include "intarsia/ops/rope/rope_cuda.h"

namespace intarsia::rope_cuda {
namespace {

template <typename T>
__global__ void Rotate(const T* x, const int32_t* positions, T* y,
                       int64_t tokens, int heads, int head_dim, int pairs,
                       bool interleaved, bool inverse,
                       const __grid_constant__ Angles angles) {
  const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  const int work = head_dim - pairs;  // pairs, then the channels left alone
  if (i >= tokens * heads * work) return;
  const int64_t row = i / work;
  const int j = static_cast<int>(i % work);
  const T* in = x + row * head_dim;
  T* out = y + row * head_dim;
  if (j >= pairs) {
    out[pairs + j] = in[pairs + j];
    return;
  }
  const int64_t token = row / heads;
  float s, c;
  SineAndCosine(angles, positions[token], token, j, &s, &c);
  if (inverse) s = -s;
  const int a = interleaved ? 2 * j : j;
  const int b = interleaved ? 2 * j + 1 : j + pairs;
  const float u = cuda::Get(in[a]), v = cuda::Get(in[b]);
  out[a] = cuda::As<T>(u * c - v * s);
  out[b] = cuda::As<T>(v * c + u * s);
}

Tensor Rope(Context& ctx, const Tensor& x, const RopeConfig& config,
            bool inverse) {
  Tensor y = Tensor::Empty(x.shape(), x.dtype(), x.device());
  const int heads = static_cast<int>(x.dim(1));
  const int head_dim = static_cast<int>(x.dim(2));
  const Angles angles = AnglesOf(ctx, config, head_dim);
  const int pairs = angles.pairs;
  const int64_t work = x.dim(0) * heads * (head_dim - pairs);
  if (work == 0) return y;
  CHECK(ctx.batch->device.positions.defined());
  cuda::DispatchActivations(x.dtype(), [&](auto t) {
    using T = decltype(t);
    Rotate<T><<<cuda::Blocks(work, 128), 128, 0, cuda::StreamOf(ctx)>>>(
        cuda::In<T>(x), ctx.batch->device.positions.data<int32_t>(),
        cuda::Out<T>(y), x.dim(0), heads, head_dim, pairs, config.interleaved,
        inverse, angles);
  });
  cuda::CheckLaunch("rope");
  return y;
}

constexpr Kernels kKernels = {.rope = Rope};

}  // namespace

const Kernels* kernels = &kKernels;

}  // namespace intarsia::rope_cuda
