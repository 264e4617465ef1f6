// Plain rotary embedding: a thread a pair of channels, or a channel to copy.
#include "intarsia/cuda/room.cuh"
#include "intarsia/ops/rope/rope_cuda.h"

namespace intarsia::rope_cuda {
namespace {

constexpr int kMaxPairs = 256;

// By value, so that a recorded graph carries it.
struct Frequencies {
  float values[kMaxPairs];
};

__global__ void Rotate(const float* x, const int32_t* positions, float* y,
                       int64_t tokens, int heads, int head_dim, int pairs,
                       bool interleaved, float scale, Frequencies f) {
  const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  const int work = head_dim - pairs;  // pairs, then the channels left alone
  if (i >= tokens * heads * work) return;
  const int64_t row = i / work;
  const int j = static_cast<int>(i % work);
  const float* in = x + row * head_dim;
  float* out = y + row * head_dim;
  if (j >= pairs) {
    out[pairs + j] = in[pairs + j];
    return;
  }
  const float angle = static_cast<float>(positions[row / heads]) * f.values[j];
  float s, c;
  sincosf(angle, &s, &c);
  s *= scale;
  c *= scale;
  const int a = interleaved ? 2 * j : j;
  const int b = interleaved ? 2 * j + 1 : j + pairs;
  out[a] = in[a] * c - in[b] * s;
  out[b] = in[b] * c + in[a] * s;
}

Tensor Rope(Context& ctx, const Tensor& x, const RopeConfig& config) {
  Tensor y = Tensor::Empty(x.shape(), DType::kF32, x.device());
  const int heads = static_cast<int>(x.dim(1));
  const int head_dim = static_cast<int>(x.dim(2));
  const std::vector<float> table = RopeFrequencies(config, head_dim);
  if (table.size() > kMaxPairs) {
    throw EngineError("[rope] more than 512 rotated channels on a GPU");
  }
  Frequencies f{};
  std::copy(table.begin(), table.end(), f.values);
  const int pairs = static_cast<int>(table.size());
  const int64_t work = x.dim(0) * heads * (head_dim - pairs);
  if (work == 0) return y;
  CHECK(ctx.batch->device.positions.defined());
  Rotate<<<cuda::Blocks(work, 128), 128, 0, cuda::StreamOf(ctx)>>>(
      x.data<float>(), ctx.batch->device.positions.data<int32_t>(),
      y.mutable_data<float>(), x.dim(0), heads, head_dim, pairs,
      config.interleaved, RopeScale(config), f);
  cuda::CheckLaunch("rope");
  return y;
}

constexpr Kernels kKernels = {.rope = Rope};

}  // namespace

const Kernels* kernels = &kKernels;

}  // namespace intarsia::rope_cuda
