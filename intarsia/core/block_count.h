// For tests: whether steps reuse the memory of those before them.
#pragma once

#include <cstdint>

namespace intarsia {

// Blocks that CPU tensors have taken from the system until now, not from what
// others had freed.
int64_t BlocksFromSystem();

// AddressSanitizer sees a use after free only if free() is called: its builds
// keep nothing.
#if defined(__SANITIZE_ADDRESS__) || defined(INTARSIA_SANITIZE)
inline constexpr bool kKeepsFreedBlocks = false;
#else
inline constexpr bool kKeepsFreedBlocks = true;
#endif

}  // namespace intarsia
