#include "intarsia/formats/common/matmul.h"

#include <cstdlib>

#include "intarsia/core/check.h"
#include "intarsia/formats/common/paths.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "intarsia/formats/common/matmul_cpu.cc"
#include "hwy/foreach_target.h"
// Highway's order: foreach_target.h comes first.
#include "hwy/highway.h"
#include "intarsia/formats/common/matmul-inl.h"

HWY_BEFORE_NAMESPACE();
namespace intarsia::formats::HWY_NAMESPACE {
namespace {

struct Block {
  static constexpr size_t kBytes = kBlockNumbers * sizeof(float);
  struct State {};
  static HWY_INLINE State Begin(D, const uint8_t*) { return {}; }
  static HWY_INLINE V Get(D d, const uint8_t* block, State, int v) {
    const hn::Repartition<uint8_t, D> du8;
    return hn::BitCast(d, hn::LoadU(du8, block + v * kLanes * sizeof(float)));
  }
};

void DotOfF32(const DotArgs& args) { Dot<Block>(args); }

// Columns [0, K·lanes) of up to M rows of Y.
template <class Tag, int M, int K>
HWY_INLINE void SumTile(Tag d, const SumArgs& a, int64_t m, int64_t k) {
  constexpr int64_t lanes = MaxLanes(Tag());
  const float* x = a.x + m * a.x_stride;
  const float* w = reinterpret_cast<const float*>(a.w) + k;
  float* y = a.y + m * a.y_stride + k;
  hn::Vec<Tag> sum[M][K];
  INTARSIA_UNROLL
  for (int i = 0; i < M; ++i) {
    INTARSIA_UNROLL
    for (int j = 0; j < K; ++j) {
      sum[i][j] =
          a.add ? hn::LoadU(d, y + i * a.y_stride + j * lanes) : hn::Zero(d);
    }
  }
  for (int64_t n = 0; n < a.n; ++n) {
    hn::Vec<Tag> ws[K];
    INTARSIA_UNROLL
    for (int j = 0; j < K; ++j) ws[j] = hn::LoadU(d, w + j * lanes);
    INTARSIA_UNROLL
    for (int i = 0; i < M; ++i) {
      const auto xs = hn::Set(d, x[i * a.x_stride + n]);
      INTARSIA_UNROLL
      for (int j = 0; j < K; ++j) sum[i][j] = hn::MulAdd(xs, ws[j], sum[i][j]);
    }
    w += a.w_stride / sizeof(float);
  }
  INTARSIA_UNROLL
  for (int i = 0; i < M; ++i) {
    INTARSIA_UNROLL
    for (int j = 0; j < K; ++j) {
      hn::StoreU(sum[i][j], d, y + i * a.y_stride + j * lanes);
    }
  }
}

// A sum's bits do not depend on the tile that holds it: each is one chain of
// multiply-adds over n, in a wide vector or in a lane of its own.
template <int M>
void SumRows(const SumArgs& a, int64_t m) {
  constexpr int kWide = 64 / kLanes >= 4 ? (HWY_MAX_BYTES == 64 ? 4 : 2) : 1;
  int64_t k = 0;
  for (; k + kWide * kLanes <= a.k; k += kWide * kLanes) {
    SumTile<D, M, kWide>(D(), a, m, k);
  }
  for (; k + kLanes <= a.k; k += kLanes) SumTile<D, M, 1>(D(), a, m, k);
  using One = hn::CappedTag<float, 1>;
  for (; k < a.k; ++k) SumTile<One, M, 1>(One(), a, m, k);
}

void SumOfF32(const SumArgs& a) {
  int64_t m = 0;
  for (; m + 4 <= a.m; m += 4) SumRows<4>(a, m);
  for (; m < a.m; ++m) SumRows<1>(a, m);
}

bool HasWideTiles() { return kWideM > kTileM; }
const char* NameOfTarget() { return hwy::TargetName(HWY_TARGET); }

}  // namespace
}  // namespace intarsia::formats::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace intarsia::formats {

HWY_EXPORT(DotOfF32);
HWY_EXPORT(SumOfF32);
HWY_EXPORT(HasWideTiles);
HWY_EXPORT(NameOfTarget);

void DotF32(const DotArgs& args) { HWY_DYNAMIC_DISPATCH(DotOfF32)(args); }
void SumF32(const SumArgs& args) { HWY_DYNAMIC_DISPATCH(SumOfF32)(args); }
bool WideTiles() { return HWY_DYNAMIC_DISPATCH(HasWideTiles)(); }
const char* SimdTargetName() { return HWY_DYNAMIC_DISPATCH(NameOfTarget)(); }

std::vector<std::string> EachSimdTarget() {
  std::vector<std::string> names;
  for (const int64_t target : hwy::SupportedAndGeneratedTargets()) {
    names.push_back(hwy::TargetName(target));
  }
  return names;
}

void SetSimdTargetForTest(const std::string& name) {
  const char* const only = std::getenv("INTARSIA_TEST_SIMD");
  const std::string wanted = name.empty() && only != nullptr ? only : name;
  hwy::SetSupportedTargetsForTest(0);  // what the CPU has
  int64_t chosen = 0;
  for (const int64_t target : hwy::SupportedAndGeneratedTargets()) {
    if (hwy::TargetName(target) == wanted) chosen = target;
  }
  CHECK(wanted.empty() || chosen != 0) << wanted << " is not in this build";
  hwy::SetSupportedTargetsForTest(chosen);
  hwy::GetChosenTarget().Update(hwy::SupportedTargets());
}

}  // namespace intarsia::formats
#endif
