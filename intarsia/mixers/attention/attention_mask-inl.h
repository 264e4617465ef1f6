// What a tile of scores goes through on the CPU, forward and backward: which
// columns a token sees, and the soft cap.
#if defined(INTARSIA_ATTENTION_MASK_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef INTARSIA_ATTENTION_MASK_INL
#undef INTARSIA_ATTENTION_MASK_INL
#else
#define INTARSIA_ATTENTION_MASK_INL
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <limits>

#include "intarsia/mixers/attention/attention_kernels.h"
#include "intarsia/mixers/attention/attention_tiles-inl.h"
#include "intarsia/ops/common/vector_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace intarsia::attention_internal {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
namespace math = intarsia::HWY_NAMESPACE;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// What a token sees of a tile, in columns of the tile.
struct Span {
  int64_t a0, a1, b0, b1;
  bool empty() const { return a0 >= a1 && b0 >= b1; }
  bool all() const {
    return (a0 == 0 && a1 == kTile) || (b0 == 0 && b1 == kTile);
  }
};

HWY_INLINE Span Clip(const Visible& see, int64_t tile) {
  const auto clip = [&](int64_t e) {
    return std::clamp<int64_t>(e - tile, 0, kTile);
  };
  return {clip(see.a0), clip(see.a1), clip(see.b0), clip(see.b1)};
}

// The columns of the tile that any token sees: [*j0, *j1), empty if none.
HWY_INLINE void Union(const Visible* visible, int64_t tokens, int64_t tile,
                      int64_t* j0, int64_t* j1) {
  *j0 = kTile;
  *j1 = 0;
  for (int64_t t = 0; t < tokens; ++t) {
    const Span span = Clip(visible[t], tile);
    if (span.a0 < span.a1) {
      *j0 = std::min(*j0, span.a0);
      *j1 = std::max(*j1, span.a1);
    }
    if (span.b0 < span.b1) {
      *j0 = std::min(*j0, span.b0);
      *j1 = std::max(*j1, span.b1);
    }
  }
}

// Gives the columns that the span leaves out the value `fill`.
HWY_INLINE void Mask(const Span& span, float fill, float* row) {
  if (span.all()) return;
  const bool has_a = span.a0 < span.a1, has_b = span.b0 < span.b1;
  int64_t j = 0;
  if (has_a) {
    std::fill(row, row + span.a0, fill);
    j = span.a1;
  }
  if (has_b) {
    std::fill(row + j, row + span.b0, fill);
    j = span.b1;
  }
  std::fill(row + j, row + kTile, fill);
}

// Of columns [j0, j1) of a tile: adds slope · (key's position − query's).
// positions: of the tile's entries; null: first + j.
HWY_INLINE void AddSlope(float slope, int32_t query, const int32_t* positions,
                         int64_t first, int64_t j0, int64_t j1, float* row) {
  for (int64_t j = j0; j < j1; ++j) {
    const int64_t key = positions != nullptr ? positions[j] : first + j;
    row[j] += slope * static_cast<float>(key - query);
  }
}

// Adds biases [j0, j1); −infinity where they are below `floor`.
HWY_INLINE void AddBias(const float* bias, float floor, int64_t j0, int64_t j1,
                        float* row) {
  for (int64_t j = j0; j < j1; ++j) {
    row[j] = bias[j] < floor ? -kInfinity : row[j] + bias[j];
  }
}

HWY_INLINE void Softcap(float cap, float* row) {
  const DF d;
  const VF c = hn::Set(d, cap), inverse = hn::Set(d, 1.0f / cap);
  for (int64_t j = 0; j < kTile; j += hn::Lanes(d)) {
    const VF x = hn::LoadU(d, row + j);
    hn::StoreU(hn::Mul(c, math::Tanh(d, hn::Mul(x, inverse))), d, row + j);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace intarsia::attention_internal
HWY_AFTER_NAMESPACE();

#endif  // the guard of one target
