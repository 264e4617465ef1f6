#include "intarsia/core/random.h"

#include "intarsia/core/check.h"

namespace intarsia {

std::array<uint32_t, 4> Random::At(uint64_t counter) const {
  std::array<uint32_t, 4> x = {
      static_cast<uint32_t>(counter), static_cast<uint32_t>(counter >> 32),
      static_cast<uint32_t>(stream_), static_cast<uint32_t>(stream_ >> 32)};
  uint32_t k0 = static_cast<uint32_t>(seed_);
  uint32_t k1 = static_cast<uint32_t>(seed_ >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53u} * x[0];
    const uint64_t p1 = uint64_t{0xCD9E8D57u} * x[2];
    x = {static_cast<uint32_t>(p1 >> 32) ^ x[1] ^ k0, static_cast<uint32_t>(p1),
         static_cast<uint32_t>(p0 >> 32) ^ x[3] ^ k1,
         static_cast<uint32_t>(p0)};
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return x;
}

uint32_t Random::NextBelow(uint32_t n) {
  CHECK_GT(n, 0u);
  const uint32_t limit = UINT32_MAX - UINT32_MAX % n;
  uint32_t x = NextU32();
  while (x >= limit) x = NextU32();
  return x % n;
}

float Random::NextNormal() {
  // Box-Muller; the second value is dropped to keep the state a counter.
  const float u = 1.0f - NextUniform();
  const float v = NextUniform();
  return std::sqrt(-2.0f * std::log(u)) * std::cos(6.28318530718f * v);
}

}  // namespace intarsia
