// The multiplication that formats share. Every product of a row of X with a row
// of W is one dot product with one pattern: blocks of 32 numbers in order, one
// vector accumulator (lane i sums the products at k ≡ i mod lanes), the lanes
// added at the end as a fixed tree. Nothing else enters a sum, so its bits
// depend on the two rows, K and the instruction set alone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "intarsia/formats/common/prepared.h"
#include "intarsia/formats/format.h"

namespace intarsia::formats {

// y[m, n] = x row m · w row n (+ bias[n]), on this thread.
struct DotArgs {
  const float* x = nullptr;
  int64_t x_stride = 0;  // in floats
  const std::byte* w = nullptr;
  size_t w_stride = 0;  // in bytes
  float* y = nullptr;
  int64_t y_stride = 0;  // in floats
  int64_t m = 0, n = 0, k = 0;
  const float* bias = nullptr;
};
using DotFunction = void (*)(const DotArgs& args);

// y[m, 0..k) (+)= Σ_n x[m, n] w[n, 0..k), n ascending, w fp32 rows of w_stride
// bytes; `add` goes on from what y holds.
struct SumArgs : DotArgs {
  bool add = false;
};

// W holds fp32.
void DotF32(const DotArgs& args);
void SumF32(const SumArgs& args);
const char*
SimdTargetName();  // "AVX2", "AVX3", ...: what the CPU dispatches to

// Tiles have so many rows of X that unpacking 16-bit numbers costs next to
// nothing in them: no panel pays, for any number of rows.
bool WideTiles();

// Products of one X, as Format::GroupedMatmuls. Few rows multiply with `dot`,
// straight from the stored blocks; many rows share a panel of W dequantised
// once. Null `dot`: always panels.
void RunMatmuls(ThreadPool& pool, const Format& format, DotFunction dot,
                std::span<const MatmulArgs> products,
                std::span<const int32_t> offsets);
void RunMatmulT(ThreadPool& pool, const Format& format, const MatmulArgs& args);

// The same by kernels that take prepared activations: X is prepared once.
void RunPrepared(ThreadPool& pool, const Format& format,
                 const PreparedKernels& kernels,
                 std::span<const MatmulArgs> products,
                 std::span<const int32_t> offsets);

// The same, of weights that are panels already.
void RunPacked(ThreadPool& pool, const PreparedKernels& kernels,
               std::span<const MatmulArgs> products,
               std::span<const int32_t> offsets);

// A format with a kernel that reads its blocks, and perhaps one that prepares
// activations, which `prepared` gives where the CPU has it, or packs weights.
class DotFormat : public Format {
 public:
  using Prepared = const PreparedKernels* (*)();

  explicit DotFormat(DotFunction dot, Prepared prepared = nullptr,
                     Prepared packing = nullptr)
      : dot_(dot), prepared_(prepared), packing_(packing) {}
  void GroupedMatmuls(ThreadPool& pool, std::span<const MatmulArgs> products,
                      std::span<const int32_t> offsets) const override {
    const PreparedKernels* kernels =
        prepared_ == nullptr || products.empty() || products[0].exact
            ? nullptr
            : prepared_();
    if (kernels != nullptr) {
      RunPrepared(pool, *this, *kernels, products, offsets);
    } else {
      RunMatmuls(pool, *this, dot_, products, offsets);
    }
  }
  const PreparedKernels* packing() const override {
    return packing_ == nullptr ? nullptr : packing_();
  }

 private:
  DotFunction dot_;
  Prepared prepared_, packing_;
};

}  // namespace intarsia::formats
