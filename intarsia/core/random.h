// Counter-based random numbers: Philox-4x32-10 (Salmon et al. 2011, "Parallel
// random numbers: as easy as 1, 2, 3"). A value is a pure function of (seed,
// stream, counter), so any thread, batch or rank can make its own, and a
// recomputed block draws the same numbers again.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>

namespace intarsia {

class Random {
 public:
  explicit Random(uint64_t seed = 0, uint64_t stream = 0)
      : seed_(seed), stream_(stream) {}

  // An independent sequence, e.g. one per layer, request or worker.
  Random Fork(uint64_t stream) const {
    return Random(seed_, stream_ * 0x9E3779B97F4A7C15u + stream + 1);
  }

  // Four words for counter value `counter`, without touching the position.
  std::array<uint32_t, 4> At(uint64_t counter) const;

  uint32_t NextU32() {
    if (left_ == 0) {
      block_ = At(position_++);
      left_ = 4;
    }
    return block_[4 - left_--];
  }
  // [0, 1), 24 bits.
  float NextUniform() { return static_cast<float>(NextU32() >> 8) * 0x1p-24f; }
  // [0, n), n > 0, unbiased by rejection.
  uint32_t NextBelow(uint32_t n);
  float NextNormal();

 private:
  uint64_t seed_, stream_;
  uint64_t position_ = 0;
  std::array<uint32_t, 4> block_{};
  int left_ = 0;
};

}  // namespace intarsia
