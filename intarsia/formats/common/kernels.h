// The kernels of the rooms of registry.def, for the instruction set of this
// CPU: formats::q4_k_cpu::Dot and so on.
//
//   Dot, Dequantize       X_cpu.cc, through format_cpu-inl.h; f32 has its own
//   Panels...             rows of panels.def; CMake writes their sources
//   StoredAvx512          X_stored_avx512.cc of q8_0, q4_0 and q4_1
#pragma once

#include "intarsia/formats/common/matmul.h"
#include "intarsia/formats/common/prepared.h"

#define FORMAT(name)                                                       \
  namespace intarsia::formats::name##_cpu {                                \
    void Dot(const DotArgs& args);                                         \
    /* Any address, any k that is a multiple of the block. */              \
    void Dequantize(const std::byte* in, float* out, int64_t k);           \
    /* Panels of packed or of stored rows. */                              \
    const PreparedKernels& PanelsAvx512(); /* with VNNI */                 \
    const PreparedKernels& PanelsAvx2();                                   \
    const PreparedKernels& StoredAvx512(); /* with VNNI, of stored rows */ \
  }
#include "intarsia/formats/registry.def"
#undef FORMAT
