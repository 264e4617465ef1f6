// A weight format: how the numbers of a matrix are stored and multiplied. A
// format is a room; a new one works everywhere from its first three functions
// (row_bytes, QuantizeRow, DequantizeRow), the rest defaults to dequantised
// tiles.
//
// Exactness: Matmul sums over K in an order fixed by (format, K) and the CPU
// family, never by the number of rows, by threads or by neighbouring rows. So a
// row's result is the same bits in any batch.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "intarsia/core/status.h"
#include "intarsia/core/tensor.h"
#include "intarsia/core/thread_pool.h"

namespace intarsia {

namespace formats {
struct PreparedKernels;
}

// Y[M, N] = X[M, K] W[N, K]ᵀ. X and Y are fp32 with row strides in elements;
// W is N rows of row_bytes(K).
struct MatmulArgs {
  const float* x = nullptr;
  int64_t x_stride = 0;
  const std::byte* w = nullptr;
  float* y = nullptr;
  int64_t y_stride = 0;
  int64_t m = 0, n = 0, k = 0;
  const float* bias = nullptr;  // [N], added to the finished sum; may be null
  // X takes part as it is, in fp32, as training wants it. Otherwise a format
  // may round it to what the CPU multiplies fastest (its README says how far).
  bool exact = false;
};

class Format {
 public:
  virtual ~Format() = default;

  // As GGUF and the checkpoint reader spell it: "f32", "q4_1", ...
  virtual std::string_view name() const = 0;
  // K must be a multiple of this.
  virtual int64_t block() const = 0;
  virtual size_t row_bytes(int64_t k) const = 0;
  // K, or the next number above it that is whole blocks.
  int64_t WholeBlocks(int64_t k) const {
    return (k + block() - 1) / block() * block();
  }
  // The dtype for plain formats (a weight in them is a tensor of that dtype),
  // else kU8: rows of blocks.
  virtual DType storage() const = 0;

  virtual void QuantizeRow(const float* in, std::byte* out,
                           int64_t k) const = 0;
  // The same, where an error of number i costs importance[i] times its square
  // (an importance matrix); null: QuantizeRow. Formats that have no choice to
  // make ignore it.
  virtual void QuantizeRowFor(const float* in, const float* importance,
                              std::byte* out, int64_t k) const {
    (void)importance;
    QuantizeRow(in, out, k);
  }
  virtual void DequantizeRow(const std::byte* in, float* out,
                             int64_t k) const = 0;

  void Matmul(ThreadPool& pool, const MatmulArgs& args) const;
  // Y[M, K] = X[M, N] W[N, K]: the gradient with respect to a linear's input.
  // args.x has N columns, args.y K columns, no bias.
  virtual void MatmulT(ThreadPool& pool, const MatmulArgs& args) const;
  // Products that share X, K and `exact`: one loop over the threads.
  void Matmuls(ThreadPool& pool, std::span<const MatmulArgs> products) const;
  // Each w holds matrices [N, K], one after the other; rows
  // [offsets[g], offsets[g+1]) of X meet matrix g. offsets has groups+1
  // entries, the last is m.
  virtual void GroupedMatmuls(ThreadPool& pool,
                              std::span<const MatmulArgs> products,
                              std::span<const int32_t> offsets) const;
  // How this CPU packs matrices of the format (packing.h); null: not at all.
  virtual const formats::PreparedKernels* packing() const { return nullptr; }
  // Rows `rows` of W as fp32 [rows.size(), K] (tied embeddings).
  virtual void GatherRows(ThreadPool& pool, const std::byte* w, int64_t k,
                          std::span<const int32_t> rows, float* out) const;
  // Along the K axis a slice must start and end at multiples of block(); rows
  // slice anywhere. The copy holds rows [n0, n1) × columns [k0, k1).
  Tensor Slice(const Tensor& w, int64_t n0, int64_t n1, int64_t k0,
               int64_t k1) const;

  // Whole matrices [..., K]; the result is a tensor of storage(): for block
  // formats u8 with the last axis row_bytes(K).
  Tensor Quantize(ThreadPool& pool, const Tensor& values) const;
  Tensor Dequantize(ThreadPool& pool, const Tensor& w, int64_t k) const;
};

// Null when no format has that name.
const Format* FindFormat(std::string_view name);
const Format& PlainFormat(DType dtype);  // f32, bf16, f16
std::vector<const Format*> AllFormats();

}  // namespace intarsia
