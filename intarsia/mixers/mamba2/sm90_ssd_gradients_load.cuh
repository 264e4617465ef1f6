// The shared memory of the gradient kernel (sm90_ssd_gradients.cuh has the
// picture), and the work of its four helper warps: loading, decays, the product
// of the states, and what follows from the sums of a head.
#pragma once

#include "intarsia/mixers/mamba2/sm90_ssd_ring.cuh"

namespace intarsia::sm90 {

struct SsdGradientParams : SsdProblem {
  CUtensorMap x, dy, b, c, dx;
  const float* skip;  // D or null
  // States before each chunk, and gradients of the states after it, as
  // SsdStatesKernel stores them.
  const uint8_t* states;
  const uint8_t* gradients;
  __nv_bfloat16* dx_out;
  __nv_bfloat16* db;
  __nv_bfloat16* dc;
  float* ddt;
  // dA, dD, d bias of a chunk; [SsdUnits of chunks, heads].
  float4* partial;
  int64_t dx_stride, db_stride, dc_stride, ddt_stride;
};

// What one head leaves for the gradients of its steps and decays. T[i, j] is
// the part of dy_i . y_i that comes from source j of the chunk.
struct alignas(16) SsdGradientSums {
  float targets[kSsdChunk];  // sum over j < i of T, and from the state before
  float sources[4][kSsdChunk];  // sum over i > j of T, by warps of 16 targets
  float diagonal[kSsdChunk];    // T[i, i]
  float skip[kSsdChunk];        // dy_i . x_i
  float later[kSsdChunk];       // what source j gives to later chunks
  float product;                // <state before, gradient of the state after>
};

template <class C>
struct SsdGradientShared {
  using WideTile = tile::PanelTile<kSsdChunk, C::kN>;
  struct Stage {
    alignas(1024) uint8_t state[WideTile::kBytes];
    alignas(1024) uint8_t gradient[WideTile::kBytes];
    alignas(1024) uint8_t x[SsdHeadTile::kBytes];
    alignas(1024) uint8_t dy[SsdHeadTile::kBytes];
  };
  alignas(1024) uint8_t b[WideTile::kBytes];
  alignas(1024) uint8_t c[WideTile::kBytes];
  Stage stages[C::kStages];
  alignas(1024) uint8_t dx[SsdHeadTile::kBytes];
  alignas(1024) uint8_t weights[SsdHeadTile::kBytes];
  alignas(16) SsdDecay decay[C::kStages];
  alignas(16) SsdGradientSums sums[2];
  uint64_t wide_full;
  uint64_t full[C::kStages], empty[C::kStages];
  uint64_t sums_full[2], sums_empty[2];
};

// What a block works on: a chunk and all heads of a group.
struct SsdGradientWork {
  int number, group, row, valid, head, heads;

  __device__ __forceinline__ explicit SsdGradientWork(
      const SsdGradientParams& p) {
    number = blockIdx.x / p.groups;
    group = blockIdx.x % p.groups;
    heads = p.heads / p.groups;
    head = group * heads;
    const SsdUnit unit = FindSsdUnit(p.packing, kSsdChunk, number);
    row = Uniform(unit.start + unit.block * kSsdChunk);
    const int left = unit.rows - unit.block * kSsdChunk;
    valid = Uniform(unit.exists ? min(kSsdChunk, left) : 0);
  }
};

template <class C>
class SsdGradientHelper {
 public:
  using Shared = SsdGradientShared<C>;
  using WideTile = typename Shared::WideTile;

  __device__ __forceinline__ SsdGradientHelper(const SsdGradientParams& p,
                                               Shared& shared,
                                               const SsdGradientWork& work)
      : p_(p), shared_(shared), work_(work), lane_(threadIdx.x % 32) {}

  // By one thread.
  __device__ __forceinline__ void Load() {
    ptx::MbarrierArriveExpect(&shared_.wide_full, 2 * WideTile::kBytes);
    SsdLoadWide<WideTile>(shared_.b, &p_.b, &shared_.wide_full, work_.group,
                          work_.row);
    SsdLoadWide<WideTile>(shared_.c, &p_.c, &shared_.wide_full, work_.group,
                          work_.row);
    tile::RingPosition<C::kStages> ring;
    for (int h = 0; h < work_.heads; ++h, ring.Next()) {
      auto& stage = shared_.stages[ring.stage];
      uint64_t* full = &shared_.full[ring.stage];
      const int head = work_.head + h;
      const int64_t at =
          (int64_t{work_.number} * p_.heads + head) * WideTile::kBytes;
      ptx::MbarrierWait(&shared_.empty[ring.stage], ring.phase ^ 1);
      ptx::MbarrierArriveExpect(full,
                                2 * WideTile::kBytes + 2 * SsdHeadTile::kBytes);
      ptx::TmaLoad3d(stage.dy, &p_.dy, full, 0, head, work_.row);
      ptx::TmaLoad3d(stage.x, &p_.x, full, 0, head, work_.row);
      ptx::BulkLoad(stage.gradient, p_.gradients + at, WideTile::kBytes, full);
      ptx::BulkLoad(stage.state, p_.states + at, WideTile::kBytes, full);
    }
  }

  // By one warp: the decays of each head.
  __device__ __forceinline__ void Decays() {
    tile::RingPosition<C::kStages> ring;
    StepQueue queue(*this);
    for (int h = 0; h < work_.heads; ++h, ring.Next()) {
      const SsdSums sums = Sums(work_.head + h, queue.Take(*this));
      ptx::MbarrierWait(&shared_.empty[ring.stage], ring.phase ^ 1);
      SsdStoreDecay(sums, &shared_.decay[ring.stage]);
      ptx::MbarrierArrive(&shared_.full[ring.stage]);
    }
  }

  // By one warp: the gradients of steps and decays of each head.
  __device__ __forceinline__ void Finishes() {
    tile::RingPosition<2> slot;
    StepQueue queue(*this);
    for (int h = 0; h < work_.heads; ++h, slot.Next()) {
      const float2 raw = queue.Take(*this);
      const SsdSums sums = Sums(work_.head + h, raw);
      ptx::MbarrierWait(&shared_.sums_full[slot.stage], slot.phase);
      Finish(work_.head + h, raw, sums, shared_.sums[slot.stage]);
      ptx::MbarrierArrive(&shared_.sums_empty[slot.stage]);
    }
  }

  // By one warp: <state before, gradient after> of each head.
  __device__ __forceinline__ void Products() {
    tile::RingPosition<C::kStages> ring;
    tile::RingPosition<2> slot;
    for (int h = 0; h < work_.heads; ++h, ring.Next(), slot.Next()) {
      ptx::MbarrierWait(&shared_.full[ring.stage], ring.phase);
      const auto& stage = shared_.stages[ring.stage];
      const uint4* a = reinterpret_cast<const uint4*>(stage.state);
      const uint4* b = reinterpret_cast<const uint4*>(stage.gradient);
      float sum[2] = {0, 0};
#pragma unroll 4
      for (int i = lane_; i < int(WideTile::kBytes) / 16; i += 32) {
        const uint4 u = a[i], v = b[i];
        AddProduct(sum, u.x, v.x);
        AddProduct(sum, u.y, v.y);
        AddProduct(sum, u.z, v.z);
        AddProduct(sum, u.w, v.w);
      }
      float total = sum[0] + sum[1];
#pragma unroll
      for (int step = 1; step < 32; step *= 2) {
        total += __shfl_xor_sync(~0u, total, step);
      }
      ptx::MbarrierArrive(&shared_.empty[ring.stage]);
      if (lane_ == 0) {
        ptx::MbarrierWait(&shared_.sums_empty[slot.stage], slot.phase ^ 1);
        shared_.sums[slot.stage].product = total;
        ptx::MbarrierArrive(&shared_.sums_full[slot.stage]);
      }
      __syncwarp();
    }
  }

 private:
  __device__ __forceinline__ static void AddProduct(float (&sum)[2], uint32_t u,
                                                    uint32_t v) {
    sum[0] = fmaf(__uint_as_float(u << 16), __uint_as_float(v << 16), sum[0]);
    sum[1] = fmaf(__uint_as_float(u & 0xFFFF0000u),
                  __uint_as_float(v & 0xFFFF0000u), sum[1]);
  }

  // Stored steps of the next heads, loaded ahead of their use.
  class StepQueue {
   public:
    __device__ __forceinline__ explicit StepQueue(
        const SsdGradientHelper& helper) {
#pragma unroll
      for (float2& x : ahead_) x = helper.LoadSteps(next_++);
    }
    __device__ __forceinline__ float2 Take(const SsdGradientHelper& helper) {
      const float2 first = ahead_[0];
#pragma unroll
      for (int i = 1; i < kAhead; ++i) ahead_[i - 1] = ahead_[i];
      ahead_[kAhead - 1] = helper.LoadSteps(next_++);
      return first;
    }

   private:
    static constexpr int kAhead = 3;
    int next_ = 0;
    float2 ahead_[kAhead];
  };

  // Of head h of the group.
  __device__ __forceinline__ float2 LoadSteps(int h) const {
    if (h >= work_.heads) return {0, 0};
    return SsdLoadSteps(p_.steps, work_.head + h, work_.row, work_.valid);
  }
  __device__ __forceinline__ float Bias(int head) const {
    return p_.steps.bias == nullptr ? 0.0f : p_.steps.bias[head];
  }
  __device__ __forceinline__ SsdSums Sums(int head, float2 raw) const {
    return SsdSumSteps(p_.steps, raw, work_.valid, Bias(head),
                       p_.steps.a[head] * 1.44269504089f);
  }
  // d step / d stored.
  __device__ __forceinline__ float Slope(float x) const {
    const float d = p_.steps.softplus ? SsdSoftplus(x) : x;
    if (d <= p_.steps.low || d >= p_.steps.high) return 0;
    return p_.steps.softplus ? 1.0f / (1.0f + __expf(-x)) : 1.0f;
  }

  __device__ __forceinline__ void Finish(int head, float2 raw, const SsdSums& s,
                                         const SsdGradientSums& sums) {
    const float2 slope = {Slope(raw.x + Bias(head)), Slope(raw.y + Bias(head))};
    const auto at = [&](const float(&v)[kSsdChunk]) {
      return reinterpret_cast<const float2*>(v)[lane_];
    };
    float2 sources{0, 0};
#pragma unroll
    for (int w = 0; w < 4; ++w) {
      const float2 part = at(sums.sources[w]);
      sources.x += part.x;
      sources.y += part.y;
    }
    const float2 targets = at(sums.targets), later = at(sums.later);
    const float2 diagonal = at(sums.diagonal);
    // The gradient of d_k A: pairs (target >= k, source < k), in this chunk and
    // across its borders.
    const float f0 = targets.x - sources.x, f1 = targets.y - sources.y;
    float after = f0 + f1;
#pragma unroll
    for (int step = 1; step < 32; step *= 2) {
      const float other = __shfl_down_sync(~0u, after, step);
      if (lane_ + step < 32) after += other;
    }
    after = __shfl_down_sync(~0u, after, 1);
    if (lane_ == 31) after = 0;
    float before = __shfl_up_sync(~0u, WarpPrefixSum(later.x + later.y), 1);
    if (lane_ == 0) before = 0;
    const float through = ptx::Exp2(s.last) * sums.product;
    const float decay1 = f1 + after + (before + later.x) + through;
    const float decay0 = f0 + f1 + after + before + through;

    const float a = p_.steps.a[head];
    const float direct0 =
        s.d0 > 0 ? (sources.x + diagonal.x + later.x) / s.d0 : 0.0f;
    const float direct1 =
        s.d1 > 0 ? (sources.y + diagonal.y + later.y) / s.d1 : 0.0f;
    const float ddt0 = slope.x * fmaf(a, decay0, direct0);
    const float ddt1 = slope.y * fmaf(a, decay1, direct1);
    const int i = 2 * lane_;
    float* out = p_.ddt + (work_.row + i) * p_.ddt_stride + head;
    if (i < work_.valid) out[0] = ddt0;
    if (i + 1 < work_.valid) out[p_.ddt_stride] = ddt1;

    const float2 skip = at(sums.skip);
    float da = s.d0 * decay0 + s.d1 * decay1;  // d is 0 past the end
    float dd = skip.x + skip.y;
    float bias =
        (i < work_.valid ? ddt0 : 0) + (i + 1 < work_.valid ? ddt1 : 0);
#pragma unroll
    for (int step = 1; step < 32; step *= 2) {
      da += __shfl_xor_sync(~0u, da, step);
      dd += __shfl_xor_sync(~0u, dd, step);
      bias += __shfl_xor_sync(~0u, bias, step);
    }
    if (lane_ == 0) {
      p_.partial[int64_t{work_.number} * p_.heads + head] = {da, dd, bias, 0};
    }
  }

  const SsdGradientParams& p_;
  Shared& shared_;
  const SsdGradientWork& work_;
  const int lane_;
};

}  // namespace intarsia::sm90
