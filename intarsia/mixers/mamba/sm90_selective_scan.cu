// What bounds it: nothing alone. One exponential a token, channel and state
// keeps the special-function units busy for longer than the bytes take; the
// operands out of shared memory and the instructions around them cost about as
// much again. So the three are balanced:
//   - kLanes threads share a channel, kN states each in registers, and each
//     thread has kChannels channels: B and C are read once for all of them;
//   - B and C of a state lie in one word, as bf16 (kPacked), or as two floats;
//   - every kPolynomial-th exponential can be computed on the FMA units; the
//     shapes launched below use none, as README_hopper.md explains.
//
// A block owns some channels of one sequence and walks down time: no second
// pass and no exchange of states between blocks. Four of its warps do nothing
// but the recurrence; the other four work a tile of kSteps tokens ahead and
// one behind, in double-buffered shared memory, one barrier a tile:
//   stage  d = softplus(dt) and d x, and B and C, of tile i + 1;
//   scan   the recurrence over tile i; each thread leaves its part of y;
//   gate   sums the parts of tile i - 1, adds D x, applies silu(z), stores.
#include "intarsia/cuda/launch.h"
#include "intarsia/cuda/ptx/barrier.cuh"
#include "intarsia/cuda/tile/vector.cuh"
#include "intarsia/mixers/mamba/sm90_selective_scan.h"

namespace intarsia {
namespace {

using cuda::Vec16;

constexpr int kScanThreads = 128;
constexpr int kHelpThreads = 128;
constexpr int kThreads = kScanThreads + kHelpThreads;

// The choices above for one kernel; its inner loop reads kGroup tokens'
// operands at a time, and kBlocks blocks share a multiprocessor.
template <int kStateDim_, int kLanes_, int kChannels_, int kSteps_,
          int kPolynomial_, bool kPacked_, int kGroup_, int kBlocks_>
struct ScanShape {
  static constexpr int kStateDim = kStateDim_;
  static constexpr int kLanes = kLanes_;
  static constexpr int kChannels = kChannels_;
  static constexpr int kSteps = kSteps_;
  static constexpr int kPolynomial = kPolynomial_;
  static constexpr bool kPacked = kPacked_;
  static constexpr int kGroup = kGroup_;
  static constexpr int kBlocks = kBlocks_;
  static constexpr int kN = kStateDim / kLanes;         // states a thread
  static constexpr int kSlots = kScanThreads / kLanes;  // channels apart
  static constexpr int kBlockChannels = kSlots * kChannels;
  // Pairs of channels that a helper thread stages and gates, per input, and
  // its 16-byte words of b (and of c).
  static constexpr int kPairs = kSteps * kBlockChannels / 2 / kHelpThreads;
  static constexpr int kBcVecs = kSteps * kStateDim / 8;
  static constexpr int kBcLoads = (kBcVecs + kHelpThreads - 1) / kHelpThreads;
  // Words of b and c of a token in shared memory.
  static constexpr int kBcWords = kPacked ? kStateDim : 2 * kStateDim;
  static_assert(kN >= 1 && kPairs >= 1);
};

template <typename S>
struct Tile {
  float2 step[S::kSteps][S::kBlockChannels];  // d, d x
  alignas(16) uint32_t bc[S::kSteps][S::kBcWords];
  alignas(16) float y[S::kSteps][S::kChannels][kScanThreads];
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

// Where a block works: one sequence, from its first row to its end.
struct Place {
  int64_t begin;
  int64_t end;
  int channel0;
  float* state;  // of the sequence, or null
};

// A helper's pairs lie in one channel pair of the block, at several tokens.
template <typename S>
__device__ __forceinline__ int PairChannel() {
  static_assert(kHelpThreads % (S::kBlockChannels / 2) == 0);
  return threadIdx.x % (S::kBlockChannels / 2) * 2;
}
template <typename S>
__device__ __forceinline__ int PairStep(int i) {
  constexpr int kPerRow = S::kBlockChannels / 2;
  return (threadIdx.x - kScanThreads) / kPerRow + i * (kHelpThreads / kPerRow);
}

// One tile's inputs as loaded: pairs of channels, words of b and c.
template <typename S>
struct StageInputs {
  uint32_t x[S::kPairs];
  uint32_t dt[S::kPairs];
  Vec16 b[S::kBcLoads];
  Vec16 c[S::kBcLoads];
};
template <typename S>
struct GateInputs {
  uint32_t x[S::kPairs];
  uint32_t z[S::kPairs];
};

// Loads the pairs of the tile that starts at `row`; zero past the end.
template <typename S>
__device__ __forceinline__ void LoadPairs(uint32_t (&to)[S::kPairs],
                                          const __nv_bfloat16* from,
                                          int64_t stride, int channels,
                                          const Place& place, int64_t row) {
  const int channel = place.channel0 + PairChannel<S>();
#pragma unroll
  for (int i = 0; i < S::kPairs; ++i) {
    const int64_t t = row + PairStep<S>(i);
    to[i] = 0;
    if (t < place.end && channel < channels) {
      to[i] = LoadPair(from + t * stride + channel);
    }
  }
}

template <typename S>
__device__ __forceinline__ void LoadStageInputs(StageInputs<S>& in,
                                                const Sm90SelectiveScanArgs& a,
                                                const Place& place,
                                                int64_t row) {
  LoadPairs<S>(in.dt, a.dt, a.dt_stride, a.channels, place, row);
  LoadPairs<S>(in.x, a.x, a.x_stride, a.channels, place, row);
#pragma unroll
  for (int i = 0; i < S::kBcLoads; ++i) {
    constexpr int kPerRow = S::kStateDim / 8;
    const int at = threadIdx.x - kScanThreads + i * kHelpThreads;
    const int64_t t = row + at / kPerRow;
    in.b[i] = in.c[i] = Vec16{{0, 0, 0, 0}};
    if (at < S::kBcVecs && t < place.end) {
      in.b[i] = cuda::LoadVec(a.b + t * a.b_stride + 8 * (at % kPerRow));
      in.c[i] = cuda::LoadVec(a.c + t * a.c_stride + 8 * (at % kPerRow));
    }
  }
}

template <typename S>
__device__ __forceinline__ void LoadGateInputs(GateInputs<S>& in,
                                               const Sm90SelectiveScanArgs& a,
                                               const Place& place,
                                               int64_t row) {
  LoadPairs<S>(in.x, a.x, a.x_stride, a.channels, place, row);
  if (a.z != nullptr) {
    LoadPairs<S>(in.z, a.z, a.z_stride, a.channels, place, row);
  }
}

__device__ __forceinline__ uint32_t FloatBits(float x) {
  return __float_as_uint(x);
}

// Rows past the end get d = 0, which leaves h as it is.
template <typename S>
__device__ __forceinline__ void Stage(Tile<S>& tile, const StageInputs<S>& in,
                                      const Sm90SelectiveScanArgs& a,
                                      float2 bias, int64_t count) {
  float2 d[S::kPairs];
#pragma unroll
  for (int i = 0; i < S::kPairs; ++i) {
    d[i].x = cuda::LowBf16(in.dt[i]) + bias.x;
    d[i].y = cuda::HighBf16(in.dt[i]) + bias.y;
  }
  if (a.softplus) {
#pragma unroll
    for (int i = 0; i < S::kPairs; ++i) {
      d[i].x = cuda::Softplus(d[i].x);
      d[i].y = cuda::Softplus(d[i].y);
    }
  }
#pragma unroll
  for (int i = 0; i < S::kPairs; ++i) {
    const int t = PairStep<S>(i);
    d[i].x = t < count ? d[i].x : 0.0f;
    d[i].y = t < count ? d[i].y : 0.0f;
    *reinterpret_cast<float4*>(&tile.step[t][PairChannel<S>()]) =
        make_float4(d[i].x, d[i].x * cuda::LowBf16(in.x[i]), d[i].y,
                    d[i].y * cuda::HighBf16(in.x[i]));
  }
#pragma unroll
  for (int i = 0; i < S::kBcLoads; ++i) {
    constexpr int kPerRow = S::kStateDim / 8;
    const int at = threadIdx.x - kScanThreads + i * kHelpThreads;
    if (at >= S::kBcVecs) break;
    uint32_t* row = tile.bc[at / kPerRow] + 8 * (at % kPerRow);
#pragma unroll
    for (int w = 0; w < 4; ++w) {
      const uint32_t b = in.b[i].word[w];
      const uint32_t c = in.c[i].word[w];
      if constexpr (S::kPacked) {  // b in the lower half, c in the upper
        row[2 * w] = __byte_perm(b, c, 0x5410);
        row[2 * w + 1] = __byte_perm(b, c, 0x7632);
      } else {
        row[2 * w] = FloatBits(cuda::LowBf16(b));
        row[2 * w + 1] = FloatBits(cuda::HighBf16(b));
        row[S::kStateDim + 2 * w] = FloatBits(cuda::LowBf16(c));
        row[S::kStateDim + 2 * w + 1] = FloatBits(cuda::HighBf16(c));
      }
    }
  }
}

template <int kCount>
__device__ __forceinline__ void LoadShared(uint32_t (&x)[kCount],
                                           const uint32_t* p) {
  if constexpr (kCount % 4 == 0) {
#pragma unroll
    for (int i = 0; i < kCount / 4; ++i) {
      const uint4 v = reinterpret_cast<const uint4*>(p)[i];
      x[4 * i] = v.x;
      x[4 * i + 1] = v.y;
      x[4 * i + 2] = v.z;
      x[4 * i + 3] = v.w;
    }
  } else if constexpr (kCount == 2) {
    const uint2 v = *reinterpret_cast<const uint2*>(p);
    x[0] = v.x;
    x[1] = v.y;
  } else {
#pragma unroll
    for (int i = 0; i < kCount; ++i) x[i] = p[i];
  }
}

// One token's operands of a scan thread.
template <typename S>
struct Operands {
  uint32_t bc[S::kPacked ? 1 : 2][S::kN];
  float2 step[S::kChannels];

  __device__ __forceinline__ float B(int n) const {
    return S::kPacked ? cuda::LowBf16(bc[0][n]) : __uint_as_float(bc[0][n]);
  }
  __device__ __forceinline__ float C(int n) const {
    return S::kPacked ? cuda::HighBf16(bc[0][n])
                      : __uint_as_float(bc[S::kPacked ? 0 : 1][n]);
  }
};

template <typename S>
__device__ __forceinline__ void LoadOperands(Operands<S>& o,
                                             const Tile<S>& tile, int t,
                                             int lane, int slot) {
#pragma unroll
  for (int part = 0; part < (S::kPacked ? 1 : 2); ++part) {
    LoadShared(o.bc[part], &tile.bc[t][part * S::kStateDim + lane * S::kN]);
  }
#pragma unroll
  for (int k = 0; k < S::kChannels; ++k) {
    o.step[k] = tile.step[t][slot + k * S::kSlots];
  }
}

// log2e A and h of a thread's states.
template <typename S>
struct States {
  float a[S::kChannels][S::kN];
  float h[S::kChannels][S::kN];
};

template <typename S>
__device__ __forceinline__ void LoadGroup(Operands<S> (&o)[S::kGroup],
                                          const Tile<S>& tile, int t) {
#pragma unroll
  for (int u = 0; u < S::kGroup; ++u) {
    LoadOperands(o[u], tile, t + u, threadIdx.x % S::kLanes,
                 threadIdx.x / S::kLanes);
  }
}

// One token: h and this thread's part of y.
template <typename S>
__device__ __forceinline__ void ScanToken(States<S>& states,
                                          const Operands<S>& o, int t,
                                          float (&y)[S::kChannels]) {
#pragma unroll
  for (int k = 0; k < S::kChannels; ++k) {
    y[k] = 0.0f;
#pragma unroll
    for (int n = 0; n < S::kN; ++n) {
      constexpr int kEvery = S::kPolynomial > 0 ? S::kPolynomial : 1;
      const int index = (t % 4 * S::kChannels + k) * S::kN + n;
      const float exponent = o.step[k].x * states.a[k][n];
      const float decay = S::kPolynomial > 0 && index % kEvery == 0
                              ? PolynomialExp2(exponent)
                              : cuda::FastExp2(exponent);
      float& h = states.h[k][n];
      h = fmaf(decay, h, o.step[k].y * o.B(n));
      y[k] = fmaf(o.C(n), h, y[k]);
    }
  }
}

// kGroup tokens at a time. The next ones' operands are loaded ahead of this
// group's stores, since the compiler moves no load over a store.
template <typename S>
__device__ __forceinline__ void Scan(States<S>& states, Tile<S>& tile) {
  static_assert((S::kSteps & (S::kSteps - 1)) == 0);
  constexpr int kUnroll = S::kGroup < 4 ? 4 / S::kGroup : 2;
  Operands<S> now[S::kGroup];
  LoadGroup(now, tile, 0);
#pragma unroll kUnroll
  for (int t = 0; t < S::kSteps; t += S::kGroup) {
    Operands<S> next[S::kGroup];  // after the last group: the first, unused
    LoadGroup(next, tile, (t + S::kGroup) % S::kSteps);
    float y[S::kGroup][S::kChannels];
#pragma unroll
    for (int u = 0; u < S::kGroup; ++u) {
      ScanToken(states, now[u], t + u, y[u]);
    }
#pragma unroll
    for (int u = 0; u < S::kGroup; ++u) {
#pragma unroll
      for (int k = 0; k < S::kChannels; ++k) {
        tile.y[t + u][k][threadIdx.x] = y[u][k];
      }
      now[u] = next[u];
    }
  }
}

template <typename S>
__device__ __forceinline__ void Gate(const Tile<S>& tile,
                                     const GateInputs<S>& in,
                                     const Sm90SelectiveScanArgs& a,
                                     const Place& place, float2 skip,
                                     int64_t row) {
  const int channel = PairChannel<S>();
  float2 y[S::kPairs];
#pragma unroll
  for (int i = 0; i < S::kPairs; ++i) {
    uint32_t bits[2 * S::kLanes];
    LoadShared(bits, reinterpret_cast<const uint32_t*>(
                         &tile.y[PairStep<S>(i)][channel / S::kSlots]
                                [channel % S::kSlots * S::kLanes]));
    y[i].x = skip.x * cuda::LowBf16(in.x[i]);
    y[i].y = skip.y * cuda::HighBf16(in.x[i]);
#pragma unroll
    for (int l = 0; l < S::kLanes; ++l) {
      y[i].x += __uint_as_float(bits[l]);
      y[i].y += __uint_as_float(bits[S::kLanes + l]);
    }
  }
  if (a.z != nullptr) {
#pragma unroll
    for (int i = 0; i < S::kPairs; ++i) {
      y[i].x *= cuda::Silu(cuda::LowBf16(in.z[i]));
      y[i].y *= cuda::Silu(cuda::HighBf16(in.z[i]));
    }
  }
  if (place.channel0 + channel >= a.channels) return;
#pragma unroll
  for (int i = 0; i < S::kPairs; ++i) {
    const int64_t t = row + PairStep<S>(i);
    if (t < place.end) {
      *reinterpret_cast<uint32_t*>(a.out + t * a.out_stride + place.channel0 +
                                   channel) = cuda::PackBf16(y[i].x, y[i].y);
    }
  }
}

// Between two tiles the roles meet, from different places in the code: the
// scanners say that they are done and wait for the helpers, who answer once all
// of both are there.
constexpr int kScanDone = 1, kHelpDone = 2;
__device__ __forceinline__ void MeetHelpers() {
  ptx::NamedBarrierArrive(kScanDone, kThreads);
  ptx::NamedBarrierSync(kHelpDone, kThreads);
}
__device__ __forceinline__ void MeetScanners() {
  ptx::NamedBarrierSync(kScanDone, kThreads);
  ptx::NamedBarrierArrive(kHelpDone, kThreads);
}

// The four warps of the recurrence.
template <typename S>
__device__ __forceinline__ void RunScan(Tile<S>* tiles,
                                        const Sm90SelectiveScanArgs& a,
                                        const Place& place, int count) {
  const int lane = threadIdx.x % S::kLanes;
  const int slot = threadIdx.x / S::kLanes;
  States<S> states;
#pragma unroll
  for (int k = 0; k < S::kChannels; ++k) {
    const int channel = place.channel0 + slot + k * S::kSlots;
#pragma unroll
    for (int n = 0; n < S::kN; ++n) {
      const int64_t at = int64_t{channel} * S::kStateDim + lane * S::kN + n;
      const bool valid = channel < a.channels;
      states.a[k][n] = valid ? a.a[at] * cuda::kLog2E : 0.0f;
      states.h[k][n] = valid && place.state != nullptr ? place.state[at] : 0.0f;
    }
  }
  MeetHelpers();
  for (int i = 0; i < count; ++i) {
    Scan(states, tiles[i % 2]);
    MeetHelpers();
  }
  if (place.state == nullptr) return;
#pragma unroll
  for (int k = 0; k < S::kChannels; ++k) {
    const int channel = place.channel0 + slot + k * S::kSlots;
    if (channel >= a.channels) continue;
#pragma unroll
    for (int n = 0; n < S::kN; ++n) {
      place.state[int64_t{channel} * S::kStateDim + lane * S::kN + n] =
          states.h[k][n];
    }
  }
}

// A per-channel vector at a helper's channel pair; zero if absent.
template <typename S>
__device__ __forceinline__ float2 LoadChannelPair(const float* from,
                                                  int channel0, int channels) {
  const int channel = channel0 + PairChannel<S>();
  if (from == nullptr || channel >= channels) return make_float2(0.0f, 0.0f);
  return make_float2(from[channel], from[channel + 1]);
}

// The other four: tile i + 1 is staged and tile i - 1 gated while tile i is
// scanned. Global loads are issued a tile before their use.
template <typename S>
__device__ __forceinline__ void RunHelp(Tile<S>* tiles,
                                        const Sm90SelectiveScanArgs& a,
                                        const Place& place, int count) {
  const float2 bias = LoadChannelPair<S>(a.dt_bias, place.channel0, a.channels);
  const float2 skip = LoadChannelPair<S>(a.d, place.channel0, a.channels);
  int64_t row = place.begin;
  StageInputs<S> stage;
  GateInputs<S> gate;
  LoadStageInputs(stage, a, place, row);
  Stage(tiles[0], stage, a, bias, place.end - row);
  LoadStageInputs(stage, a, place, row + S::kSteps);
  MeetScanners();
  for (int i = 0; i < count; ++i, row += S::kSteps) {
    if (i + 1 < count) {
      Stage(tiles[(i + 1) % 2], stage, a, bias, place.end - row - S::kSteps);
      LoadStageInputs(stage, a, place, row + 2 * S::kSteps);
    }
    if (i > 0) Gate(tiles[(i + 1) % 2], gate, a, place, skip, row - S::kSteps);
    LoadGateInputs(gate, a, place, row);
    MeetScanners();
  }
  Gate(tiles[(count + 1) % 2], gate, a, place, skip, row - S::kSteps);
}

// grid (channel blocks, sequences).
template <typename S>
__global__ void __launch_bounds__(kThreads, S::kBlocks)
    SelectiveScanKernel(const __grid_constant__ Sm90SelectiveScanArgs a) {
  extern __shared__ __align__(16) char shared_bytes[];
  Tile<S>* tiles = reinterpret_cast<Tile<S>*>(shared_bytes);
  const int sequence = blockIdx.y;
  Place place = {0, a.tokens, static_cast<int>(blockIdx.x) * S::kBlockChannels,
                 nullptr};
  if (a.cu_seqlens != nullptr) {
    place.begin = a.cu_seqlens[sequence];
    place.end = a.cu_seqlens[sequence + 1];
  }
  if (place.begin >= place.end) return;  // the state stays
  if (a.state != nullptr) {
    const int slot = a.slots != nullptr ? a.slots[sequence] : sequence;
    if (slot >= 0) place.state = a.state + slot * a.slot_stride;
  }
  const int count =
      static_cast<int>((place.end - place.begin + S::kSteps - 1) / S::kSteps);
  if (threadIdx.x < kScanThreads) {
    RunScan(tiles, a, place, count);
  } else {
    RunHelp(tiles, a, place, count);
  }
}

template <typename S>
cudaError_t LaunchShape(const Sm90SelectiveScanArgs& a, cudaStream_t stream) {
  return cuda::Launch(SelectiveScanKernel<S>,
                      {.grid = dim3(static_cast<unsigned>(cuda::CeilDiv(
                                        a.channels, S::kBlockChannels)),
                                    a.sequences),
                       .block = dim3(kThreads),
                       .shared_bytes = 2 * sizeof(Tile<S>),
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
  // With enough blocks of two channels a thread to fill the chip, those; for
  // few sequences smaller blocks with longer tiles.
  int multiprocessors = 0;
  INTARSIA_RETURN_IF_CUDA_ERROR(cuda::MultiprocessorCount(&multiprocessors));
  using Wide = ScanShape<16, 4, 2, 16, 0, false, 2, 4>;
  using Narrow = ScanShape<16, 4, 1, 64, 0, true, 2, 2>;
  const int64_t wide_blocks =
      cuda::CeilDiv(a.channels, Wide::kBlockChannels) * a.sequences;
  return wide_blocks >= 2 * multiprocessors ? LaunchShape<Wide>(a, stream)
                                            : LaunchShape<Narrow>(a, stream);
}

}  // namespace intarsia
