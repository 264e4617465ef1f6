// What bounds it: one exponential a token, channel and state. The
// special-function units give 16 a clock and multiprocessor, which at 16
// states takes longer than moving the bytes; so the work around them must
// leave their pipe full, and a share of them is computed on the FMA units.
//
// A block owns some channels of one sequence and walks down time: no second
// pass and no exchange of states. kLanes threads share a channel, kN states
// each in registers, so that even one sequence fills the chip. A tile of
// kSteps tokens goes through three phases, and several blocks on a
// multiprocessor are in different ones:
//   stage  d = softplus(dt) and d x, B and C as floats into shared memory,
//          while the next tile's inputs are already loading;
//   scan   the recurrence; each thread leaves its part of y in shared memory;
//   gate   sums the parts, adds D x, applies silu(z), stores.
#include "intarsia/cuda/launch.h"
#include "intarsia/cuda/tile/vector.cuh"
#include "intarsia/mixers/mamba/sm90_selective_scan.h"

namespace intarsia {
namespace {

using cuda::Vec16;

constexpr int kThreads = 128;

// kLanes threads a channel, kChannels channels a thread, kSteps tokens a tile.
// Every kPolynomial-th exponential goes to the FMA units (0: none). kBlocks
// blocks share a multiprocessor.
template <int kStateDim_, int kLanes_, int kChannels_, int kSteps_,
          int kPolynomial_, int kGroup_, int kBlocks_>
struct ScanShape {
  static constexpr int kStateDim = kStateDim_;
  static constexpr int kLanes = kLanes_;
  static constexpr int kChannels = kChannels_;
  static constexpr int kSteps = kSteps_;
  static constexpr int kPolynomial = kPolynomial_;
  static constexpr int kGroup = kGroup_;
  static constexpr int kBlocks = kBlocks_;
  static constexpr int kN = kStateDim / kLanes;     // states a thread
  static constexpr int kSlots = kThreads / kLanes;  // threads' channels apart
  static constexpr int kBlockChannels = kSlots * kChannels;
  // Pairs of channels that a thread stages and gates, per input.
  static constexpr int kPairs = kSteps * kBlockChannels / 2 / kThreads;
  static constexpr int kBcVecs = kSteps * kStateDim / 8;  // of b, and of c
  static constexpr int kBcLoads = (2 * kBcVecs + kThreads - 1) / kThreads;
  static_assert(kN >= 1 && kPairs >= 1);
};

template <typename S>
struct Shared {
  float2 step[S::kSteps][S::kBlockChannels];  // d, d x
  alignas(16) float bc[S::kSteps][2 * S::kStateDim];
  alignas(16) float y[S::kSteps][S::kChannels][kThreads];
};

// One tile's inputs as loaded: pairs of channels, 16-byte words of b and c.
template <typename S>
struct Inputs {
  uint32_t x[S::kPairs];
  uint32_t dt[S::kPairs];
  uint32_t z[S::kPairs];
  Vec16 bc[S::kBcLoads];
};

// 2^x on the FMA units, for x < 127: x = i + f with |f| <= 1/2, a polynomial
// for 2^f (relative error 1e-7) and i added to its exponent.
__device__ __forceinline__ float PolynomialExp2(float x) {
  x = fmaxf(x, -126.0f);
  const float shifted = x + 12582912.0f;  // 1.5 * 2^23: rounds to an integer
  const float f = x - (shifted - 12582912.0f);
  float p = 1.32647e-3f;
  p = fmaf(p, f, 9.67151e-3f);
  p = fmaf(p, f, 5.550734e-2f);
  p = fmaf(p, f, 2.4022242e-1f);
  p = fmaf(p, f, 6.9314698e-1f);
  p = fmaf(p, f, 1.0f);
  return __int_as_float(__float_as_int(p) + (__float_as_int(shifted) << 23));
}

__device__ __forceinline__ uint32_t LoadPair(const __nv_bfloat16* p) {
  uint32_t word;
  asm volatile("ld.global.u32 %0, [%1];" : "=r"(word) : "l"(p));
  return word;
}

// A thread's pairs lie in one channel pair of the block, at several tokens.
template <typename S>
__device__ __forceinline__ int PairChannel() {
  static_assert(kThreads % (S::kBlockChannels / 2) == 0);
  return threadIdx.x % (S::kBlockChannels / 2) * 2;
}
template <typename S>
__device__ __forceinline__ int PairStep(int i) {
  constexpr int kPerRow = S::kBlockChannels / 2;
  return threadIdx.x / kPerRow + i * (kThreads / kPerRow);
}

// Loads the tile that starts at row `row`; rows from `end` on are left alone.
template <typename S>
__device__ __forceinline__ void LoadInputs(Inputs<S>& in,
                                           const Sm90SelectiveScanArgs& a,
                                           int channel0, int64_t row,
                                           int64_t end) {
  const int channel = channel0 + PairChannel<S>();
#pragma unroll
  for (int i = 0; i < S::kPairs; ++i) {
    const int64_t t = row + PairStep<S>(i);
    in.x[i] = in.dt[i] = in.z[i] = 0;
    if (t < end && channel < a.channels) {
      in.dt[i] = LoadPair(a.dt + t * a.dt_stride + channel);
      in.x[i] = LoadPair(a.x + t * a.x_stride + channel);
      if (a.z != nullptr) in.z[i] = LoadPair(a.z + t * a.z_stride + channel);
    }
  }
#pragma unroll
  for (int i = 0; i < S::kBcLoads; ++i) {
    const int at = threadIdx.x + i * kThreads;
    const int word = at % (S::kStateDim / 4);  // b's words, then c's
    const int64_t t = row + at / (S::kStateDim / 4);
    in.bc[i] = Vec16{{0, 0, 0, 0}};
    if (at < 2 * S::kBcVecs && t < end) {
      const int vec = word % (S::kStateDim / 8);
      in.bc[i] = cuda::LoadVec(word < S::kStateDim / 8
                                   ? a.b + t * a.b_stride + 8 * vec
                                   : a.c + t * a.c_stride + 8 * vec);
    }
  }
}

__device__ __forceinline__ float StepSize(const Sm90SelectiveScanArgs& a,
                                          float dt, float bias) {
  dt += bias;
  return a.softplus ? cuda::Softplus(dt) : dt;
}

// Rows past the end get d = 0, which leaves h as it is.
template <typename S>
__device__ __forceinline__ void Stage(Shared<S>& shared, const Inputs<S>& in,
                                      const Sm90SelectiveScanArgs& a,
                                      float2 bias, int count) {
#pragma unroll
  for (int i = 0; i < S::kPairs; ++i) {
    const int t = PairStep<S>(i);
    float4 step = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    if (t < count) {
      step.x = StepSize(a, cuda::LowBf16(in.dt[i]), bias.x);
      step.y = step.x * cuda::LowBf16(in.x[i]);
      step.z = StepSize(a, cuda::HighBf16(in.dt[i]), bias.y);
      step.w = step.z * cuda::HighBf16(in.x[i]);
    }
    *reinterpret_cast<float4*>(&shared.step[t][PairChannel<S>()]) = step;
  }
#pragma unroll
  for (int i = 0; i < S::kBcLoads; ++i) {
    const int at = threadIdx.x + i * kThreads;
    if (at >= 2 * S::kBcVecs) break;
    float x[8];
    cuda::Unpack8(in.bc[i], x);
    float4* to = reinterpret_cast<float4*>(&shared.bc[0][0]) + 2 * at;
    to[0] = make_float4(x[0], x[1], x[2], x[3]);
    to[1] = make_float4(x[4], x[5], x[6], x[7]);
  }
}

template <int kCount>
__device__ __forceinline__ void LoadShared(float (&x)[kCount], const float* p) {
  if constexpr (kCount % 4 == 0) {
#pragma unroll
    for (int i = 0; i < kCount / 4; ++i) {
      const float4 v = reinterpret_cast<const float4*>(p)[i];
      x[4 * i] = v.x;
      x[4 * i + 1] = v.y;
      x[4 * i + 2] = v.z;
      x[4 * i + 3] = v.w;
    }
  } else {
#pragma unroll
    for (int i = 0; i < kCount; ++i) x[i] = p[i];
  }
}

// log2e A and h of a thread's states.
template <typename S>
struct States {
  float a[S::kChannels][S::kN];
  float h[S::kChannels][S::kN];
};

// kGroup steps at a time: their loads first and their stores last, since the
// compiler does not move a load over a store.
template <typename S>
__device__ __forceinline__ void Scan(States<S>& states, Shared<S>& shared) {
  const int lane = threadIdx.x % S::kLanes;
  const int slot = threadIdx.x / S::kLanes;
#pragma unroll 4 / S::kGroup
  for (int t = 0; t < S::kSteps; t += S::kGroup) {
    float b[S::kGroup][S::kN];
    float c[S::kGroup][S::kN];
    float2 step[S::kGroup][S::kChannels];
    float y[S::kGroup][S::kChannels];
#pragma unroll
    for (int u = 0; u < S::kGroup; ++u) {
      LoadShared(b[u], &shared.bc[t + u][lane * S::kN]);
      LoadShared(c[u], &shared.bc[t + u][S::kStateDim + lane * S::kN]);
#pragma unroll
      for (int k = 0; k < S::kChannels; ++k) {
        step[u][k] = shared.step[t + u][slot + k * S::kSlots];
      }
    }
#pragma unroll
    for (int u = 0; u < S::kGroup; ++u) {
#pragma unroll
      for (int k = 0; k < S::kChannels; ++k) {
        y[u][k] = 0.0f;
#pragma unroll
        for (int n = 0; n < S::kN; ++n) {
          const int index = (((t + u) % 4) * S::kChannels + k) * S::kN + n;
          const float exponent = step[u][k].x * states.a[k][n];
          const float decay =
              S::kPolynomial > 0 &&
                      index % (S::kPolynomial + !S::kPolynomial) == 0
                  ? PolynomialExp2(exponent)
                  : cuda::FastExp2(exponent);
          float& h = states.h[k][n];
          h = fmaf(decay, h, step[u][k].y * b[u][n]);
          y[u][k] = fmaf(c[u][n], h, y[u][k]);
        }
      }
    }
#pragma unroll
    for (int u = 0; u < S::kGroup; ++u) {
#pragma unroll
      for (int k = 0; k < S::kChannels; ++k) {
        shared.y[t + u][k][threadIdx.x] = y[u][k];
      }
    }
  }
}

template <typename S>
__device__ __forceinline__ void GateAndStore(const Shared<S>& shared,
                                             const Sm90SelectiveScanArgs& a,
                                             const uint32_t (&x)[S::kPairs],
                                             const uint32_t (&z)[S::kPairs],
                                             float2 skip, int channel0,
                                             int64_t row, int count) {
  const int channel = PairChannel<S>();
  if (channel0 + channel >= a.channels) return;
#pragma unroll
  for (int i = 0; i < S::kPairs; ++i) {
    const int t = PairStep<S>(i);
    if (t >= count) break;
    float parts[2 * S::kLanes];
    LoadShared(
        parts,
        &shared.y[t][channel / S::kSlots][channel % S::kSlots * S::kLanes]);
    float y[2] = {parts[0], parts[S::kLanes]};
#pragma unroll
    for (int l = 1; l < S::kLanes; ++l) {
      y[0] += parts[l];
      y[1] += parts[S::kLanes + l];
    }
    y[0] = fmaf(skip.x, cuda::LowBf16(x[i]), y[0]);
    y[1] = fmaf(skip.y, cuda::HighBf16(x[i]), y[1]);
    if (a.z != nullptr) {
      y[0] *= cuda::Silu(cuda::LowBf16(z[i]));
      y[1] *= cuda::Silu(cuda::HighBf16(z[i]));
    }
    *reinterpret_cast<uint32_t*>(a.out + (row + t) * a.out_stride + channel0 +
                                 channel) = cuda::PackBf16(y[0], y[1]);
  }
}

// A per-channel vector at a thread's channel pair; zero if absent.
template <typename S>
__device__ __forceinline__ float2 LoadChannelPair(const float* from,
                                                  int channel0, int channels) {
  const int channel = channel0 + PairChannel<S>();
  if (from == nullptr || channel >= channels) return make_float2(0.0f, 0.0f);
  return make_float2(from[channel], from[channel + 1]);
}

// grid (channel blocks, sequences).
template <typename S>
__global__ void __launch_bounds__(kThreads, S::kBlocks)
    SelectiveScanKernel(const __grid_constant__ Sm90SelectiveScanArgs a) {
  extern __shared__ __align__(16) char shared_bytes[];
  Shared<S>& shared = *reinterpret_cast<Shared<S>*>(shared_bytes);
  const int channel0 = blockIdx.x * S::kBlockChannels;
  const int sequence = blockIdx.y;
  int64_t row = 0;
  int64_t end = a.tokens;
  if (a.cu_seqlens != nullptr) {
    row = a.cu_seqlens[sequence];
    end = a.cu_seqlens[sequence + 1];
  }
  if (row >= end) return;  // the state stays

  const int lane = threadIdx.x % S::kLanes;
  float* state = nullptr;
  if (a.state != nullptr) {
    const int slot = a.slots != nullptr ? a.slots[sequence] : sequence;
    if (slot >= 0) state = a.state + slot * a.slot_stride;
  }
  States<S> states;
#pragma unroll
  for (int k = 0; k < S::kChannels; ++k) {
    const int channel = channel0 + threadIdx.x / S::kLanes + k * S::kSlots;
#pragma unroll
    for (int n = 0; n < S::kN; ++n) {
      const int64_t at = int64_t{channel} * S::kStateDim + lane * S::kN + n;
      const bool valid = channel < a.channels;
      states.a[k][n] = valid ? a.a[at] * cuda::kLog2E : 0.0f;
      states.h[k][n] = valid && state != nullptr ? state[at] : 0.0f;
    }
  }
  const float2 bias = LoadChannelPair<S>(a.dt_bias, channel0, a.channels);
  const float2 skip = LoadChannelPair<S>(a.d, channel0, a.channels);

  Inputs<S> next;
  LoadInputs(next, a, channel0, row, end);
  for (; row < end; row += S::kSteps) {
    const int count = static_cast<int>(min(end - row, int64_t{S::kSteps}));
    uint32_t x[S::kPairs];
    uint32_t z[S::kPairs];
#pragma unroll
    for (int i = 0; i < S::kPairs; ++i) {
      x[i] = next.x[i];
      z[i] = next.z[i];
    }
    // The last readers of these parts of shared memory passed the barrier
    // ahead of the previous tile's gate phase.
    Stage(shared, next, a, bias, count);
    LoadInputs(next, a, channel0, row + S::kSteps, end);
    __syncthreads();
    Scan(states, shared);
    __syncthreads();
    GateAndStore(shared, a, x, z, skip, channel0, row, count);
  }
  if (state == nullptr) return;
#pragma unroll
  for (int k = 0; k < S::kChannels; ++k) {
    const int channel = channel0 + threadIdx.x / S::kLanes + k * S::kSlots;
    if (channel >= a.channels) continue;
#pragma unroll
    for (int n = 0; n < S::kN; ++n) {
      state[int64_t{channel} * S::kStateDim + lane * S::kN + n] =
          states.h[k][n];
    }
  }
}

template <typename S>
cudaError_t LaunchShape(const Sm90SelectiveScanArgs& a, cudaStream_t stream) {
  return cuda::Launch(SelectiveScanKernel<S>,
                      {.grid = dim3(static_cast<unsigned>(cuda::CeilDiv(
                                        a.channels, S::kBlockChannels)),
                                    a.sequences),
                       .block = dim3(kThreads),
                       .shared_bytes = sizeof(Shared<S>),
                       .stream = stream},
                      a);
}

bool IsValid(const Sm90SelectiveScanArgs& a) {
  const auto aligned4 = [](const void* p) {
    return reinterpret_cast<uintptr_t>(p) % 4 == 0;
  };
  return a.sequences >= 0 && a.sequences <= 65535 && a.tokens >= 0 &&
         a.channels > 0 && a.channels % 2 == 0 && a.state_dim == 16 &&
         a.x_stride % 2 == 0 && a.dt_stride % 2 == 0 && a.z_stride % 2 == 0 &&
         a.out_stride % 2 == 0 && a.b_stride % 8 == 0 && a.c_stride % 8 == 0 &&
         aligned4(a.x) && aligned4(a.dt) && aligned4(a.z) && aligned4(a.out) &&
         cuda::IsAligned16(a.b) && cuda::IsAligned16(a.c);
}

}  // namespace

cudaError_t LaunchSm90SelectiveScan(const Sm90SelectiveScanArgs& a,
                                    cudaStream_t stream) {
  if (!IsValid(a)) return cudaErrorInvalidValue;
  return LaunchShape<ScanShape<16, 4, 1, 16, 8, 2, 8>>(a, stream);
}

}  // namespace intarsia
