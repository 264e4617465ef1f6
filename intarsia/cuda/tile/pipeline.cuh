// Position in a ring of kStages buffers, each with a "full" and an "empty"
// mbarrier. The consumer waits full[stage] at parity(); the producer waits
// empty[stage] at !parity(), which passes at once in the first round.
#pragma once

#include <cstdint>

namespace intarsia::tile {

template <int kStages>
struct RingPosition {
  uint32_t stage = 0;
  uint32_t phase = 0;

  __device__ __forceinline__ void Next() {
    if constexpr (kStages == 1) {
      phase ^= 1;
    } else {
      if (++stage == kStages) {
        stage = 0;
        phase ^= 1;
      }
    }
  }
};

}  // namespace intarsia::tile
