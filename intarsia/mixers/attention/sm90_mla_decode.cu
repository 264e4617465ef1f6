// What bounds it: with 128 rows (heads x query tokens) on one latent, tensor
// cores; with 64 or fewer, the bytes of the latents. A block of the grid owns
// 64 rows and walks over tiles of 64 latents, which stay in shared memory for
// both products, since the values are the first channels of the keys. Three
// warpgroups:
//
//   scores      S = Q C^T. The 512 channels of Q that values share stay in
//               registers, so that shared memory serves C alone. P overwrites
//               the tile's rotated channels, which nobody needs once S is
//               there.
//   outputs     two, 256 channels of O = P C each. One thread of theirs also
//               fetches the tile after next into the buffer that they leave.
//
// With 65 to 128 rows two blocks form a cluster, and each fetches half of every
// tile for both.
//
// The order keeps the tensor cores busy: P of tile n is handed over while the
// product S of tile n + 1 ends, so that softmax n + 1 hides behind O n.
//
// A persistent grid shares all tiles of the batch equally: a worker (a block or
// a cluster) takes one contiguous range of them. At most the first and the last
// sequence of a range are cut; those parts go to the workspace in fp32, and a
// second kernel combines them.
#include <algorithm>

#include "intarsia/cuda/launch.h"
#include "intarsia/cuda/ptx/registers.cuh"
#include "intarsia/cuda/tile/reduce.cuh"
#include "intarsia/cuda/tile/tensor_map.h"
#include "intarsia/mixers/attention/sm90_mla_consumers.cuh"

namespace intarsia {
namespace {

using namespace mla;  // NOLINT: its only user

constexpr WorkerRange kNothing = {0, 0, -1, 0, 0, {}};

// By one thread: writes who does what. A worker goes on until it has had its
// share, which leaves room to begin one sequence more than the average, so that
// sequences are cut where that pays.
__global__ void PlanKernel(const int32_t* lengths, int batch, int workers,
                           WorkerRange* ranges, int2* worker_of) {
  constexpr int kChunk = 1024;
  __shared__ int length_of[kChunk];
  __shared__ int sums[kChunk / 32];
  int total = 0;
  for (int b = threadIdx.x; b < batch; b += kChunk) {
    const int tiles = TilesOf(lengths[b]);
    total += tiles > 0 ? tiles + kStartCost : 0;
  }
  total = __reduce_add_sync(~0u, total);
  if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = total;
  __syncthreads();
  total = 0;
  for (int i = 0; i < kChunk / 32; ++i) total += sums[i];
  const int share =
      max(total - kStartCost + workers - 1, 0) / workers + kStartCost;
  int worker = 0, left = share;
  WorkerRange range = kNothing;
  for (int base = 0; base < batch; base += kChunk) {
    __syncthreads();
    const int b = base + static_cast<int>(threadIdx.x);
    if (b < batch) length_of[threadIdx.x] = lengths[b];
    __syncthreads();
    if (threadIdx.x != 0) continue;
    for (int i = 0; i < min(kChunk, batch - base); ++i) {
      const int tiles = TilesOf(length_of[i]);
      int first = -1, done = 0;
      while (done < tiles) {
        const int rest = tiles - done;
        const int take = worker == workers - 1 || left >= rest + kStartCost
                             ? rest
                             : max(left - kStartCost, 0);
        if (take > 0) {
          if (range.last_sequence < 0) {
            range.sequence = base + i;
            range.begin = done;
            range.length = length_of[i];
          }
          if (first < 0) first = worker;
          done += take;
          left -= take + kStartCost;
          range.last_sequence = base + i;
          range.last_end = done;
        }
        if (done < tiles) {
          ranges[worker++] = range;
          range = kNothing;
          left = share;
        }
      }
      worker_of[base + i] = make_int2(first, first < 0 ? -1 : worker);
    }
  }
  if (threadIdx.x != 0) return;
  for (; worker < workers; ++worker) {
    ranges[worker] = range;
    range = kNothing;
  }
}

// A sequence without latents has no tile.
__device__ __forceinline__ void ClearEmpty(const Params& p, int thread,
                                           int threads) {
  for (int b = blockIdx.x; b < p.a.batch; b += gridDim.x) {
    if (p.a.kv_lengths[b] > 0) continue;
    const int64_t first = int64_t{b} * p.rows;
    uint4* out = reinterpret_cast<uint4*>(p.a.out + first * kValue);
    for (int i = thread; i < p.rows * kValue / 8; i += threads) {
      out[i] = uint4{0, 0, 0, 0};
    }
    if (p.a.lse == nullptr) continue;
    for (int i = thread; i < p.rows; i += threads) {
      p.a.lse[first + i] = -INFINITY;
    }
  }
}

template <int kCluster>
__global__ __launch_bounds__(384, 1) void MlaDecodeKernel(
    const __grid_constant__ Params p) {
  extern __shared__ __align__(1024) uint8_t memory[];
  Shared& shared = *reinterpret_cast<Shared*>(memory);
  if (threadIdx.x == 0) {
    for (int s = 0; s < kStages; ++s) {
      for (uint64_t& full : shared.full[s]) ptx::MbarrierInit(&full, 1);
      // All lanes of the outputs, and a peer's warps.
      ptx::MbarrierInit(&shared.empty[s], kCluster > 1 ? 256 + 8 : 256);
      ptx::MbarrierInit(&shared.weights[s], 128);
    }
    ptx::FenceMbarrierInit();
    ptx::PrefetchTensorMap(&p.pages);
  }
  if constexpr (kCluster > 1) ptx::ClusterSync();
  // CombineKernel waits for this kernel's end by itself.
  cudaTriggerProgrammaticLaunchCompletion();
  cudaGridDependencySynchronize();
  if (threadIdx.x == 0) {
    Fetcher<kCluster> fetcher(p, shared);
    fetcher.Start();
    for (uint32_t s = 0; s < kStages; ++s) {
      fetcher.Prepare();
      fetcher.Issue(s);
    }
  } else if (threadIdx.x >= 32) {
    ClearEmpty(p, threadIdx.x - 32, blockDim.x - 32);
  }
  __syncthreads();

  // Uniform over a warp, and known to be. 184 + 2 x 160 = 3 x 168 registers.
  const int warpgroup = __shfl_sync(~0u, threadIdx.x / 128, 0);
  if (warpgroup == 0) {
    ptx::IncreaseRegisters<184>();
    ScoreConsumer<kCluster>(p, shared).Run();
  } else {
    ptx::DecreaseRegisters<160>();
    OutputConsumer<kCluster>(p, shared, warpgroup - 1).Run();
  }
  // Nobody leaves while a peer may still write here.
  if constexpr (kCluster > 1) ptx::ClusterSync();
}

// Sums the parts of the sequences that were cut, weighed by their sums. Blocks
// take `rows_of_block` rows, one after the other, and share the parts of a row
// out over kGroups x 128 threads.
template <int kCluster, int kGroups>
__global__ __launch_bounds__(128 *
                             kGroups) void CombineKernel(const Params p,
                                                         int rows_of_block) {
  __shared__ float4 group_out[kGroups][128];
  __shared__ float group_sum[kGroups];
  const int sequence = blockIdx.y;
  const int2 workers = p.worker_of[sequence];
  cudaGridDependencySynchronize();
  const int first = workers.x, last = workers.y;
  if (first == last) return;

  const int group = threadIdx.x / 128, channel = threadIdx.x % 128 * 4;
  const int begin = blockIdx.x * rows_of_block;
  for (int row = begin; row < min(begin + rows_of_block, p.rows); ++row) {
    const int block = row / kRows;
    const int64_t part0 = int64_t{block / kCluster} * p.workers * 2;
    // A sequence begins in its first worker's second slot and goes on in the
    // first slot of the others.
    const auto place = [&](int worker) {
      return ((part0 + 2 * worker + (worker == first)) * kCluster +
              block % kCluster) *
                 kRows +
             row % kRows;
    };
    float max = -INFINITY;
    for (int w = first + threadIdx.x % 32; w <= last; w += 32) {
      max = fmaxf(max, p.partial_lse[place(w)]);
    }
    max = cuda::WarpReduce<cuda::Max>(max);
    const float reference = max == -INFINITY ? 0.0f : max;
    float4 out = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    float sum = 0;
#pragma unroll 4
    for (int w = first + group; w <= last; w += kGroups) {
      const int64_t at = place(w);
      const float weight =
          ptx::Exp2((p.partial_lse[at] - reference) * cuda::kLog2E);
      const float4 x = *reinterpret_cast<const float4*>(p.partial_out +
                                                        at * kValue + channel);
      sum += weight;
      out.x += weight * x.x;
      out.y += weight * x.y;
      out.z += weight * x.z;
      out.w += weight * x.w;
    }
    if constexpr (kGroups > 1) {
      __syncthreads();
      group_out[group][threadIdx.x % 128] = out;
      if (threadIdx.x % 128 == 0) group_sum[group] = sum;
      __syncthreads();
      if (group != 0) continue;
      for (int g = 1; g < kGroups; ++g) {
        const float4 x = group_out[g][threadIdx.x];
        sum += group_sum[g];
        out.x += x.x;
        out.y += x.y;
        out.z += x.z;
        out.w += x.w;
      }
    }
    const float inverse = sum > 0 ? 1.0f / sum : 0.0f;
    const int64_t to = int64_t{sequence} * p.rows + row;
    uint2 packed;
    packed.x = ptx::PackBf16(out.x * inverse, out.y * inverse);
    packed.y = ptx::PackBf16(out.z * inverse, out.w * inverse);
    *reinterpret_cast<uint2*>(p.a.out + to * kValue + channel) = packed;
    if (p.a.lse != nullptr && threadIdx.x == 0) {
      p.a.lse[to] = max == -INFINITY ? -INFINITY : max + logf(sum);
    }
  }
}

int RowsOf(const Sm90MlaDecodeArgs& a) { return a.query_tokens * a.heads; }
int ClusterOf(const Sm90MlaDecodeArgs& a) { return RowsOf(a) > kRows ? 2 : 1; }
int GroupsOf(const Sm90MlaDecodeArgs& a) {
  return static_cast<int>(cuda::CeilDiv(RowsOf(a), kRows * ClusterOf(a)));
}

// Of each group of rows.
int WorkersOf(const Sm90MlaDecodeArgs& a, int multiprocessors) {
  const int64_t most =
      std::min(multiprocessors, kMostBlocks) / (ClusterOf(a) * GroupsOf(a));
  const int64_t tiles = a.batch * cuda::CeilDiv(a.max_length, kTile);
  return static_cast<int>(std::max<int64_t>(1, std::min<int64_t>(most, tiles)));
}

bool IsValid(const Sm90MlaDecodeArgs& a) {
  return a.batch >= 0 && a.batch <= 65535 && a.query_tokens > 0 &&
         a.heads > 0 && int64_t{a.query_tokens} * a.heads <= 8192 &&
         a.page_count > 0 && a.page_size >= 16 &&
         (a.page_size & (a.page_size - 1)) == 0 && a.max_length >= 0 &&
         int64_t{a.batch} * (a.max_length / kTile + 1 + kStartCost) <=
             INT32_MAX &&
         a.page_stride % 8 == 0 && a.token_stride % 8 == 0 &&
         a.token_stride >= kKey && cuda::IsAligned16(a.q) &&
         cuda::IsAligned16(a.pages) && cuda::IsAligned16(a.out) &&
         a.workspace != nullptr && cuda::IsAligned16(a.workspace) &&
         a.plan != nullptr && cuda::IsAligned16(a.plan);
}

template <int kCluster>
cudaError_t LaunchCluster(const Params& p, cudaStream_t stream) {
  const cuda::LaunchShape main = {
      .grid = dim3(p.workers * kCluster, GroupsOf(p.a)),
      .block = dim3(384),
      .shared_bytes = sizeof(Shared),
      .cluster = kCluster,
      .overlap_previous = true,
      .stream = stream};
  INTARSIA_RETURN_IF_CUDA_ERROR(
      cuda::Launch(MlaDecodeKernel<kCluster>, main, p));
  if (p.workers == 1) return cudaSuccess;
  // Few rows in many parts need more threads a row.
  const bool many = p.workers > 8 * p.a.batch && p.rows * p.a.batch <= 512;
  const int rows_of_block =
      many ? 1
           : static_cast<int>(std::clamp<int64_t>(
                 int64_t{p.rows} * p.a.batch / (8 * kMostBlocks), 1, 16));
  const int blocks = static_cast<int>(cuda::CeilDiv(p.rows, rows_of_block));
  const cuda::LaunchShape combine = {.grid = dim3(blocks, p.a.batch),
                                     .block = dim3(many ? 1024 : 128),
                                     .overlap_previous = true,
                                     .stream = stream};
  return many ? cuda::Launch(CombineKernel<kCluster, 8>, combine, p,
                             rows_of_block)
              : cuda::Launch(CombineKernel<kCluster, 1>, combine, p,
                             rows_of_block);
}

}  // namespace

size_t Sm90MlaDecodePlanBytes(const Sm90MlaDecodeArgs& args) {
  return kMostBlocks * sizeof(WorkerRange) + args.batch * sizeof(int2);
}

cudaError_t LaunchSm90MlaDecodePlan(const Sm90MlaDecodeArgs& args,
                                    cudaStream_t stream) {
  if (!IsValid(args)) return cudaErrorInvalidValue;
  if (args.batch == 0) return cudaSuccess;
  int multiprocessors = 0;
  INTARSIA_RETURN_IF_CUDA_ERROR(cuda::MultiprocessorCount(&multiprocessors));
  const cuda::LaunchShape shape = {
      .grid = dim3(1), .block = dim3(1024), .stream = stream};
  WorkerRange* ranges = static_cast<WorkerRange*>(args.plan);
  return cuda::Launch(PlanKernel, shape, args.kv_lengths, args.batch,
                      WorkersOf(args, multiprocessors), ranges,
                      reinterpret_cast<int2*>(ranges + kMostBlocks));
}

size_t Sm90MlaDecodeWorkspaceBytes(const Sm90MlaDecodeArgs& args) {
  if (args.heads <= 0 || args.query_tokens <= 0) return 0;
  return size_t{2} * WorkersOf(args, kMostBlocks) * GroupsOf(args) *
         ClusterOf(args) * kRows * (kValue + 1) * sizeof(float);
}

cudaError_t LaunchSm90MlaDecode(const Sm90MlaDecodeArgs& args,
                                cudaStream_t stream) {
  static_assert(sizeof(Shared) <= 227 * 1024);
  if (!IsValid(args)) return cudaErrorInvalidValue;
  if (args.batch == 0) return cudaSuccess;
  const int cluster = ClusterOf(args);
  int multiprocessors = 0;
  INTARSIA_RETURN_IF_CUDA_ERROR(cuda::MultiprocessorCount(&multiprocessors));
  Params p;
  p.a = args;
  p.scale_log2 = args.scale * cuda::kLog2E;
  p.page_shift = __builtin_ctz(args.page_size);
  p.box_rows = std::min(args.page_size, kTile);
  p.box_panels = p.box_rows == kTile ? 3 : 1;
  p.rows = RowsOf(args);
  p.workers = WorkersOf(args, multiprocessors);
  p.ranges = static_cast<const WorkerRange*>(args.plan);
  p.worker_of = reinterpret_cast<const int2*>(p.ranges + kMostBlocks);
  p.partial_out = static_cast<float*>(args.workspace);
  p.partial_lse = p.partial_out + int64_t{2} * p.workers * GroupsOf(args) *
                                      cluster * kRows * kValue;
  INTARSIA_RETURN_IF_CUDA_ERROR(tile::EncodePagedPanelsMap(
      &p.pages, args.pages, args.page_count, args.page_size, kKey,
      args.page_stride, args.token_stride, p.box_rows, p.box_panels));
  return cluster == 1 ? LaunchCluster<1>(p, stream)
                      : LaunchCluster<2>(p, stream);
}

}  // namespace intarsia
