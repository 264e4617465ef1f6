// Four lanes and no fused operation on every instruction set: the same bits.
#include "intarsia/formats/common/scale_search.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "hwy/highway.h"
#include "intarsia/core/dtype.h"

namespace intarsia::formats {
namespace {

namespace hn = hwy::HWY_NAMESPACE;
using D = hn::Full128<float>;
using V = hn::Vec<D>;
constexpr int kLanes = 4;
constexpr int kSuper = 256;
// How often codes and scales take turns.
constexpr int kRounds = 3;

struct Moments {
  float wq = 0, wqq = 0, wxq = 0;
};

// Codes of a uniform set for x · inverse + shift.
struct Uniform {
  Uniform(int lo, int hi)
      : low(hn::Set(D(), static_cast<float>(lo))),
        high(hn::Set(D(), static_cast<float>(hi))) {}
  V Nearest(V scaled) const {
    return hn::Min(hn::Max(hn::Round(scaled), low), high);
  }
  V Index(V, V number) const { return number; }
  V low, high;
};

// Numbers of a table: a step up at each middle between two of them.
struct Table {
  explicit Table(const int8_t* values) {
    first = values[0];
    for (int i = 0; i < 15; ++i) {
      middle[i] = 0.5f * static_cast<float>(values[i] + values[i + 1]);
      step[i] = static_cast<float>(values[i + 1] - values[i]);
    }
  }
  V Nearest(V scaled) const {
    V number = hn::Set(D(), first);
    for (int i = 0; i < 15; ++i) {
      const auto above = hn::Gt(scaled, hn::Set(D(), middle[i]));
      number =
          hn::Add(number, hn::IfThenElseZero(above, hn::Set(D(), step[i])));
    }
    return number;
  }
  V Index(V scaled, V) const {
    V index = hn::Zero(D());
    for (int i = 0; i < 15; ++i) {
      const auto above = hn::Gt(scaled, hn::Set(D(), middle[i]));
      index = hn::Add(index, hn::IfThenElseZero(above, hn::Set(D(), 1.0f)));
    }
    return index;
  }
  float first, middle[15], step[15];
};

float Sum(V v) { return hn::GetLane(hn::SumOfLanes(D(), v)); }

template <class Set>
Moments MomentsOf(const Set& set, const float* x, const float* w, int n,
                  float inverse, float shift) {
  const D d;
  const V by = hn::Set(d, inverse), from = hn::Set(d, shift);
  V wq = hn::Zero(d), wqq = hn::Zero(d), wxq = hn::Zero(d);
  for (int i = 0; i < n; i += kLanes) {
    const V xs = hn::LoadU(d, x + i);
    const V q = set.Nearest(hn::Add(hn::Mul(xs, by), from));
    const V weighted = hn::Mul(hn::LoadU(d, w + i), q);
    wq = hn::Add(wq, weighted);
    wqq = hn::Add(wqq, hn::Mul(weighted, q));
    wxq = hn::Add(wxq, hn::Mul(weighted, xs));
  }
  return {Sum(wq), Sum(wqq), Sum(wxq)};
}

// Σ w (scale q + minimum - x)² with the nearest codes; writes them unless null.
template <class Set>
float ErrorOf(const Set& set, const float* x, const float* w, int n,
              LinearFit fit, int8_t* codes) {
  const D d;
  const float inverse = fit.scale != 0 ? 1.0f / fit.scale : 0.0f;
  const V by = hn::Set(d, std::isfinite(inverse) ? inverse : 0.0f);
  const V scale = hn::Set(d, fit.scale), minimum = hn::Set(d, fit.minimum);
  V error = hn::Zero(d);
  for (int i = 0; i < n; i += kLanes) {
    const V xs = hn::LoadU(d, x + i);
    const V scaled = hn::Mul(hn::Sub(xs, minimum), by);
    const V q = set.Nearest(scaled);
    const V off = hn::Sub(hn::Add(hn::Mul(q, scale), minimum), xs);
    error = hn::Add(error, hn::Mul(hn::LoadU(d, w + i), hn::Mul(off, off)));
    if (codes == nullptr) continue;
    float index[kLanes];
    hn::StoreU(set.Index(scaled, q), d, index);
    for (int j = 0; j < kLanes; ++j)
      codes[i + j] = static_cast<int8_t>(index[j]);
  }
  return Sum(error);
}

// Calls f with the set's own type.
template <class F>
auto With(const CodeSet& set, F f) {
  if (set.table != nullptr) return f(Table(set.table));
  return f(Uniform(set.lo, set.hi));
}

float ToHalfAndBack(float x) { return ToFloat(ToF16(x)); }

// The number of largest size, with its sign.
float Extreme(const float* x, int n) {
  return *std::max_element(
      x, x + n, [](float a, float b) { return std::abs(a) < std::abs(b); });
}

template <class Set>
float FitScaleOf(const Set& set, float lo, float hi, const float* x,
                 const float* w, int n) {
  const float extreme = Extreme(x, n);
  if (!(std::abs(extreme) > 1e-30f)) return 0.0f;
  float best_scale = 0, best_gain = 0;
  auto consider = [&](float inverse) {
    const Moments s = MomentsOf(set, x, w, n, inverse, 0);
    if (!(s.wqq > 0)) return false;
    const float gain = s.wxq * s.wxq / s.wqq;  // error taken from Σ w x²
    if (!(gain > best_gain)) return false;
    best_gain = gain;
    best_scale = s.wxq / s.wqq;
    return true;
  };
  // The extreme near the end of either side.
  const float apart = std::max(0.1f, std::abs(lo) / 128);
  for (int t = -9; t <= 9; ++t) {
    const float step = apart * static_cast<float>(t);
    consider((lo + step) / extreme);
    consider((hi + step) / extreme);
  }
  for (int t = 0; t < kRounds; ++t) {
    if (best_scale == 0 || !consider(1.0f / best_scale)) break;
  }
  return std::isfinite(best_scale) ? best_scale : 0.0f;
}

}  // namespace

void ErrorCosts(const float* x, const float* importance, int n, float* w) {
  double squares = 0;
  for (int i = 0; i < n; ++i) squares += double{x[i]} * x[i];
  const float mean = static_cast<float>(squares / n), root = std::sqrt(mean);
  bool any = false;
  for (int i = 0; i < n; ++i) {
    w[i] = importance == nullptr
               ? root + std::abs(x[i])
               : importance[i] * std::sqrt(mean + x[i] * x[i]);
    any = any || w[i] > 0;
  }
  if (!any) std::fill_n(w, n, 1.0f);  // the matrix knows nothing here
}

float FitScale(const CodeSet& set, const float* x, const float* w, int n) {
  const float lo = set.table ? set.table[0] : static_cast<float>(set.lo);
  const float hi = set.table ? set.table[15] : static_cast<float>(set.hi);
  return With(set,
              [&](const auto& of) { return FitScaleOf(of, lo, hi, x, w, n); });
}

float NearestCodes(const CodeSet& set, const float* x, const float* w, int n,
                   float scale, int8_t* codes) {
  return With(set, [&](const auto& of) {
    return ErrorOf(of, x, w, n, {scale, 0}, codes);
  });
}

float FitStoredScale(const CodeSet& set, const float* x, const float* w, int n,
                     float plain) {
  const float found = ToHalfAndBack(FitScale(set, x, w, n));
  plain = ToHalfAndBack(plain);
  const float cost = NearestCodes(set, x, w, n, found, nullptr);
  return cost < NearestCodes(set, x, w, n, plain, nullptr) ? found : plain;
}

LinearFit FitLinear(int hi, const float* x, const float* w, int n,
                    bool free_minimum) {
  const auto [low, high] = std::minmax_element(x, x + n);
  const float from = free_minimum ? *low : std::min(*low, 0.0f);
  const float range = *high - from;
  if (!(range > 1e-30f)) return {0, from};
  double sw = 0, sx = 0, sxx = 0;
  for (int i = 0; i < n; ++i) {
    sw += w[i];
    sx += double{w[i]} * x[i];
    sxx += double{w[i]} * x[i] * x[i];
  }
  const Uniform set(0, hi);
  LinearFit best{range / static_cast<float>(hi), from};
  double least = ErrorOf(set, x, w, n, best, nullptr);
  auto consider = [&](float inverse, float minimum) {
    const Moments s = MomentsOf(set, x, w, n, inverse, -minimum * inverse);
    const double det = sw * s.wqq - double{s.wq} * s.wq;
    if (!(det > 0)) return false;
    double scale = (sw * s.wxq - sx * s.wq) / det;
    double offset = (s.wqq * sx - double{s.wq} * s.wxq) / det;
    if (offset > 0 && !free_minimum) {
      offset = 0;
      scale = s.wxq / double{s.wqq};
    }
    const double error =
        sxx + scale * scale * s.wqq + offset * offset * sw +
        2 * (scale * offset * s.wq - scale * s.wxq - offset * sx);
    if (!(error < least) || !(scale > 0)) return false;
    least = error;
    best = {static_cast<float>(scale), static_cast<float>(offset)};
    return true;
  };
  for (int t = -10; t <= 10; ++t) {
    consider((static_cast<float>(hi) + 0.1f * static_cast<float>(t)) / range,
             from);
  }
  for (int t = 0; t < kRounds; ++t) {
    const float inverse = 1.0f / best.scale;
    if (!std::isfinite(inverse) || !consider(inverse, best.minimum)) break;
  }
  return best;
}

float NearestCodes(int hi, const float* x, const float* w, int n, LinearFit fit,
                   int8_t* codes) {
  return ErrorOf(Uniform(0, hi), x, w, n, fit, codes);
}

LinearFit FitStoredLinear(int hi, const float* x, const float* w, int n,
                          LinearFit plain) {
  const auto stored = [](LinearFit fit) {
    return LinearFit{ToHalfAndBack(fit.scale), ToHalfAndBack(fit.minimum)};
  };
  const LinearFit found = stored(FitLinear(hi, x, w, n, true));
  plain = stored(plain);
  const float cost = NearestCodes(hi, x, w, n, found, nullptr);
  return cost < NearestCodes(hi, x, w, n, plain, nullptr) ? found : plain;
}

namespace {

// Scales near s / d with the least error, for each group, and what d they then
// ask for. Returns the error of all.
template <class Set>
double ChooseScales(const Set& set, int group, int lo, int hi, const float* x,
                    const float* w, const float* wanted, ScaledBlock* block,
                    float* next_d) {
  double error = 0, wxa = 0, waa = 0;
  for (int g = 0; g < kSuper / group; ++g) {
    const float* xs = x + g * group;
    const float* ws = w + g * group;
    const float exact = block->d != 0 ? wanted[g] / block->d : 0.0f;
    const int near = static_cast<int>(
        std::clamp(std::nearbyint(exact), float(lo), float(hi)));
    float least = INFINITY;
    for (int l = std::max(lo, near - 1); l <= std::min(hi, near + 1); ++l) {
      const float scale = block->d * static_cast<float>(l);
      const float e = ErrorOf(set, xs, ws, group, {scale, 0}, nullptr);
      if (e < least) {
        least = e;
        block->scales[g] = static_cast<int8_t>(l);
      }
    }
    const float l = block->scales[g], scale = block->d * l;
    error += ErrorOf(set, xs, ws, group, {scale, 0}, block->codes + g * group);
    if (scale == 0) continue;
    const Moments s = MomentsOf(set, xs, ws, group, 1.0f / scale, 0);
    wxa += double{l} * s.wxq;
    waa += double{l} * l * s.wqq;
  }
  *next_d = waa > 0 ? ToHalfAndBack(static_cast<float>(wxa / waa)) : block->d;
  return error;
}

}  // namespace

void FitScaledBlock(const CodeSet& set, int group, int scale_lo, int scale_hi,
                    const float* x, const float* w, ScaledBlock* out) {
  float wanted[16];
  const int groups = kSuper / group;
  for (int g = 0; g < groups; ++g) {
    wanted[g] = FitScale(set, x + g * group, w + g * group, group);
  }
  float next = ToHalfAndBack(Extreme(wanted, groups) / float(scale_lo));
  double least = INFINITY;
  ScaledBlock block = {};
  *out = block;
  With(set, [&](const auto& of) {
    for (int round = 0; round < kRounds; ++round) {
      block.d = next;
      const double error = ChooseScales(of, group, scale_lo, scale_hi, x, w,
                                        wanted, &block, &next);
      if (!(error < least)) break;
      least = error;
      *out = block;
      if (next == block.d) break;
    }
  });
}

namespace {

// The same for scales and minima. The next d and dmin solve the normal
// equations of x ≈ d (l q) - dmin k over all groups.
double ChoosePairs(int hi, int group, int scale_hi, const float* x,
                   const float* w, const LinearFit* wanted, LinearBlock* block,
                   float* next_d, float* next_dmin) {
  const Uniform set(0, hi);
  double error = 0, aa = 0, ab = 0, bb = 0, xa = 0, xb = 0;
  for (int g = 0; g < kSuper / group; ++g) {
    const float* xs = x + g * group;
    const float* ws = w + g * group;
    auto near = [&](float value, float unit) {
      const float exact = unit != 0 ? value / unit : 0.0f;
      return static_cast<int>(
          std::clamp(std::nearbyint(exact), 0.0f, float(scale_hi)));
    };
    const int near_l = near(wanted[g].scale, block->d);
    const int near_k = near(-wanted[g].minimum, block->dmin);
    auto fit = [&](int l, int k) {
      return LinearFit{block->d * float(l), -(block->dmin * float(k))};
    };
    float least = INFINITY;
    for (int l = std::max(0, near_l - 1); l <= std::min(scale_hi, near_l + 1);
         ++l) {
      for (int k = std::max(0, near_k - 1); k <= std::min(scale_hi, near_k + 1);
           ++k) {
        const float e = ErrorOf(set, xs, ws, group, fit(l, k), nullptr);
        if (!(e < least)) continue;
        least = e;
        block->scales[g] = static_cast<uint8_t>(l);
        block->minima[g] = static_cast<uint8_t>(k);
      }
    }
    const double l = block->scales[g], k = block->minima[g];
    int8_t* codes = block->codes + g * group;
    error += ErrorOf(set, xs, ws, group, fit(int(l), int(k)), codes);
    for (int i = 0; i < group; ++i) {
      const double a = l * codes[i];
      aa += ws[i] * a * a, ab += ws[i] * a * k, bb += ws[i] * k * k;
      xa += double{ws[i]} * xs[i] * a, xb += double{ws[i]} * xs[i] * k;
    }
  }
  *next_d = block->d, *next_dmin = block->dmin;
  const double det = aa * bb - ab * ab;
  if (det > 1e-9 * aa * bb) {
    const double d = (xa * bb - ab * xb) / det, m = (ab * xa - aa * xb) / det;
    if (d > 0 && m > 0) {
      *next_d = ToHalfAndBack(static_cast<float>(d));
      *next_dmin = ToHalfAndBack(static_cast<float>(m));
    }
  } else if (aa > 0 && bb == 0) {
    *next_d = ToHalfAndBack(static_cast<float>(xa / aa));
  }
  return error;
}

}  // namespace

void FitLinearBlock(int hi, int group, int scale_hi, const float* x,
                    const float* w, LinearBlock* out) {
  LinearFit wanted[16];
  float largest = 0, deepest = 0;
  for (int g = 0; g < kSuper / group; ++g) {
    wanted[g] = FitLinear(hi, x + g * group, w + g * group, group, false);
    largest = std::max(largest, wanted[g].scale);
    deepest = std::max(deepest, -wanted[g].minimum);
  }
  float next_d = ToHalfAndBack(largest / float(scale_hi));
  float next_dmin = ToHalfAndBack(deepest / float(scale_hi));
  double least = INFINITY;
  LinearBlock block = {};
  *out = block;
  for (int round = 0; round < kRounds; ++round) {
    block.d = next_d, block.dmin = next_dmin;
    const double error = ChoosePairs(hi, group, scale_hi, x, w, wanted, &block,
                                     &next_d, &next_dmin);
    if (!(error < least)) break;
    least = error;
    *out = block;
    if (next_d == block.d && next_dmin == block.dmin) break;
  }
}

}  // namespace intarsia::formats
