// A format of blocks as data: what a room gives besides its kernels is how one
// block is quantised.
#pragma once

#include <cstring>
#include <string_view>

#include "intarsia/core/dtype.h"
#include "intarsia/formats/common/matmul.h"

namespace intarsia::formats {

struct BlockTraits {
  std::string_view name;
  int64_t numbers;  // a block
  size_t bytes;
  DotFunction dot;
  // Any address, any k that is a multiple of `numbers`.
  void (*dequantize)(const std::byte* in, float* out, int64_t k);
  // One block of finite numbers. An error of number i costs importance[i]
  // times its square; null: the room's own choice.
  void (*quantize)(const float* x, const float* importance, std::byte* out);
  // A block that reads as NaN, for numbers that are not finite.
  void (*poison)(std::byte* out);
  // The kernels that this CPU has for packed and for stored rows; null: none.
  DotFormat::Prepared packed = nullptr, stored = nullptr;
};

class BlockFormat : public DotFormat {
 public:
  explicit BlockFormat(const BlockTraits& traits)
      : DotFormat(traits.dot, traits.stored, traits.packed), traits_(traits) {}

  std::string_view name() const override { return traits_.name; }
  int64_t block() const override { return traits_.numbers; }
  size_t row_bytes(int64_t k) const override {
    return k / traits_.numbers * traits_.bytes;
  }
  DType storage() const override { return DType::kU8; }
  void QuantizeRow(const float* in, std::byte* out, int64_t k) const override {
    QuantizeRowFor(in, nullptr, out, k);
  }
  void QuantizeRowFor(const float* in, const float* importance, std::byte* out,
                      int64_t k) const override;
  void DequantizeRow(const std::byte* in, float* out,
                     int64_t k) const override {
    traits_.dequantize(in, out, k);
  }

 private:
  BlockTraits traits_;
};

inline float LoadF16(const std::byte* p) {
  f16 half;
  std::memcpy(&half, p, sizeof(half));
  return ToFloat(half);
}

// NaN as the fp16 scale at byte `at` of a block, zeros elsewhere.
template <size_t kBytes, size_t kAt>
void PoisonF16(std::byte* out) {
  for (size_t i = 0; i < kBytes; ++i) out[i] = std::byte{0};
  out[kAt] = std::byte{0x00};
  out[kAt + 1] = std::byte{0x7E};
}

}  // namespace intarsia::formats
