// A room's CUDA kernels are a table of functions that the build may leave null.
#pragma once

#include <string>

#include "intarsia/core/check.h"

namespace intarsia {

// The table, or EngineError saying that this build has none for the room.
template <typename Kernels>
const Kernels& RequireKernels(const Kernels* kernels, const char* room) {
  if (kernels == nullptr) {
    throw EngineError(std::string("[") + room +
                      "] has no CUDA kernels in this build");
  }
  return *kernels;
}

}  // namespace intarsia
