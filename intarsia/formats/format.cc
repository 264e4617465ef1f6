#include "intarsia/formats/format.h"

#include <cstring>

#include "intarsia/formats/common/matmul.h"
#include "intarsia/formats/registry.h"

namespace intarsia {
namespace {

struct Entry {
  std::string_view name;
  const Format& (*format)();
};

constexpr Entry kEntries[] = {
#define FORMAT(name) {#name, &formats::name},
#include "intarsia/formats/registry.def"
#undef FORMAT
};

}  // namespace

void Format::Matmul(ThreadPool& pool, const MatmulArgs& args) const {
  Matmuls(pool, {&args, 1});
}

void Format::Matmuls(ThreadPool& pool,
                     std::span<const MatmulArgs> products) const {
  if (products.empty()) return;
  const int32_t offsets[] = {0, static_cast<int32_t>(products[0].m)};
  GroupedMatmuls(pool, products, offsets);
}

void Format::MatmulT(ThreadPool& pool, const MatmulArgs& args) const {
  formats::RunMatmulT(pool, *this, args);
}

void Format::GroupedMatmuls(ThreadPool& pool,
                            std::span<const MatmulArgs> products,
                            std::span<const int32_t> offsets) const {
  formats::RunMatmuls(pool, *this, nullptr, products, offsets);
}

void Format::GatherRows(ThreadPool& pool, const std::byte* w, int64_t k,
                        std::span<const int32_t> rows, float* out) const {
  const size_t bytes = row_bytes(k);
  const int64_t count = static_cast<int64_t>(rows.size());
  pool.For(count, 16, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      DequantizeRow(w + rows[i] * bytes, out + i * k, k);
    }
  });
}

Tensor Format::Slice(const Tensor& w, int64_t n0, int64_t n1, int64_t k0,
                     int64_t k1) const {
  CHECK(w.rank() == 2 && w.contiguous() && w.dtype() == storage())
      << name() << ": a slice is taken from a contiguous matrix of "
      << Name(storage()) << ", got " << w.shape() << " " << Name(w.dtype());
  const size_t bytes = w.dim(1) * SizeOf(storage());
  CHECK(0 <= n0 && n0 <= n1 && n1 <= w.dim(0))
      << "rows [" << n0 << ", " << n1 << ") of " << w.dim(0);
  CHECK(0 <= k0 && k0 <= k1 && k0 % block() == 0 && k1 % block() == 0 &&
        row_bytes(k1) <= bytes)
      << name() << ": columns [" << k0 << ", " << k1 << "), blocks of "
      << block() << ", rows of " << bytes << " bytes";
  const size_t skip = row_bytes(k0), length = row_bytes(k1) - skip;
  Tensor out = Tensor::Empty(
      {n1 - n0, static_cast<int64_t>(length / SizeOf(storage()))}, storage());
  for (int64_t n = n0; n < n1 && length > 0; ++n) {
    std::memcpy(out.mutable_raw() + (n - n0) * length,
                w.raw() + n * bytes + skip, length);
  }
  return out;
}

Tensor Format::Quantize(ThreadPool& pool, const Tensor& values) const {
  CHECK(values.rank() >= 1 && values.device().is_cpu())
      << name() << ": quantises matrices in host memory";
  const Tensor in = values.To(DType::kF32).Contiguous();
  const int64_t k = in.dim(-1);
  CHECK(k % block() == 0) << name() << ": " << k << " columns, blocks of "
                          << block();
  const size_t bytes = row_bytes(k);
  Tensor out = Tensor::Empty(
      in.shape().With(in.rank() - 1,
                      static_cast<int64_t>(bytes / SizeOf(storage()))),
      storage());
  const float* x = in.data<float>();
  std::byte* to = out.mutable_raw();
  pool.For(k == 0 ? 0 : in.numel() / k, 1, [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) {
      QuantizeRow(x + n * k, to + n * bytes, k);
    }
  });
  return out;
}

Tensor Format::Dequantize(ThreadPool& pool, const Tensor& w, int64_t k) const {
  const size_t bytes = row_bytes(k);
  CHECK(w.rank() >= 1 && w.contiguous() && w.dtype() == storage() &&
        w.device().is_cpu() && k % block() == 0 &&
        w.dim(-1) * SizeOf(storage()) == bytes)
      << name() << ": " << w.shape() << " " << Name(w.dtype())
      << " does not hold rows of " << k << " numbers";
  Tensor out = Tensor::Empty(w.shape().With(w.rank() - 1, k));
  float* to = out.mutable_data<float>();
  pool.For(k == 0 ? 0 : out.numel() / k, 1, [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) {
      DequantizeRow(w.raw() + n * bytes, to + n * k, k);
    }
  });
  return out;
}

const Format* FindFormat(std::string_view name) {
  for (const Entry& entry : kEntries) {
    if (entry.name == name) return &entry.format();
  }
  return nullptr;
}

const Format& PlainFormat(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return formats::f32();
    case DType::kBF16:
      return formats::bf16();
    case DType::kF16:
      return formats::f16();
    default:
      CHECK(false) << "no plain weight format stores " << Name(dtype);
      return formats::f32();
  }
}

std::vector<const Format*> AllFormats() {
  std::vector<const Format*> all;
  for (const Entry& entry : kEntries) all.push_back(&entry.format());
  return all;
}

}  // namespace intarsia
