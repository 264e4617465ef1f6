// The example of intarsia/cuda/README.md: attention forward from the plainest
// kernel to one that is nearly the one in use, each checked and timed on one
// shape.
#include <cmath>

#include "bench/kernels/gpu/more_cases.h"
#include "intarsia/mixers/attention/sm90_attention_bench.h"
#include "intarsia/mixers/attention/sm90_attention_forward.cuh"

namespace intarsia::bench {
namespace {

constexpr int kHeadDim = 128;

// A warp a query: 32 lanes share the channels, keys one after another. No
// tensor cores, no reuse of K and V but through the caches. Square sequences
// of one length, no mask.
__global__ void PlainKernel(const Sm90AttentionForwardArgs a) {
  constexpr int kPerLane = kHeadDim / 32;
  const int lane = threadIdx.x % 32;
  const int row = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32;
  const int head = blockIdx.y;
  const int start = row / a.max_seqlen_q * a.max_seqlen_q;
  const auto load = [&](const __nv_bfloat16* from, int64_t stride, int r,
                        float(&x)[kPerLane]) {
    for (int c = 0; c < kPerLane; ++c) {
      x[c] =
          __bfloat162float(from[r * stride + head * kHeadDim + c * 32 + lane]);
    }
  };
  float q[kPerLane], x[kPerLane], out[kPerLane] = {};
  float largest = -INFINITY, sum = 0;
  load(a.q, a.q_row_stride, row, q);
  for (int j = start; j < start + a.max_seqlen_k; ++j) {
    load(a.k, a.k_row_stride, j, x);
    float score = 0;
    for (int c = 0; c < kPerLane; ++c) score += q[c] * x[c];
    for (int step = 1; step < 32; step *= 2) {
      score += __shfl_xor_sync(~0u, score, step);
    }
    score *= a.scale;
    const float before = largest;
    largest = fmaxf(largest, score);
    const float shrink = __expf(before - largest);
    const float weight = __expf(score - largest);
    sum = sum * shrink + weight;
    load(a.v, a.v_row_stride, j, x);
    for (int c = 0; c < kPerLane; ++c) {
      out[c] = out[c] * shrink + weight * x[c];
    }
  }
  for (int c = 0; c < kPerLane; ++c) {
    a.out[row * a.out_row_stride + head * kHeadDim + c * 32 + lane] =
        __float2bfloat16_rn(out[c] / sum);
  }
  if (lane == 0) a.lse[head * a.total_q + row] = largest + __logf(sum);
}

cudaError_t Plain(const Sm90AttentionForwardArgs& args, cudaStream_t stream) {
  PlainKernel<<<dim3(args.total_q / 8, args.heads), 256, 0, stream>>>(args);
  return cudaGetLastError();
}

template <int kW, int kKeys, int kS, bool kTurns, bool kLazily>
struct Step : sm90::ForwardDefaults {
  static constexpr int kHeadDim = 128;
  static constexpr int kWarpgroups = kW;
  static constexpr int kBlockKeys = kKeys;
  static constexpr int kStages = kS;
  static constexpr bool kPingPong = kTurns;
  static constexpr bool kLazy = kLazily;
};

template <class C>
cudaError_t Launch(const Sm90AttentionForwardArgs& args, cudaStream_t stream) {
  return sm90::LaunchForward<C, sm90::Mask::kNone>(args, stream);
}

}  // namespace

std::vector<GpuCase> AttentionSteps() {
  const ForwardVariant steps[] = {
      {"0 a warp a query, no tensor cores", 128, false, Plain},
      {"1 TMA, wgmma, one warpgroup, one stage", 128, false,
       Launch<Step<1, 64, 1, 0, 0>>},
      {"2 two stages", 128, false, Launch<Step<1, 64, 2, 0, 0>>},
      {"3 two warpgroups share K and V", 128, false,
       Launch<Step<2, 64, 2, 0, 0>>},
      {"4 128 keys a block", 128, false, Launch<Step<2, 128, 2, 0, 0>>},
      {"5 warpgroups take turns", 128, false, Launch<Step<2, 128, 2, 1, 0>>},
      {"6 rescale only when it matters", 128, false,
       Launch<Step<2, 128, 2, 1, 1>>},
      {"7 160 keys a block", 128, false, Launch<Step<2, 160, 2, 1, 1>>},
  };
  AttentionShape shape;
  shape.name = "full 4096";
  shape.lengths.assign(4, {4096, 4096});
  shape.heads = shape.kv_heads = 16;
  shape.use = GpuCase::Use::kTimed;
  std::vector<GpuCase> cases;
  for (const ForwardVariant& step : steps) {
    cases.push_back(AttentionForwardCase(shape, step));
    cases.back().name = "attention_steps.sm90.forward." + step.name;
  }
  return cases;
}

}  // namespace intarsia::bench
