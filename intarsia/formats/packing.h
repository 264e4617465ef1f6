// Packed weights: a second copy of a matrix in the order that this CPU's
// kernels read, made once when a model is opened to serve.
//
// Products with a packed matrix keep every promise of Format (a row's bits in
// any batch). Those of q8_0, q4_0 and q4_1 have the bits of the stored ones;
// other codes meet rounded activations (common/activations.h) where stored ones
// meet fp32; bf16 and f16 become 16-bit integers besides
// (common/word_panels-inl.h). Training and `exact` products read what is
// stored.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "intarsia/core/tensor.h"
#include "intarsia/core/thread_pool.h"
#include "intarsia/formats/format.h"

namespace intarsia {

namespace formats {
struct PreparedKernels;
}

// Matrices [N, K] of a weight, one after the other.
class PackedMatrices {
 public:
  // Bytes of `groups` packed matrices; 0: this CPU has no kernels for the
  // format, or K is not whole blocks of 32.
  static size_t Bytes(const Format& format, int64_t groups, int64_t n,
                      int64_t k);
  // w: `groups` · n rows of format.row_bytes(k), contiguous. Bytes() is not 0.
  // `place`: u8 [Bytes()] to fill, aligned to 64; undefined: memory of its own.
  PackedMatrices(ThreadPool& pool, const Format& format, const std::byte* w,
                 int64_t groups, int64_t n, int64_t k, Tensor place = {});

  size_t nbytes() const { return panels_.nbytes(); }
  // Products that can share a loop have the same kernels.
  const formats::PreparedKernels* kernels() const { return kernels_; }
  const std::byte* raw() const { return panels_.raw(); }

 private:
  const formats::PreparedKernels* kernels_;
  Tensor panels_;
};

// As Format::GroupedMatmuls; each w is raw() of matrices with these kernels.
void PackedMatmuls(ThreadPool& pool, const formats::PreparedKernels& kernels,
                   std::span<const MatmulArgs> products,
                   std::span<const int32_t> offsets);

}  // namespace intarsia
