// What bounds it: one read and one write of q and k. A thread takes eight
// pairs of a token, reads their cosines and sines once and turns these pairs
// in up to kHeads heads, all loads issued before the first use.
#include "intarsia/cuda/launch.h"
#include "intarsia/cuda/tile/vector.cuh"
#include "intarsia/ops/rope/sm90_rope.h"

namespace intarsia {
namespace {

using cuda::Vec16;

constexpr int kThreads = 256;
constexpr int kHeads = 1;  // of a thread; 2 and 4 were up to 2 and 10% slower

// first[j], second[j] of pair j: (a, b) -> (a c - b s, b c + a s).
__device__ __forceinline__ void RotateHalves(Vec16& first, Vec16& second,
                                             const float (&c)[8],
                                             const float (&s)[8]) {
  float a[8];
  float b[8];
  cuda::Unpack8(first, a);
  cuda::Unpack8(second, b);
#pragma unroll
  for (int j = 0; j < 8; ++j) {
    const float turned = a[j] * c[j] - b[j] * s[j];
    b[j] = b[j] * c[j] + a[j] * s[j];
    a[j] = turned;
  }
  first = cuda::Pack8(a);
  second = cuda::Pack8(b);
}

// Four pairs lie in each vector.
__device__ __forceinline__ void RotateInterleaved(Vec16& first, Vec16& second,
                                                  const float (&c)[8],
                                                  const float (&s)[8]) {
#pragma unroll
  for (int j = 0; j < 8; ++j) {
    uint32_t& word = j < 4 ? first.word[j] : second.word[j - 4];
    const float a = cuda::LowBf16(word);
    const float b = cuda::HighBf16(word);
    word = cuda::PackBf16(a * c[j] - b * s[j], b * c[j] + a * s[j]);
  }
}

template <bool kInterleaved>
__global__ void __launch_bounds__(kThreads)
    RopeKernel(const __grid_constant__ Sm90RopeArgs a, int chunks,
               int units_per_token) {
  const int64_t unit = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  const int64_t token = unit / units_per_token;
  if (token >= a.tokens) return;
  const int in_token = static_cast<int>(unit - token * units_per_token);
  const int chunk = in_token % chunks;
  const int head0 = in_token / chunks * kHeads;
  const int half = a.rotary_dim / 2;
  const int first = kInterleaved ? 16 * chunk : 8 * chunk;
  const int second = kInterleaved ? first + 8 : first + half;

  Vec16 x[kHeads][2];
  __nv_bfloat16* head[kHeads];
#pragma unroll
  for (int i = 0; i < kHeads; ++i) {
    const int h = head0 + i;
    head[i] = nullptr;
    if (h < a.query_heads) {
      head[i] = a.q + token * a.q_token_stride + int64_t{h} * a.head_dim;
    } else if (h < a.query_heads + a.kv_heads) {
      head[i] = a.k + token * a.k_token_stride +
                int64_t{h - a.query_heads} * a.head_dim;
    }
    if (head[i] != nullptr) {
      x[i][0] = cuda::LoadVec(head[i] + first);
      x[i][1] = cuda::LoadVec(head[i] + second);
    }
  }
  const float* row =
      a.cos_sin + int64_t{a.positions[token]} * a.rotary_dim + 8 * chunk;
  float c[8];
  float s[8];
#pragma unroll
  for (int j = 0; j < 2; ++j) {
    const Vec16 cosines = cuda::LoadVec(row + 4 * j);
    const Vec16 sines = cuda::LoadVec(row + half + 4 * j);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      c[4 * j + i] = __uint_as_float(cosines.word[i]);
      const float sine = __uint_as_float(sines.word[i]);
      s[4 * j + i] = a.inverse ? -sine : sine;
    }
  }
#pragma unroll
  for (int i = 0; i < kHeads; ++i) {
    if (head[i] == nullptr) continue;
    if constexpr (kInterleaved) {
      RotateInterleaved(x[i][0], x[i][1], c, s);
    } else {
      RotateHalves(x[i][0], x[i][1], c, s);
    }
    cuda::StoreVec(head[i] + first, x[i][0]);
    cuda::StoreVec(head[i] + second, x[i][1]);
  }
}

}  // namespace

cudaError_t LaunchSm90Rope(const Sm90RopeArgs& a, cudaStream_t stream) {
  const bool valid = a.tokens >= 0 && a.query_heads >= 0 && a.kv_heads >= 0 &&
                     (a.k != nullptr || a.kv_heads == 0) &&
                     a.head_dim % 8 == 0 && a.rotary_dim > 0 &&
                     a.rotary_dim % 16 == 0 && a.rotary_dim <= a.head_dim &&
                     a.q_token_stride % 8 == 0 && a.k_token_stride % 8 == 0 &&
                     cuda::IsAligned16(a.q) && cuda::IsAligned16(a.k) &&
                     cuda::IsAligned16(a.cos_sin);
  if (!valid) return cudaErrorInvalidValue;
  const int chunks = a.rotary_dim / 16;
  const int64_t units =
      cuda::CeilDiv(a.query_heads + a.kv_heads, kHeads) * chunks;
  const cuda::LaunchShape shape = {
      .grid = dim3(
          static_cast<unsigned>(cuda::CeilDiv(units * a.tokens, kThreads))),
      .block = dim3(kThreads),
      .stream = stream};
  return cuda::Launch(a.interleaved ? RopeKernel<true> : RopeKernel<false>,
                      shape, a, chunks, static_cast<int>(units));
}

}  // namespace intarsia
