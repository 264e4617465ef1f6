#include "intarsia/formats/common/paths.h"

#include <atomic>
#include <string_view>

#include "hwy/targets.h"

namespace intarsia::formats {
namespace {

std::atomic<bool> narrowed{false};

#if defined(__x86_64__)
constexpr std::string_view kSimd = INTARSIA_SIMD_NAME;
constexpr bool kDispatch = kSimd == "dispatch";
#endif

bool Narrowed() { return narrowed.load(std::memory_order_relaxed); }

}  // namespace

// These ask the processor once: Highway's query costs microseconds under a
// hypervisor.
bool HasVnni() {
#if defined(__x86_64__)
  static const bool has = (kDispatch || kSimd == "avx512") &&
                          (hwy::SupportedTargets() & HWY_AVX3) != 0 &&
                          __builtin_cpu_supports("avx512vnni") &&
                          __builtin_cpu_supports("avx512vbmi");
  return has && !Narrowed();
#else
  return false;
#endif
}

bool HasMadd() {
#if defined(__x86_64__)
  static const bool has = (kDispatch || kSimd == "avx2") &&
                          (hwy::SupportedTargets() & HWY_AVX2) != 0;
  return has && !Narrowed();
#else
  return false;
#endif
}

const PreparedKernels* IntegerPath(PreparedTable vnni, PreparedTable madd) {
  if (HasVnni()) return &vnni();
  if (HasMadd()) return &madd();
  return nullptr;
}

const PreparedKernels* PackedPath(PreparedTable madd) {
  return HasMadd() ? &madd() : nullptr;
}

void OnlyHighwayForTest(bool only) { narrowed = only; }

}  // namespace intarsia::formats
