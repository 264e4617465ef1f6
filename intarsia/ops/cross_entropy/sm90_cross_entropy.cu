// What bounds it: one read of the logits, and one write with the gradient.
// Every thread keeps a running maximum m and s = sum exp(x - m).
//
// With the gradient a row (256 KB at 128K words) would have to be read twice.
// Instead a cluster of blocks shares a row: each keeps its part in shared
// memory while the maxima and sums cross the cluster, then writes it back.
#include "intarsia/cuda/launch.h"
#include "intarsia/cuda/tile/reduce.cuh"
#include "intarsia/cuda/tile/vector.cuh"
#include "intarsia/ops/cross_entropy/sm90_cross_entropy.h"

namespace intarsia {
namespace {

using cuda::FastExp2;
using cuda::Vec16;

constexpr int kThreads = 512;
constexpr int kUnroll = 4;
constexpr int kMaxCluster = 8;
constexpr int kMaxPartBytes = 100 * 1024;  // two blocks a multiprocessor
constexpr int kWantedPartBytes = 64 * 1024;

// A sum of exponentials kept as sum * e^max. The maximum starts low but
// finite, so that no difference of infinities appears.
struct ExpSum {
  float max = -1e30f;
  float sum = 0.0f;

  __device__ __forceinline__ void Add(const float (&x)[8]) {
    float m = max;
#pragma unroll
    for (int j = 0; j < 8; ++j) m = fmaxf(m, x[j]);
    const float shift = -m * cuda::kLog2E;
    float s = sum * FastExp2(fmaf(max, cuda::kLog2E, shift));
#pragma unroll
    for (int j = 0; j < 8; ++j) s += FastExp2(fmaf(x[j], cuda::kLog2E, shift));
    max = m;
    sum = s;
  }
  __device__ __forceinline__ void Add(float x) {
    const float m = fmaxf(max, x);
    sum = sum * FastExp2((max - m) * cuda::kLog2E) +
          FastExp2((x - m) * cuda::kLog2E);
    max = m;
  }
  __device__ __forceinline__ void Merge(float other_max, float other_sum) {
    const float m = fmaxf(max, other_max);
    sum = sum * FastExp2((max - m) * cuda::kLog2E) +
          other_sum * FastExp2((other_max - m) * cuda::kLog2E);
    max = m;
  }
};

__device__ __forceinline__ ExpSum ReduceBlock(const ExpSum& mine,
                                              float* scratch) {
  ExpSum all;
  all.max = cuda::BlockReduce<cuda::Max, kThreads>(mine.max, scratch);
  all.sum = cuda::BlockReduce<cuda::Sum, kThreads>(
      mine.sum * FastExp2((mine.max - all.max) * cuda::kLog2E), scratch + 32);
  return all;
}

__device__ __forceinline__ bool HasLabel(const Sm90CrossEntropyArgs& a,
                                         int label) {
  return label != a.ignore_index && label >= 0 && label < a.vocabulary;
}

__device__ __forceinline__ void WriteLoss(const Sm90CrossEntropyArgs& a,
                                          int64_t row, const ExpSum& all,
                                          bool has_label, float label_logit) {
  const float lse = all.max + cuda::kLn2 * log2f(all.sum);
  if (a.lse != nullptr) a.lse[row] = lse;
  a.loss[row] = has_label ? lse - label_logit : 0.0f;
}

// grid (rows): the loss alone.
__global__ void __launch_bounds__(kThreads)
    LossKernel(const __grid_constant__ Sm90CrossEntropyArgs a) {
  __shared__ float scratch[64];
  const int64_t row = blockIdx.x;
  const __nv_bfloat16* logits = a.logits + row * a.row_stride;
  const int vecs = a.vocabulary / 8;
  ExpSum mine;
  int i = threadIdx.x;
  for (; i + (kUnroll - 1) * kThreads < vecs; i += kUnroll * kThreads) {
    Vec16 v[kUnroll];
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      v[u] = cuda::LoadVecStream(logits + 8 * (i + u * kThreads));
    }
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      float x[8];
      cuda::Unpack8(v[u], x);
      mine.Add(x);
    }
  }
  for (; i < vecs; i += kThreads) {
    float x[8];
    cuda::Unpack8(cuda::LoadVecStream(logits + 8 * i), x);
    mine.Add(x);
  }
  const ExpSum all = ReduceBlock(mine, scratch);
  if (threadIdx.x == 0) {
    const int label = a.labels[row];
    const bool has_label = HasLabel(a, label);
    WriteLoss(a, row, all, has_label,
              has_label ? __bfloat162float(logits[label]) : 0.0f);
  }
}

__device__ __forceinline__ uint32_t ClusterRank() {
  uint32_t rank;
  asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return rank;
}
__device__ __forceinline__ void ClusterArrive() {
  asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");
}
__device__ __forceinline__ void ClusterWait() {
  asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
}
// Writes a float at the same place in another block's shared memory.
__device__ __forceinline__ void StoreToBlock(float* mine, uint32_t rank,
                                             float x) {
  const uint32_t address =
      static_cast<uint32_t>(__cvta_generic_to_shared(mine));
  asm volatile(
      "{\n .reg .u32 remote;\n"
      " mapa.shared::cluster.u32 remote, %0, %1;\n"
      " st.shared::cluster.f32 [remote], %2;\n}" ::"r"(address),
      "r"(rank), "f"(x)
      : "memory");
}

// grid (kCluster, rows): loss and gradient. part_vecs 16-byte words a block.
template <int kCluster>
__global__ void __launch_bounds__(kThreads)
    GradientKernel(const __grid_constant__ Sm90CrossEntropyArgs a,
                   int part_vecs) {
  extern __shared__ Vec16 part[];
  __shared__ float scratch[64];
  __shared__ float cluster_max[kCluster];
  __shared__ float cluster_sum[kCluster];
  if constexpr (kCluster > 1) ClusterArrive();  // "I have started"
  const int64_t row = blockIdx.y;
  const uint32_t rank = kCluster > 1 ? ClusterRank() : 0;
  const int first = rank * part_vecs;
  const int count = max(0, min(part_vecs, a.vocabulary / 8 - first));
  __nv_bfloat16* logits = a.logits + row * a.row_stride + 8 * first;
  const int label = a.labels[row];
  const bool has_label = HasLabel(a, label);

  ExpSum mine;
  for (int i = threadIdx.x; i < count; i += kUnroll * kThreads) {
    Vec16 v[kUnroll];
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      const int at = i + u * kThreads;
      if (at < count) v[u] = cuda::LoadVec(logits + 8 * at);
    }
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      const int at = i + u * kThreads;
      if (at >= count) break;
      part[at] = v[u];
      float x[8];
      cuda::Unpack8(v[u], x);
      mine.Add(x);
    }
  }
  ExpSum all = ReduceBlock(mine, scratch);
  if constexpr (kCluster > 1) {
    ClusterWait();  // every block of the cluster has started
    if (threadIdx.x < kCluster) {
      StoreToBlock(&cluster_max[rank], threadIdx.x, all.max);
      StoreToBlock(&cluster_sum[rank], threadIdx.x, all.sum);
    }
    ClusterArrive();
    ClusterWait();
    all = ExpSum();
#pragma unroll
    for (int b = 0; b < kCluster; ++b)
      all.Merge(cluster_max[b], cluster_sum[b]);
  }
  // The block that holds the label, or the first one, writes the loss.
  const int label_in_part = label - 8 * first;
  const bool owner =
      has_label ? label_in_part >= 0 && label_in_part < 8 * count : rank == 0;
  if (owner && threadIdx.x == 0) {
    const float logit =
        has_label ? __bfloat162float(reinterpret_cast<const __nv_bfloat16*>(
                        part)[label_in_part])
                  : 0.0f;
    WriteLoss(a, row, all, has_label, logit);
  }

  const float shift = -all.max * cuda::kLog2E;
  const float scale = has_label ? a.gradient_scale / all.sum : 0.0f;
  for (int i = threadIdx.x; i < count; i += kThreads) {
    float x[8];
    cuda::Unpack8(part[i], x);
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      x[j] = scale * FastExp2(fmaf(x[j], cuda::kLog2E, shift));
      if (has_label && 8 * i + j == label_in_part) x[j] -= a.gradient_scale;
    }
    cuda::StoreVec(logits + 8 * i, cuda::Pack8(x));
  }
}

// Any size and alignment; grid (rows). Reads the row twice for the gradient.
__global__ void __launch_bounds__(kThreads)
    CrossEntropyAnyKernel(const __grid_constant__ Sm90CrossEntropyArgs a) {
  __shared__ float scratch[64];
  const int64_t row = blockIdx.x;
  __nv_bfloat16* logits = a.logits + row * a.row_stride;
  const int label = a.labels[row];
  const bool has_label = HasLabel(a, label);
  const float logit = has_label ? __bfloat162float(logits[label]) : 0.0f;
  ExpSum mine;
  for (int i = threadIdx.x; i < a.vocabulary; i += kThreads) {
    mine.Add(__bfloat162float(logits[i]));
  }
  const ExpSum all = ReduceBlock(mine, scratch);  // all have read the label
  if (threadIdx.x == 0) WriteLoss(a, row, all, has_label, logit);
  if (!a.write_gradient) return;
  const float scale = has_label ? a.gradient_scale / all.sum : 0.0f;
  for (int i = threadIdx.x; i < a.vocabulary; i += kThreads) {
    const float x = __bfloat162float(logits[i]);
    float g = scale * FastExp2((x - all.max) * cuda::kLog2E);
    if (has_label && i == label) g -= a.gradient_scale;
    logits[i] = __float2bfloat16(g);
  }
}

template <int kCluster>
cudaError_t LaunchGradient(const Sm90CrossEntropyArgs& a, cudaStream_t stream) {
  const int part_vecs =
      static_cast<int>(cuda::CeilDiv(a.vocabulary / 8, kCluster));
  return cuda::Launch(GradientKernel<kCluster>,
                      {.grid = dim3(kCluster, a.rows),
                       .block = dim3(kThreads),
                       .shared_bytes = part_vecs * sizeof(Vec16),
                       .cluster = kCluster,
                       .stream = stream},
                      a, part_vecs);
}

}  // namespace

cudaError_t LaunchSm90CrossEntropy(const Sm90CrossEntropyArgs& a,
                                   cudaStream_t stream) {
  if (a.rows < 0 || a.vocabulary <= 0) return cudaErrorInvalidValue;
  if (a.rows == 0) return cudaSuccess;
  const bool vectors = a.vocabulary % 8 == 0 && a.row_stride % 8 == 0 &&
                       cuda::IsAligned16(a.logits);
  const int64_t bytes = int64_t{2} * a.vocabulary;
  const cuda::LaunchShape shape = {
      .grid = dim3(a.rows), .block = dim3(kThreads), .stream = stream};
  if (vectors && !a.write_gradient) {
    return cuda::Launch(LossKernel, shape, a);
  }
  const bool fits =
      cuda::CeilDiv(bytes / 16, kMaxCluster) * 16 <= kMaxPartBytes;
  if (!vectors || !fits || a.rows > 65535) {
    return cuda::Launch(CrossEntropyAnyKernel, shape, a);
  }
  if (bytes <= kWantedPartBytes) return LaunchGradient<1>(a, stream);
  if (bytes <= 2 * kWantedPartBytes) return LaunchGradient<2>(a, stream);
  if (bytes <= 4 * kWantedPartBytes + 8192) return LaunchGradient<4>(a, stream);
  return LaunchGradient<8>(a, stream);
}

}  // namespace intarsia
