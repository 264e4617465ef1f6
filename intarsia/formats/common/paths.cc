#include "intarsia/formats/common/paths.h"

#include <atomic>
#include <string_view>

#include "hwy/targets.h"

namespace intarsia::formats {
namespace {

std::atomic<bool> narrowed{false};

}  // namespace

// Asks the processor once: Highway's query costs microseconds under a
// hypervisor.
bool HasVnni() {
#if defined(__x86_64__)
  constexpr std::string_view kSimd = INTARSIA_SIMD_NAME;
  static const bool has = (kSimd == "dispatch" || kSimd == "avx512") &&
                          (hwy::SupportedTargets() & HWY_AVX3) != 0 &&
                          __builtin_cpu_supports("avx512vnni") &&
                          __builtin_cpu_supports("avx512vbmi");
  return has && !narrowed.load(std::memory_order_relaxed);
#else
  return false;
#endif
}

const PreparedKernels* IfVnni(PreparedTable table) {
  return HasVnni() ? &table() : nullptr;
}

void OnlyHighwayForTest(bool only) { narrowed = only; }

}  // namespace intarsia::formats
