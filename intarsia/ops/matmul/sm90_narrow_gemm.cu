// What bounds it: the bytes of the weights. They are the left operand of wgmma,
// 64 rows for each of two warpgroups, and the rows of x the right one, so that
// 8 of these cost what one does. A producer warp keeps 100 KB of loads of each
// of two blocks a multiprocessor in flight, those of the weights from before
// the kernel ahead in the stream ends. Where the tiles are too few to occupy
// the device, the blocks of a cluster take a part of the sum each and add up
// through one another's shared memory, in the order of their ranks.
#include "intarsia/cuda/launch.h"
#include "intarsia/cuda/ptx/cluster.cuh"
#include "intarsia/cuda/ptx/fence.cuh"
#include "intarsia/cuda/ptx/mbarrier.cuh"
#include "intarsia/cuda/ptx/tma.cuh"
#include "intarsia/cuda/ptx/wgmma.cuh"
#include "intarsia/cuda/tile/operand.cuh"
#include "intarsia/cuda/tile/pipeline.cuh"
#include "intarsia/cuda/tile/tensor_map.h"
#include "intarsia/cuda/tile/vector.cuh"
#include "intarsia/ops/matmul/sm90_narrow_gemm.h"

namespace intarsia {
namespace {

constexpr int kMax = Sm90NarrowGemmArgs::kMaxMatrices;
constexpr int kHalf = 64, kTile = 2 * kHalf, kStep = 64;
constexpr int kConsumers = 256, kThreads = kConsumers + 32;
constexpr int kSumStride = kTile + 4;  // floats; spreads rows over the banks

using WeightTile = tile::PanelTile<kHalf, kStep>;

struct Params {
  CUtensorMap x, weights[kMax];
  Sm90NarrowGemmArgs a;
  int first_tile[kMax + 1];  // of each matrix
  int steps, splits;
};

template <int kRows>
struct Shared {
  static constexpr int kStages =
      kRows >= 128 ? 3 : (kRows >= 64 ? 4 : (kRows >= 32 ? 5 : 6));
  using RowTile = tile::PanelTile<kRows, kStep>;
  static constexpr uint32_t kStageBytes =
      2 * WeightTile::kBytes + RowTile::kBytes;

  alignas(1024) uint8_t weights[kStages][2][WeightTile::kBytes];
  alignas(1024) uint8_t x[kStages][RowTile::kBytes];
  uint64_t full[kStages], empty[kStages];
};

// Where a block's tile stands: its matrix and first row there.
struct Place {
  int matrix, row;
};

__device__ __forceinline__ Place PlaceOf(const Params& p, int number) {
  if (p.a.gated) return {0, number * kHalf};
  int m = 0;
  while (m + 1 < p.a.count && number >= p.first_tile[m + 1]) ++m;
  return {m, (number - p.first_tile[m]) * kTile};
}

// By one thread.
template <int kRows>
__device__ __forceinline__ void Produce(const Params& p, Shared<kRows>& shared,
                                        const Place& place, int first,
                                        int last) {
  constexpr int kStages = Shared<kRows>::kStages;
  const CUtensorMap* low = &p.weights[place.matrix];
  const CUtensorMap* high = p.a.gated ? &p.weights[1] : low;
  const int high_row = p.a.gated ? place.row : place.row + kHalf;
  const auto load_weights = [&](int k, uint32_t s) {
    ptx::MbarrierArriveExpect(&shared.full[s], Shared<kRows>::kStageBytes);
    ptx::TmaLoad3d(shared.weights[s][0], low, &shared.full[s], k * kStep, 0,
                   place.row);
    ptx::TmaLoad3d(shared.weights[s][1], high, &shared.full[s], k * kStep, 0,
                   high_row);
  };
  const auto load_rows = [&](int k, uint32_t s) {
    ptx::TmaLoad3d(shared.x[s], &p.x, &shared.full[s], k * kStep, 0, 0);
  };
  if (!p.a.weights_constant) cudaGridDependencySynchronize();
  const int ahead = min(last, first + kStages);
  for (int k = first; k < ahead; ++k) load_weights(k, k - first);
  if (p.a.weights_constant) cudaGridDependencySynchronize();
  for (int k = first; k < ahead; ++k) load_rows(k, k - first);
  tile::RingPosition<kStages> ring;
  for (int k = ahead; k < last; ++k) {
    ptx::MbarrierWait(&shared.empty[ring.stage], ring.phase);
    load_weights(k, ring.stage);
    load_rows(k, ring.stage);
    ring.Next();
  }
}

// Warpgroup w: sums of its 64 rows of the tile, left in shared memory as [row
// of x][row of the tile].
template <int kRows>
__device__ __forceinline__ void Consume(Shared<kRows>& shared, int w, int steps,
                                        float* sums) {
  using A = tile::RowOperand<kHalf, kStep>;
  using B = tile::RowOperand<kRows, kStep>;
  const int lane = threadIdx.x % 32;
  tile::RingPosition<Shared<kRows>::kStages> ring;
  float y[kRows / 2];
#pragma unroll
  for (int i = 0; i < kRows / 2; ++i) y[i] = 0.0f;
  uint32_t previous = 0;
  for (int k = 0; k < steps; ++k) {
    const uint32_t s = ring.stage;
    ptx::MbarrierWait(&shared.full[s], ring.phase);
    const uint64_t a = A::Descriptor(ptx::SharedAddress(shared.weights[s][w]));
    const uint64_t b = B::Descriptor(ptx::SharedAddress(shared.x[s]));
    ptx::FenceRegisters(y);
    ptx::WgmmaFence();
#pragma unroll
    for (int i = 0; i < A::kSteps; ++i) {
      ptx::Wgmma<kRows>::template Shared<0, B::kTranspose>(
          y, ptx::Advance(a, A::Step(i)), ptx::Advance(b, B::Step(i)), 1);
    }
    ptx::WgmmaCommit();
    ptx::WgmmaWait<1>();
    // The step before this one is done.
    if (k > 0 && lane == 0) ptx::MbarrierArrive(&shared.empty[previous]);
    previous = s;
    ring.Next();
  }
  ptx::WgmmaWait<0>();
  ptx::FenceRegisters(y);
  // Both warpgroups have read their operands, over which the sums are written.
  asm volatile("bar.sync 1, %0;" ::"n"(kConsumers) : "memory");
  const int n = kHalf * w + threadIdx.x / 32 % 4 * 16 + lane / 4;
#pragma unroll
  for (int i = 0; i < kRows / 2; ++i) {
    const int r = i / 4 * 8 + lane % 4 * 2 + i % 2;
    sums[r * kSumStride + n + i / 2 % 2 * 8] = y[i];
  }
}

__device__ __forceinline__ float4 LoadCluster4(uint32_t address) {
  float4 v;
  asm volatile("ld.shared::cluster.v4.f32 {%0, %1, %2, %3}, [%4];"
               : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w)
               : "r"(address)
               : "memory");
  return v;
}

// Four sums of row r, added over the blocks of the cluster.
__device__ __forceinline__ void Summed(const float* sums, int splits, int r,
                                       int n, float (&out)[4]) {
  const uint32_t own = ptx::SharedAddress(sums + r * kSumStride + n);
#pragma unroll
  for (int i = 0; i < 4; ++i) out[i] = 0.0f;
  for (int s = 0; s < splits; ++s) {
    const float4 v =
        splits > 1
            ? LoadCluster4(ptx::MapToRank(own, s))
            : *reinterpret_cast<const float4*>(sums + r * kSumStride + n);
    out[0] += v.x;
    out[1] += v.y;
    out[2] += v.z;
    out[3] += v.w;
  }
}

template <typename Y>
__device__ __forceinline__ void Put(const Sm90NarrowGemmArgs::Matrix& m, int r,
                                    int n, const float (&v)[4]) {
  Y* y = static_cast<Y*>(m.y) + int64_t{r} * m.out + n;
  if (m.out % 4 == 0) {
    if (n >= m.out) return;
    if constexpr (sizeof(Y) == 4) {
      *reinterpret_cast<float4*>(y) = make_float4(v[0], v[1], v[2], v[3]);
    } else {
      *reinterpret_cast<uint2*>(y) =
          make_uint2(cuda::PackBf16(v[0], v[1]), cuda::PackBf16(v[2], v[3]));
    }
    return;
  }
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    if (n + i >= m.out) return;
    if constexpr (sizeof(Y) == 4) {
      y[i] = v[i];
    } else {
      y[i] = __float2bfloat16_rn(v[i]);
    }
  }
}

__device__ __forceinline__ void AddBias(const Sm90NarrowGemmArgs::Matrix& m,
                                        int n, float (&v)[4]) {
  if (m.bias == nullptr) return;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    if (n + i < m.out) v[i] += m.bias[n + i];
  }
}

// The cluster's share `rank` of the tile's results.
template <typename Y>
__device__ __forceinline__ void Store(const Params& p, const Place& place,
                                      const float* sums, int rank) {
  const int width = p.a.gated ? kHalf / 4 : kTile / 4;  // fours of a row
  for (int i = rank * kThreads + threadIdx.x; i < p.a.rows * width;
       i += p.splits * kThreads) {
    const int r = i / width, n = i % width * 4;
    const Sm90NarrowGemmArgs::Matrix& m = p.a.matrices[place.matrix];
    float v[4];
    Summed(sums, p.splits, r, n, v);
    AddBias(m, place.row + n, v);
    if (p.a.gated) {
      float up[4];
      Summed(sums, p.splits, r, kHalf + n, up);
      AddBias(p.a.matrices[1], place.row + n, up);
#pragma unroll
      for (int j = 0; j < 4; ++j) v[j] = cuda::Silu(v[j]) * up[j];
    }
    Put<Y>(m, r, place.row + n, v);
  }
}

template <int kRows, typename Y>
__global__ __launch_bounds__(kThreads, 2) void NarrowGemmKernel(
    const __grid_constant__ Params p) {
  extern __shared__ __align__(1024) uint8_t memory[];
  auto& shared = *reinterpret_cast<Shared<kRows>*>(memory);
  float* sums = reinterpret_cast<float*>(memory);
  static_assert(sizeof(float) * kRows * kSumStride <=
                Shared<kRows>::kStages * Shared<kRows>::kStageBytes);
  cudaTriggerProgrammaticLaunchCompletion();
  const int rank = blockIdx.x % p.splits;
  const Place place = PlaceOf(p, blockIdx.x / p.splits);
  const int first = p.steps * rank / p.splits;
  const int last = p.steps * (rank + 1) / p.splits;
  if (threadIdx.x == 0) {
    for (int s = 0; s < Shared<kRows>::kStages; ++s) {
      ptx::MbarrierInit(&shared.full[s], 1);
      ptx::MbarrierInit(&shared.empty[s], kConsumers / 32);
    }
    ptx::FenceMbarrierInit();
  }
  __syncthreads();
  const int warpgroup = __shfl_sync(~0u, threadIdx.x / 128, 0);
  if (warpgroup == 2) {
    if (threadIdx.x == kConsumers) Produce(p, shared, place, first, last);
    __syncwarp();
  } else {
    Consume<kRows>(shared, warpgroup, last - first, sums);
  }
  // What the kernel ahead may still read is not written before.
  cudaGridDependencySynchronize();
  if (p.splits > 1) {
    ptx::ClusterSync();
  } else {
    __syncthreads();
  }
  Store<Y>(p, place, sums, rank);
  if (p.splits > 1) ptx::ClusterSync();  // others read this block's memory
}

// Up to four blocks for three multiprocessors, of which each holds two, with
// four steps or more each: what was fastest.
int BestSplits(int tiles, int steps, int multiprocessors) {
  int best = 1;
  for (const int splits : {2, 3, 4, 6, 8}) {
    if (3 * tiles * splits > 4 * multiprocessors || steps < 4 * splits) break;
    best = splits;
  }
  return best;
}

template <int kRows>
cudaError_t LaunchRows(Params& p, int tiles, cudaStream_t stream) {
  INTARSIA_RETURN_IF_CUDA_ERROR(tile::EncodePanelMap(
      &p.x, p.a.x, p.a.rows, 1, p.a.in, p.a.x_stride, p.a.x_stride, kRows));
  const cuda::LaunchShape shape = {
      .grid = dim3(static_cast<unsigned>(tiles * p.splits)),
      .block = dim3(kThreads),
      .shared_bytes = sizeof(Shared<kRows>),
      .cluster = static_cast<unsigned>(p.splits),
      .overlap_previous = true,
      .stream = stream};
  return p.a.y_f32
             ? cuda::Launch(NarrowGemmKernel<kRows, float>, shape, p)
             : cuda::Launch(NarrowGemmKernel<kRows, __nv_bfloat16>, shape, p);
}

bool IsValid(const Sm90NarrowGemmArgs& a) {
  if (a.rows < 1 || a.rows > a.kMaxRows || a.in <= 0 || a.in % 8 != 0 ||
      a.count < 1 || a.count > kMax || a.x_stride % 8 != 0 ||
      !cuda::IsAligned16(a.x) || a.splits < 0 || a.splits > 8) {
    return false;
  }
  for (int i = 0; i < a.count; ++i) {
    const auto& m = a.matrices[i];
    if (m.out <= 0 || !cuda::IsAligned16(m.w)) return false;
    const bool result = i == 0 || !a.gated;
    if (result && !cuda::IsAligned16(m.y)) return false;
  }
  return !a.gated || (a.count == 2 && a.matrices[0].out == a.matrices[1].out);
}

}  // namespace

cudaError_t LaunchSm90NarrowGemm(const Sm90NarrowGemmArgs& a,
                                 cudaStream_t stream) {
  if (!IsValid(a)) return cudaErrorInvalidValue;
  Params p = {};
  p.a = a;
  p.steps = static_cast<int>(cuda::CeilDiv(a.in, kStep));
  int64_t tiles = 0;
  for (int i = 0; i < a.count; ++i) {
    const auto& m = a.matrices[i];
    p.first_tile[i] = static_cast<int>(tiles);
    if (i == 0 || !a.gated) {
      tiles += cuda::CeilDiv(m.out, a.gated ? kHalf : kTile);
    }
    INTARSIA_RETURN_IF_CUDA_ERROR(tile::EncodePanelMap(
        &p.weights[i], m.w, m.out, 1, a.in, a.in, a.in, kHalf));
  }
  int multiprocessors = 0;
  INTARSIA_RETURN_IF_CUDA_ERROR(cuda::MultiprocessorCount(&multiprocessors));
  p.splits = a.splits > 0 ? a.splits
                          : BestSplits(static_cast<int>(tiles), p.steps,
                                       multiprocessors);
  const int count = static_cast<int>(tiles);
  if (a.rows <= 16) return LaunchRows<16>(p, count, stream);
  if (a.rows <= 32) return LaunchRows<32>(p, count, stream);
  if (a.rows <= 64) return LaunchRows<64>(p, count, stream);
  return LaunchRows<128>(p, count, stream);
}

}  // namespace intarsia
