#include "intarsia/cache/state_view.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace intarsia {
namespace {

// The least bf16 that is no smaller than x ≥ 0.
bf16 RoundUp(float x) {
  bf16 y = ToBF16(x);
  if (ToFloat(y) < x) ++y.bits;
  return y;
}

void Store(const float* from, int64_t n, DType dtype, std::byte* to) {
  switch (dtype) {
    case DType::kF32:
      std::memcpy(to, from, n * sizeof(float));
      return;
    case DType::kBF16:
      for (int64_t i = 0; i < n; ++i) {
        reinterpret_cast<bf16*>(to)[i] = ToBF16(from[i]);
      }
      return;
    case DType::kF16:
      for (int64_t i = 0; i < n; ++i) {
        reinterpret_cast<f16*>(to)[i] = ToF16(from[i]);
      }
      return;
    default:
      CHECK(false) << "entries cannot be stored as " << Name(dtype);
  }
}

// Writes one entry at a time into a pool.
class Writer {
 public:
  Writer(TokenPages* pages, int64_t entry)
      : pages_(*pages), entry_(entry), dtype_(pages->pool.dtype()) {
    const Tensor& pool = pages_.pool;
    CHECK(pool.device().is_cpu());
    CHECK_EQ(pool.dim(1), pages_.page);
    CHECK_EQ(entry * pool.dim(0) * pages_.page, pool.numel());
    if (dtype_ != DType::kI8) return;
    CHECK(pages_.scales.defined());
    scales_ = pages_.scales.numel() / (pool.dim(0) * pages_.page);
  }

  void Write(const std::byte* from, int64_t at) {
    Tensor& pool = pages_.pool;
    const int64_t bytes = entry_ * static_cast<int64_t>(SizeOf(dtype_));
    std::byte* to = pool.mutable_raw() + at * bytes;
    if (dtype_ == DType::kI32) {
      std::memcpy(to, from, bytes);
    } else if (dtype_ == DType::kI8) {
      EncodeInt8(
          reinterpret_cast<const float*>(from), entry_, entry_ / scales_,
          reinterpret_cast<int8_t*>(to),
          reinterpret_cast<bf16*>(pages_.scales.mutable_raw()) + at * scales_);
    } else {
      Store(reinterpret_cast<const float*>(from), entry_, dtype_, to);
    }
  }

 private:
  TokenPages& pages_;
  int64_t entry_, scales_ = 0;  // scales of an entry
  DType dtype_;
};

}  // namespace

void EncodeInt8(const float* from, int64_t n, int64_t group, int8_t* codes,
                bf16* scales) {
  for (int64_t begin = 0; begin < n; begin += group, ++scales) {
    const float* x = from + begin;
    float most = 0.0f;
    bool finite = true;
    for (int64_t i = 0; i < group; ++i) {
      most = std::max(most, std::abs(x[i]));
      finite &= std::isfinite(x[i]);
    }
    *scales = finite ? RoundUp(most / 127.0f) : bf16{0x7FC0};
    const float scale = ToFloat(*scales);
    const bool zero = !finite || scale == 0.0f;
    for (int64_t i = 0; i < group; ++i) {
      const float code = zero ? 0.0f : std::nearbyint(x[i] / scale);
      codes[begin + i] =
          static_cast<int8_t>(std::min(127.0f, std::max(-127.0f, code)));
    }
  }
}

void AppendRows(const Batch& batch, const Tensor& rows, TokenPages* pages) {
  CHECK_EQ(rows.dim(0), batch.size());
  if (batch.size() == 0) return;
  const DType source =
      pages->pool.dtype() == DType::kI32 ? DType::kI32 : DType::kF32;
  CHECK(rows.dtype() == source) << Name(rows.dtype());
  const int64_t entry = rows.numel() / rows.dim(0);
  const Tensor values = rows.Contiguous();
  Writer writer(pages, entry);
  for (int64_t n = 0; n < batch.segments(); ++n) {
    if (batch.length(n) == 0 || batch.slots[n] < 0) continue;
    const std::span<const int32_t> table = pages->table[batch.slots[n]];
    int64_t e = pages->entries_before[n];
    for (int64_t t = batch.begin(n); t < batch.begin(n + 1); ++t, ++e) {
      CHECK_LT(e / pages->page, static_cast<int64_t>(table.size()));
      const int64_t page = table[e / pages->page];
      CHECK(page >= 0 && page < pages->pool.dim(0)) << page;
      const int64_t at = page * pages->page + e % pages->page;
      writer.Write(values.raw() + t * entry * 4, at);
      if (pages->positions.defined()) {
        pages->positions.mutable_data<int32_t>()[at] = batch.positions[t];
      }
    }
  }
}

}  // namespace intarsia
