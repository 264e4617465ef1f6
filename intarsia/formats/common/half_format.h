// Numbers of 16 bits as they are: the rooms bf16 and f16.
#pragma once

#include <cstring>
#include <string_view>

#include "intarsia/core/dtype.h"
#include "intarsia/formats/common/kernels.h"

namespace intarsia::formats {

struct HalfTraits {
  std::string_view name;
  DType storage;
  DotFunction dot;
  void (*dequantize)(const std::byte* in, float* out, int64_t k);
  DotFormat::Prepared packed;
};

template <typename T, T (*Round)(float)>
class HalfFormat final : public DotFormat {
 public:
  explicit HalfFormat(const HalfTraits& traits)
      : DotFormat(traits.dot, nullptr, traits.packed), traits_(traits) {}
  std::string_view name() const override { return traits_.name; }
  int64_t block() const override { return 1; }
  size_t row_bytes(int64_t k) const override { return k * sizeof(T); }
  DType storage() const override { return traits_.storage; }

  // Rows may lie at any address (mapped files).
  void QuantizeRow(const float* in, std::byte* out, int64_t k) const override {
    for (int64_t i = 0; i < k; ++i) {
      const T value = Round(in[i]);
      std::memcpy(out + i * sizeof(value), &value, sizeof(value));
    }
  }
  void DequantizeRow(const std::byte* in, float* out,
                     int64_t k) const override {
    traits_.dequantize(in, out, k);
  }

 private:
  HalfTraits traits_;
};

}  // namespace intarsia::formats
