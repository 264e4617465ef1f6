// Gradients of one segment and key head, for the CPU.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "intarsia/mixers/attention/attention_backward_cpu.cc"
#include <hwy/foreach_target.h>
// After foreach_target.
#include <hwy/highway.h>

#include <algorithm>

#include "intarsia/mixers/attention/attention_kernels.h"
#include "intarsia/mixers/attention/attention_mask-inl.h"

HWY_BEFORE_NAMESPACE();
namespace intarsia::attention_internal {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
namespace math = intarsia::HWY_NAMESPACE;

HWY_INLINE float Dot(const float* a, const float* b, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += double{a[i]} * b[i];
  return static_cast<float>(sum);
}

// Scores → P = exp(score − lse); and dP → dScore = P (dP − delta), through the
// softcap.
template <class Shift>
HWY_INLINE void SoftmaxBackward(const Span& span, float softcap,
                                const Shift& shift, float lse, float delta,
                                float* scores, float* d_scores) {
  const DF d;
  if (span.empty()) {
    std::fill(scores, scores + kTile, 0.0f);
    std::fill(d_scores, d_scores + kTile, 0.0f);
    return;
  }
  if (softcap > 0) Softcap(softcap, scores);
  shift(scores);
  Mask(span, -kInfinity, scores);
  Mask(span, 0.0f, d_scores);
  const VF vlse = hn::Set(d, lse), vdelta = hn::Set(d, delta);
  const VF inverse = hn::Set(d, softcap > 0 ? 1.0f / softcap : 0.0f);
  for (int64_t j = 0; j < kTile; j += hn::Lanes(d)) {
    const VF s = hn::LoadU(d, scores + j);
    const VF p = math::Exp(d, hn::Sub(s, vlse));
    VF g = hn::Mul(p, hn::Sub(hn::LoadU(d, d_scores + j), vdelta));
    if (softcap > 0) {
      const VF slope = hn::Mul(s, inverse);  // tanh
      const VF steepness = hn::NegMulAdd(slope, slope, hn::Set(d, 1.0f));
      g = hn::IfThenElse(hn::Eq(p, hn::Zero(d)), hn::Zero(d),
                         hn::Mul(g, steepness));
    }
    hn::StoreU(p, d, scores + j);
    hn::StoreU(g, d, d_scores + j);
  }
}

void BackwardSegmentImpl(const BackwardArgs& args, float* scratch) {
  const int64_t group = args.group, rows = args.tokens * group;
  const int64_t kd = args.key_dim, vd = args.value_dim;
  const int64_t kp = Padded(kd), vp = Padded(vd);
  float* q = scratch;  // [rows, kp], scaled
  float* d_out = q + rows * kp;
  float* d_q = d_out + rows * vp;
  float* delta = d_q + rows * kp;
  float* keys = delta + Padded(rows);  // packed panels
  float* values = keys + kp * kTile;
  float* key_rows = values + vp * kTile;
  float* d_keys = key_rows + kTile * kp;
  float* d_values = d_keys + kTile * kp;
  float* scores = d_values + kTile * vp;
  const int64_t block = std::max<int64_t>(1, kRows / group) * group;
  float* d_scores = scores + block * kTile;
  float* buffer = d_scores + block * kTile;
  std::fill(scratch, keys, 0.0f);
  std::fill(keys, key_rows, 0.0f);
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t t = r / group, g = r % group;
    const float* from = args.q + t * args.q_stride + g * kd;
    for (int64_t i = 0; i < kd; ++i) q[r * kp + i] = args.scale * from[i];
    const int64_t at = t * args.out_stride + g * vd;
    std::copy(args.d_out + at, args.d_out + at + vd, d_out + r * vp);
    delta[r] = Dot(args.d_out + at, args.out + at, vd);
    if (args.d_lse) delta[r] -= args.d_lse[t * args.lse_stride + g];
  }
  EntryRows k, v;
  k.data = reinterpret_cast<const std::byte*>(args.k);
  k.stride = args.k_stride;
  v.data = reinterpret_cast<const std::byte*>(args.v);
  v.stride = args.v_stride;

  NoFetcher none;
  for (int64_t tile = 0; tile < args.keys; tile += kTile) {
    const int64_t count = std::min(kTile, args.keys - tile);
    const Right kt = LoadTransposed(k, tile, 0, count, kd, keys, buffer, none);
    const Right vt =
        LoadTransposed(v, tile, 0, count, vd, values, buffer, none);
    const Right plain = LoadRows(k, tile, tile + count, kd, key_rows, buffer);
    std::fill(d_keys, d_keys + kTile * kp, 0.0f);
    std::fill(d_values, d_values + kTile * vp, 0.0f);
    float bias[kTile];
    double d_bias[kTile] = {};
    for (int64_t j = 0; args.bias != nullptr && j < count; ++j) {
      bias[j] = args.bias[(tile + j) * args.bias_stride];
    }
    for (int64_t r0 = 0; r0 < rows; r0 += block) {
      const int64_t n = std::min(block, rows - r0);
      int64_t j0, j1;
      Union(args.visible + r0 / group, n / group, tile, &j0, &j1);
      if (j0 >= j1) continue;
      Product({q + r0 * kp, kp, 1}, kt, scores, kTile, n, kd, kTile, false);
      Product({d_out + r0 * vp, vp, 1}, vt, d_scores, kTile, n, vd, kTile,
              false);
      for (int64_t r = 0; r < n; ++r) {
        const int64_t t = (r0 + r) / group, g = (r0 + r) % group;
        const auto shift = [&](float* row) HWY_ATTR {
          if (args.slopes != nullptr) {
            AddSlope(args.slopes[g], args.query_positions[t],
                     args.positions + tile, tile, 0, count, row);
          }
          if (args.bias != nullptr) {
            AddBias(bias, args.floors ? args.floors[t] : -kInfinity, 0, count,
                    row);
          }
        };
        SoftmaxBackward(Clip(args.visible[t], tile), args.softcap, shift,
                        args.lse[t * args.lse_stride + g], delta[r0 + r],
                        scores + r * kTile, d_scores + r * kTile);
        for (int64_t j = 0; args.bias != nullptr && j < count; ++j) {
          d_bias[j] += d_scores[r * kTile + j];
        }
      }
      Product({scores, 1, kTile}, Plain(d_out + r0 * vp, vp), d_values, vp,
              count, n, vp, true);
      Product({d_scores, 1, kTile}, Plain(q + r0 * kp, kp), d_keys, kp, count,
              n, kp, true);
      Product({d_scores, kTile, 1}, plain, d_q + r0 * kp, kp, n, count, kp,
              true);
    }
    for (int64_t j = 0; j < count; ++j) {
      std::copy(d_keys + j * kp, d_keys + j * kp + kd,
                args.d_k + (tile + j) * args.k_stride);
      std::copy(d_values + j * vp, d_values + j * vp + vd,
                args.d_v + (tile + j) * args.v_stride);
      if (args.bias != nullptr) {
        args.d_bias[(tile + j) * args.bias_stride] =
            static_cast<float>(d_bias[j]);
      }
    }
  }
  for (int64_t r = 0; r < rows; ++r) {
    float* to = args.d_q + r / group * args.q_stride + r % group * kd;
    for (int64_t i = 0; i < kd; ++i) to[i] = args.scale * d_q[r * kp + i];
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace intarsia::attention_internal
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace intarsia::attention_internal {

HWY_EXPORT(BackwardSegmentImpl);

int64_t BackwardScratch(const BackwardArgs& args) {
  const int64_t rows = args.tokens * args.group;
  const int64_t kp = Padded(args.key_dim), vp = Padded(args.value_dim);
  const int64_t block = std::max<int64_t>(1, kRows / args.group) * args.group;
  return rows * (2 * kp + vp) + Padded(rows) + kTile * (3 * kp + 2 * vp) +
         2 * block * kTile + 5 * std::max(kp, vp);
}

void BackwardSegment(const BackwardArgs& args, float* scratch) {
  HWY_DYNAMIC_DISPATCH(BackwardSegmentImpl)(args, scratch);
}

}  // namespace intarsia::attention_internal
#endif  // HWY_ONCE
