#include <cstring>

#include "intarsia/formats/common/matmul.h"
#include "intarsia/formats/registry.h"

namespace intarsia::formats {
namespace {

class F32 : public DotFormat {
 public:
  F32() : DotFormat(&DotF32) {}
  std::string_view name() const override { return "f32"; }
  int64_t block() const override { return 1; }
  size_t row_bytes(int64_t k) const override { return k * sizeof(float); }
  DType storage() const override { return DType::kF32; }

  // Rows may lie at any address (mapped files).
  void QuantizeRow(const float* in, std::byte* out, int64_t k) const override {
    if (k > 0) std::memcpy(out, in, k * sizeof(float));
  }
  void DequantizeRow(const std::byte* in, float* out,
                     int64_t k) const override {
    if (k > 0) std::memcpy(out, in, k * sizeof(float));
  }
};

}  // namespace

const Format& f32() {
  static const F32* format = new F32;
  return *format;
}

}  // namespace intarsia::formats
