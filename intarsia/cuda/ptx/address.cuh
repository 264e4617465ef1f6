// Shared-memory addresses as PTX wants them: 32 bits, in the shared window.
#pragma once

#include <cstdint>

namespace intarsia::ptx {

__device__ __forceinline__ uint32_t SharedAddress(const void* pointer) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

}  // namespace intarsia::ptx
