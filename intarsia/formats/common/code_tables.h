// The numbers that 4-bit codes stand for in formats with uneven steps.
#pragma once

#include <cstdint>

namespace intarsia::formats {

// iq4_nl and iq4_xs: dense near zero.
inline constexpr int8_t kIq4Values[16] = {
    -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

// mxfp4: E2M1 times two.
inline constexpr int8_t kMxfp4Values[16] = {0, 1,  2,  3,  4,  6,  8,  12,
                                            0, -1, -2, -3, -4, -6, -8, -12};

}  // namespace intarsia::formats
