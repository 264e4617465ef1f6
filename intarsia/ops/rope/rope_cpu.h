// Kernels of rotary embedding.
#pragma once

#include <cstdint>

namespace intarsia::rope {

// cosine[i] = scale · cos(position · frequencies[i]), likewise sine, with the
// angle rounded to fp32 before, as published models compute it.
void Angles(int64_t pairs, float position, const float* frequencies,
            float scale, float* cosine, float* sine);

// Rotates one head's pairs (a, b) → (a cos − b sin, b cos + a sin): (i, i +
// pairs), or (2i, 2i + 1) if interleaved. With `inverse` by the angles'
// negatives. y must not overlap x.
void Rotate(int64_t pairs, bool interleaved, bool inverse, const float* x,
            const float* cosine, const float* sine, float* y);

}  // namespace intarsia::rope
