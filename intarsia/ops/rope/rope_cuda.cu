// Plain rotary embedding: a thread a pair of channels, or a channel to copy.
#include "intarsia/cuda/room.cuh"
#include "intarsia/ops/rope/rope_cuda.h"

namespace intarsia::rope_cuda {
namespace {

constexpr int kMaxPairs = 256;

// By value, so that a recorded graph carries it. What depends on a sequence's
// length is chosen or computed by the kernel, since a replay rewrites lengths.
struct Frequencies {
  float values[kMaxPairs];
  float long_values[kMaxPairs];  // kLongRope
};

// The sequence of each row, and where it becomes long.
struct Lengths {
  const int32_t* lengths = nullptr;  // [segments]; null: nothing depends on it
  const int32_t* segment_ids = nullptr;
  int original = 0;
  // kDynamic: the base, the factor and the exponent of the base's growth.
  bool dynamic = false;
  float theta = 0, factor = 0, less = 0, exponent = 0;
};

// As RopeFrequencies, of pair j of `pairs`.
__device__ float FrequencyOf(const Frequencies& f, const Lengths& l,
                             int64_t token, int j, int pairs) {
  if (l.lengths == nullptr) return f.values[j];
  const int length = l.lengths[l.segment_ids[token]];
  if (length <= l.original) return f.values[j];
  if (!l.dynamic) return f.long_values[j];
  const float stretch =
      l.factor * static_cast<float>(length) / static_cast<float>(l.original) -
      l.less;
  const float base =
      l.theta * static_cast<float>(pow(double{stretch}, double{l.exponent}));
  const float power =
      static_cast<float>(j) / static_cast<float>(pairs);  // 2j / 2 pairs
  return 1.0f / static_cast<float>(pow(double{base}, double{power}));
}

template <typename T>
__global__ void Rotate(const T* x, const int32_t* positions, T* y,
                       int64_t tokens, int heads, int head_dim, int pairs,
                       bool interleaved, bool inverse, float scale,
                       const __grid_constant__ Frequencies f, Lengths lengths) {
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
  const float angle = static_cast<float>(positions[token]) *
                      FrequencyOf(f, lengths, token, j, pairs);
  float s, c;
  sincosf(angle, &s, &c);
  s *= inverse ? -scale : scale;
  c *= scale;
  const int a = interleaved ? 2 * j : j;
  const int b = interleaved ? 2 * j + 1 : j + pairs;
  const float u = cuda::Get(in[a]), v = cuda::Get(in[b]);
  out[a] = cuda::As<T>(u * c - v * s);
  out[b] = cuda::As<T>(v * c + u * s);
}

Lengths LengthsOf(const Context& ctx, const RopeConfig& config, int pairs) {
  if (!config.by_length()) return {};
  const Batch::OnDevice& batch = ctx.batch->device;
  CHECK(batch.lengths.defined() && batch.segment_ids.defined());
  return {.lengths = batch.lengths.data<int32_t>(),
          .segment_ids = batch.segment_ids.data<int32_t>(),
          .original = config.original_max_positions,
          .dynamic = config.scaling == RopeConfig::Scaling::kDynamic,
          .theta = static_cast<float>(config.theta),
          .factor = static_cast<float>(config.factor),
          .less = static_cast<float>(config.factor - 1),
          .exponent = static_cast<float>(pairs / (pairs - 1.0))};
}

Tensor Rope(Context& ctx, const Tensor& x, const RopeConfig& config,
            bool inverse) {
  Tensor y = Tensor::Empty(x.shape(), x.dtype(), x.device());
  const int heads = static_cast<int>(x.dim(1));
  const int head_dim = static_cast<int>(x.dim(2));
  const std::vector<float> table = RopeFrequencies(config, head_dim);
  if (table.size() > kMaxPairs) {
    throw EngineError("[rope] more than 512 rotated channels on a GPU");
  }
  Frequencies f{};
  std::copy(table.begin(), table.end(), f.values);
  if (config.scaling == RopeConfig::Scaling::kLongRope) {
    const std::vector<float> past = RopeFrequencies(
        config, head_dim, int64_t{config.original_max_positions} + 1);
    std::copy(past.begin(), past.end(), f.long_values);
  }
  const int pairs = static_cast<int>(table.size());
  const int64_t work = x.dim(0) * heads * (head_dim - pairs);
  if (work == 0) return y;
  CHECK(ctx.batch->device.positions.defined());
  cuda::DispatchActivations(x.dtype(), [&](auto t) {
    using T = decltype(t);
    Rotate<T><<<cuda::Blocks(work, 128), 128, 0, cuda::StreamOf(ctx)>>>(
        cuda::In<T>(x), ctx.batch->device.positions.data<int32_t>(),
        cuda::Out<T>(y), x.dim(0), heads, head_dim, pairs, config.interleaved,
        inverse, RopeScale(config), f, LengthsOf(ctx, config, pairs));
  });
  cuda::CheckLaunch("rope");
  return y;
}

constexpr Kernels kKernels = {.rope = Rope};

}  // namespace

const Kernels* kernels = &kKernels;

}  // namespace intarsia::rope_cuda
