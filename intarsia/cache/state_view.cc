#include "intarsia/cache/state_view.h"

#include <cstring>

namespace intarsia {
namespace {

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

}  // namespace

void AppendRows(const Batch& batch, const Tensor& rows, TokenPages* pages) {
  Tensor& pool = pages->pool;
  CHECK(pool.device().is_cpu());
  CHECK_EQ(rows.dim(0), batch.size());
  CHECK_EQ(pool.dim(1), pages->page);
  const int64_t entry = batch.size() > 0 ? rows.numel() / rows.dim(0) : 0;
  const Tensor values = rows.Contiguous();
  const int64_t bytes = entry * static_cast<int64_t>(SizeOf(pool.dtype()));
  for (int64_t n = 0; n < batch.segments(); ++n) {
    if (batch.length(n) == 0) continue;
    CHECK_EQ(entry * pool.dim(0) * pages->page, pool.numel());
    const std::span<const int32_t> table = pages->table[batch.slots[n]];
    int64_t e = pages->entries_before[n];
    for (int64_t t = batch.begin(n); t < batch.begin(n + 1); ++t, ++e) {
      CHECK_LT(e / pages->page, static_cast<int64_t>(table.size()));
      const int64_t page = table[e / pages->page];
      CHECK(page >= 0 && page < pool.dim(0)) << page;
      const int64_t at = page * pages->page + e % pages->page;
      Store(values.data<float>() + t * entry, entry, pool.dtype(),
            pool.mutable_raw() + at * bytes);
      if (pages->positions.defined()) {
        pages->positions.mutable_data<int32_t>()[at] = batch.positions[t];
      }
    }
  }
}

}  // namespace intarsia
