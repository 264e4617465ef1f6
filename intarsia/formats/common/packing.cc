#include "intarsia/formats/packing.h"

#include <algorithm>
#include <utility>

#include "intarsia/formats/common/matmul.h"
#include "intarsia/formats/common/prepared.h"

namespace intarsia {
namespace {

using formats::PreparedKernels;

size_t MatrixBytes(const PreparedKernels& kernels, int64_t n, int64_t k) {
  const int64_t panels = (n + kernels.panel_rows - 1) / kernels.panel_rows;
  return static_cast<size_t>(panels) * kernels.panel_bytes(k);
}

}  // namespace

size_t PackedMatrices::Bytes(const Format& format, int64_t groups, int64_t n,
                             int64_t k) {
  const PreparedKernels* kernels = format.packing();
  if (kernels == nullptr || k % 32 != 0) return 0;
  return static_cast<size_t>(groups) * MatrixBytes(*kernels, n, k);
}

PackedMatrices::PackedMatrices(ThreadPool& pool, const Format& format,
                               const std::byte* w, int64_t groups, int64_t n,
                               int64_t k, Tensor place)
    : kernels_(format.packing()), panels_(std::move(place)) {
  const size_t bytes = Bytes(format, groups, n, k);
  CHECK(kernels_ != nullptr && k % 32 == 0)
      << format.name() << " has no packed form for rows of " << k;
  if (!panels_.defined()) {
    panels_ = Tensor::Empty({static_cast<int64_t>(bytes)}, DType::kU8);
  }
  CHECK_EQ(panels_.nbytes(), bytes);
  std::byte* to = panels_.mutable_raw();
  const size_t row_bytes = format.row_bytes(k);
  const int64_t step = kernels_->panel_rows;
  const int64_t panels = (n + step - 1) / step;
  pool.For(groups * panels, 4, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t row = i % panels * step;
      kernels_->pack(w + (i / panels * n + row) * row_bytes, row_bytes,
                     std::min(step, n - row), k,
                     to + i * kernels_->panel_bytes(k));
    }
  });
}

void PackedMatmuls(ThreadPool& pool, const PreparedKernels& kernels,
                   std::span<const MatmulArgs> products,
                   std::span<const int32_t> offsets) {
  formats::RunPacked(pool, kernels, products, offsets);
}

}  // namespace intarsia
