#include "intarsia/mixers/retention/sm90_retention_walk.h"

#include <algorithm>

#include "intarsia/cuda/ptx/exp2.cuh"
#include "intarsia/cuda/ptx/registers.cuh"
#include "intarsia/cuda/tile/tensor_map.h"
#include "intarsia/mixers/retention/sm90_retention_walk_state.cuh"

namespace intarsia::sm90 {
namespace {

template <int kInnerOfBlock, int kBlocks, bool kPartial>
struct WalkConfig {
  static constexpr int kInner = kInnerOfBlock;  // of the state, a block
  static constexpr int kHalves = kBlocks;       // blocks a cluster
  // The first of two passes over a sequence in segments.
  static constexpr bool kStateOnly = kPartial;
};

template <class C>
__global__ __launch_bounds__(384, 1) void WalkKernel(
    const __grid_constant__ WalkParams p) {
  using Shared = WalkShared<C>;
  extern __shared__ __align__(1024) uint8_t memory[];
  Shared& shared = *reinterpret_cast<Shared*>(memory);
  if (threadIdx.x == 0) {
    shared.InitBarriers();
    shared.unit.Find(p, C::kStateOnly ? p.segments - 1 : p.segments);
  }
  constexpr bool kCluster = C::kHalves > 1;
  if constexpr (kCluster) {
    ptx::ClusterSync();
  } else {
    __syncthreads();
  }
  const WalkUnit& unit = shared.unit;
  if (threadIdx.x < kWalkChunk) {
    const int before = threadIdx.x + 1, after = kWalkChunk - before;
    shared.read_factor[threadIdx.x] =
        p.read_scale *
        ptx::Exp2(unit.log2_decay * (p.reverse ? after : before));
    shared.write_factor[threadIdx.x] =
        p.write_scale *
        ptx::Exp2(unit.log2_decay * (p.reverse ? before : after));
  }
  __syncthreads();
  // Uniform over a warp, and known to be. 24 + 2 x 240 = 3 x 168.
  const int warpgroup = __shfl_sync(~0u, threadIdx.x / 128, 0);
  if (warpgroup == 0) {
    ptx::DecreaseRegisters<24>();
    if (threadIdx.x == 0) WalkLoader<C>(p, unit, shared).Run();
  } else {
    ptx::IncreaseRegisters<240>();
    WalkState<C>(p, unit, shared, warpgroup - 1).Run();
  }
  // The other block may still send, or arrive on our barriers.
  if constexpr (kCluster) ptx::ClusterSync();
}

template <class C>
cudaError_t Launch(const WalkParams& p, int segments, cudaStream_t stream) {
  constexpr int kBytes = sizeof(WalkShared<C>);
  static_assert(kBytes <= 227 * 1024);
  const auto kernel = WalkKernel<C>;
  const cudaError_t error = cudaFuncSetAttribute(
      kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes);
  if (error != cudaSuccess) return error;
  cudaLaunchAttribute cluster{};
  cluster.id = cudaLaunchAttributeClusterDimension;
  cluster.val.clusterDim = {C::kHalves, 1, 1};
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(p.sequences * p.heads * segments * p.slices * p.halves);
  config.blockDim = dim3(384);
  config.dynamicSmemBytes = kBytes;
  config.stream = stream;
  config.attrs = &cluster;
  config.numAttrs = 1;
  if (config.gridDim.x == 0) return cudaSuccess;
  return cudaLaunchKernelEx(&config, kernel, p);
}

// What a block holds and how many share the inner dimension.
int InnerOfBlock(int inner) { return inner <= 128 ? 128 : 256; }
int Halves(int inner) { return inner <= 256 ? 1 : 2; }
int Slices(int width) { return (width + kWalkWidth - 1) / kWalkWidth; }

// Segments that finish first, by rounds of blocks times chunks of each; those
// of the first of two passes cost about half.
int Segments(const RetentionWalkArgs& a, int processors) {
  const int64_t units =
      int64_t{a.sequences} * a.heads * Slices(a.width) * Halves(a.inner);
  const int chunks = (a.max_seqlen + kWalkChunk - 1) / kWalkChunk;
  const auto rounds = [&](int64_t blocks) {
    return (blocks + processors - 1) / processors;
  };
  int best = 1;
  double best_cost = static_cast<double>(rounds(units)) * chunks;
  for (int s = 2; s <= 32 && chunks / s >= 8; ++s) {
    const int span = (chunks + s - 1) / s;
    // Loading and storing states costs about as much as four chunks.
    const double cost = rounds(units * s) * (span + 4.0) +
                        rounds(units * (s - 1)) * (0.5 * span + 4.0);
    if (cost < best_cost) {
      best = s;
      best_cost = cost;
    }
  }
  return best;
}

cudaError_t Encode(CUtensorMap* map, const RetentionTensor& t,
                   const RetentionWalkArgs& a, int columns, int box_rows) {
  return tile::EncodePanelMap(map, t.data, a.total, a.heads, columns,
                              t.row_stride, t.head_stride, box_rows);
}

bool Aligned(const RetentionTensor& t) {
  return t.data != nullptr && reinterpret_cast<uintptr_t>(t.data) % 16 == 0 &&
         t.row_stride % 8 == 0 && t.head_stride % 8 == 0;
}

bool Valid(const RetentionWalkArgs& a) {
  return a.sequences >= 0 && a.total >= 0 && a.max_seqlen >= 0 && a.heads > 0 &&
         a.log_decay != nullptr && a.cu_seqlens != nullptr &&
         (a.total == 0 ||
          (Aligned(a.q) && Aligned(a.k) && Aligned(a.v) && Aligned(a.out)));
}

template <int kInner>
cudaError_t Both(const WalkParams& p, cudaStream_t stream) {
  if (p.segments > 1) {
    const cudaError_t error =
        Launch<WalkConfig<kInner, 1, true>>(p, p.segments - 1, stream);
    if (error != cudaSuccess) return error;
  }
  if constexpr (kInner == 256) {
    if (p.halves == 2) {
      return Launch<WalkConfig<kInner, 2, false>>(p, p.segments, stream);
    }
  }
  return Launch<WalkConfig<kInner, 1, false>>(p, p.segments, stream);
}

}  // namespace

cudaError_t Processors(int* count) {
  int device = 0;
  const cudaError_t error = cudaGetDevice(&device);
  if (error != cudaSuccess) return error;
  return cudaDeviceGetAttribute(count, cudaDevAttrMultiProcessorCount, device);
}

size_t RetentionWalkWorkspace(const RetentionWalkArgs& a, int processors) {
  const int segments = Segments(a, processors);
  return sizeof(float) * (segments - 1) * a.sequences * a.heads * a.inner *
         a.width;
}

cudaError_t RetentionWalk(const RetentionWalkArgs& a, cudaStream_t stream) {
  if (a.inner <= 0 || a.inner % 64 != 0 || a.inner > 512 || a.width <= 0 ||
      a.width % 64 != 0 || a.width > 512) {
    return cudaErrorNotSupported;
  }
  if (!Valid(a)) return cudaErrorInvalidValue;
  int processors = 0;
  cudaError_t error = Processors(&processors);
  if (error != cudaSuccess) return error;
  WalkParams p{};
  p.segments = Segments(a, processors);
  if (p.segments > 1 && a.workspace == nullptr) return cudaErrorInvalidValue;
  p.halves = Halves(a.inner);
  p.slices = Slices(a.width);
  if (a.total > 0) {
    error = Encode(&p.q, a.q, a, a.inner, kWalkChunk);
    if (error != cudaSuccess) return error;
    error = Encode(&p.k, a.k, a, a.inner, kWalkChunk);
    if (error != cudaSuccess) return error;
    error = Encode(&p.v, a.v, a, a.width, kWalkChunk);
    if (error != cudaSuccess) return error;
    error = Encode(&p.out, a.out, a, a.width, kWalkChunk / p.halves);
    if (error != cudaSuccess) return error;
  }
  p.out_data = const_cast<__nv_bfloat16*>(a.out.data);
  p.out_row_stride = a.out.row_stride;
  p.out_head_stride = a.out.head_stride;
  p.cu_seqlens = a.cu_seqlens;
  p.log_decay = a.log_decay;
  p.initial_state = a.initial_state;
  p.final_state = a.final_state;
  p.state_inner_stride = a.state_inner_stride;
  p.state_width_stride = a.state_width_stride;
  p.partial = a.workspace;
  p.sequences = a.sequences;
  p.heads = a.heads;
  p.inner = a.inner;
  p.width = a.width;
  p.read_scale = a.read_scale;
  p.write_scale = a.write_scale;
  p.reverse = a.reverse;
  return InnerOfBlock(a.inner) == 128 ? Both<128>(p, stream)
                                      : Both<256>(p, stream);
}

}  // namespace intarsia::sm90
