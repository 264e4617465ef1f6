// A room's CUDA kernels are a table of functions that the build may leave null.
#pragma once

#include <string>

#include "intarsia/core/check.h"
#include "intarsia/core/tensor.h"

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

// For what runs on the CPU alone: device memory must never be read as if it
// were the host's.
inline void RequireCpu(const Tensor& x, const char* what) {
  if (x.device().is_cpu()) return;
  throw EngineError(std::string("[") + what + "] has no kernels for " +
                    Name(x.device()));
}

}  // namespace intarsia
