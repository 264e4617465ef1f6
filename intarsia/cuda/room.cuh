// What the rooms' plain CUDA sources share: from a Context to a stream, launch
// checks, and numbers of weights in any format.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <string>

#include "intarsia/core/context.h"
#include "intarsia/formats/weight.h"

namespace intarsia::cuda {

inline cudaStream_t StreamOf(const Context& ctx) {
  return static_cast<cudaStream_t>(
      ctx.stream != nullptr ? ctx.stream : Backend(ctx.device).DefaultStream());
}

// After a launch: throws EngineError when it was refused.
inline void CheckLaunch(const char* room) {
  const cudaError_t status = cudaGetLastError();
  if (status != cudaSuccess) {
    throw EngineError(std::string("[") + room +
                      "] kernel launch: " + cudaGetErrorString(status));
  }
}

// After a launch function of a tuned kernel.
inline void Require(cudaError_t status, const char* room) {
  if (status != cudaSuccess) {
    throw EngineError(std::string("[") + room +
                      "] kernel launch: " + cudaGetErrorString(status));
  }
}

inline unsigned Blocks(int64_t n, int64_t threads) {
  return static_cast<unsigned>((n + threads - 1) / threads);
}

// How the kernels see a weight's format.
enum class Numbers : uint8_t { kF32, kBF16, kF16, kQ8_0, kQ4_0, kQ4_1 };

inline Numbers NumbersOf(const Format& format) {
  const std::string_view name = format.name();
  if (name == "f32") return Numbers::kF32;
  if (name == "bf16") return Numbers::kBF16;
  if (name == "f16") return Numbers::kF16;
  if (name == "q8_0") return Numbers::kQ8_0;
  if (name == "q4_0") return Numbers::kQ4_0;
  if (name == "q4_1") return Numbers::kQ4_1;
  throw EngineError("[cuda] no kernels for weights in " + std::string(name));
}

__device__ inline float HalfAt(const unsigned char* p) {
  // Blocks of 18, 20 and 34 bytes keep their halves at even addresses.
  return __half2float(*reinterpret_cast<const __half*>(p));
}

// Number k of a row.
template <Numbers kNumbers>
__device__ inline float NumberAt(const unsigned char* row, int64_t k) {
  if constexpr (kNumbers == Numbers::kF32) {
    return reinterpret_cast<const float*>(row)[k];
  } else if constexpr (kNumbers == Numbers::kBF16) {
    return __bfloat162float(reinterpret_cast<const __nv_bfloat16*>(row)[k]);
  } else if constexpr (kNumbers == Numbers::kF16) {
    return __half2float(reinterpret_cast<const __half*>(row)[k]);
  } else if constexpr (kNumbers == Numbers::kQ8_0) {
    const unsigned char* block = row + k / 32 * 34;
    return HalfAt(block) *
           static_cast<float>(static_cast<signed char>(block[2 + k % 32]));
  } else {
    // Code i of a block is the low nibble of byte i, or the high one of i − 16.
    constexpr int kHeader = kNumbers == Numbers::kQ4_0 ? 2 : 4;
    const unsigned char* block = row + k / 32 * (kHeader + 16);
    const int i = static_cast<int>(k % 32);
    const int code =
        i < 16 ? block[kHeader + i] & 15 : block[kHeader + i - 16] >> 4;
    if constexpr (kNumbers == Numbers::kQ4_0) {
      return HalfAt(block) * static_cast<float>(code - 8);
    } else {
      return HalfAt(block) * static_cast<float>(code) + HalfAt(block + 2);
    }
  }
}

// Calls fn.template operator()<Numbers>() for the run-time value.
template <typename Fn>
void DispatchNumbers(Numbers numbers, const Fn& fn) {
  switch (numbers) {
    case Numbers::kF32:
      return fn.template operator()<Numbers::kF32>();
    case Numbers::kBF16:
      return fn.template operator()<Numbers::kBF16>();
    case Numbers::kF16:
      return fn.template operator()<Numbers::kF16>();
    case Numbers::kQ8_0:
      return fn.template operator()<Numbers::kQ8_0>();
    case Numbers::kQ4_0:
      return fn.template operator()<Numbers::kQ4_0>();
    case Numbers::kQ4_1:
      return fn.template operator()<Numbers::kQ4_1>();
  }
}

// Activations, fp32 or bf16; kernels compute in fp32.
__device__ inline float Get(float x) { return x; }
__device__ inline float Get(__nv_bfloat16 x) { return __bfloat162float(x); }
template <typename T>
__device__ inline T As(float x) {
  if constexpr (sizeof(T) == 4) {
    return x;
  } else {
    return __float2bfloat16_rn(x);
  }
}

template <typename T>
constexpr DType kDTypeOf = sizeof(T) == 4 ? DType::kF32 : DType::kBF16;
template <typename T>
const T* In(const Tensor& x) {
  CHECK(x.dtype() == kDTypeOf<T>) << Name(x.dtype());
  return reinterpret_cast<const T*>(x.raw());
}
template <typename T>
T* Out(Tensor& x) {
  CHECK(x.dtype() == kDTypeOf<T>) << Name(x.dtype());
  return reinterpret_cast<T*>(x.mutable_raw());
}
inline const __nv_bfloat16* Bf16(const Tensor& x) {
  return In<__nv_bfloat16>(x);
}
inline __nv_bfloat16* Bf16Out(Tensor& x) { return Out<__nv_bfloat16>(x); }

// Calls fn(T()) with the type of activations.
template <typename Fn>
void DispatchActivations(DType dtype, const Fn& fn) {
  if (dtype == DType::kF32) return fn(float());
  CHECK(dtype == DType::kBF16) << "activations in " << Name(dtype);
  fn(__nv_bfloat16());
}

__device__ inline float WarpSum(float x) {
  for (int offset = 16; offset > 0; offset /= 2) {
    x += __shfl_xor_sync(0xFFFFFFFFu, x, offset);
  }
  return x;
}

__device__ inline float WarpMax(float x) {
  for (int offset = 16; offset > 0; offset /= 2) {
    x = fmaxf(x, __shfl_xor_sync(0xFFFFFFFFu, x, offset));
  }
  return x;
}

// Sum over a block of up to 1024 threads; every thread gets it. `scratch`: 32
// floats of shared memory.
__device__ inline float BlockSum(float x, float* scratch) {
  x = WarpSum(x);
  __syncthreads();
  if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = x;
  __syncthreads();
  const int warps = (blockDim.x + 31) / 32;
  float sum = threadIdx.x % 32 < warps ? scratch[threadIdx.x % 32] : 0.0f;
  return WarpSum(sum);
}

}  // namespace intarsia::cuda
