#include "intarsia/formats/common/paths.h"

#include <atomic>
#include <string_view>

#include "hwy/targets.h"

namespace intarsia::formats {
namespace {

std::atomic<Integers> chosen{Integers::kBest};

// What the CPU has, and whether the build is for it.
struct Has {
  bool cpu = false, build = false;
  bool operator()(Integers which) const {
    const Integers only = chosen.load(std::memory_order_relaxed);
    return cpu && (only == Integers::kBest ? build : only == which);
  }
};

#if defined(__x86_64__)
constexpr std::string_view kSimd = INTARSIA_SIMD_NAME;
constexpr bool kDispatch = kSimd == "dispatch";
#endif

// These ask the processor once: Highway's query costs microseconds under a
// hypervisor.
const Has& Vnni() {
  static const Has has = [] {
    Has has;
#if defined(__x86_64__)
    has.cpu = (hwy::SupportedTargets() & HWY_AVX3) != 0 &&
              __builtin_cpu_supports("avx512vnni") &&
              __builtin_cpu_supports("avx512vbmi");
    has.build = kDispatch || kSimd == "avx512";
#endif
    return has;
  }();
  return has;
}

const Has& Madd() {
  static const Has has = [] {
    Has has;
#if defined(__x86_64__)
    has.cpu = (hwy::SupportedTargets() & HWY_AVX2) != 0;
    has.build = kDispatch || kSimd == "avx2" || kSimd == "test";
#endif
    return has;
  }();
  return has;
}

}  // namespace

bool HasVnni() { return Vnni()(Integers::kVnni); }
bool HasMadd() { return Madd()(Integers::kMadd); }

const PreparedKernels* IntegerPath(PreparedTable vnni, PreparedTable madd) {
  if (HasVnni()) return &vnni();
  if (HasMadd()) return &madd();
  return nullptr;
}

void SetIntegersForTest(Integers integers) { chosen = integers; }

std::vector<Integers> EachIntegersForTest() {
  std::vector<Integers> each;
  if (Vnni().cpu) each.push_back(Integers::kVnni);
  if (Madd().cpu) each.push_back(Integers::kMadd);
  each.push_back(Integers::kNone);
  return each;
}

}  // namespace intarsia::formats
