#include "intarsia/formats/common/block_format.h"

#include <algorithm>
#include <cmath>

namespace intarsia::formats {
namespace {

constexpr int64_t kBlockRows = 512;  // rows of X in a task
constexpr int64_t kSlabRows = 64;    // rows of W unpacked at a time
constexpr int64_t kSlabColumns = 256;

}  // namespace

void BlockFormat::QuantizeRowFor(const float* in, const float* importance,
                                 std::byte* out, int64_t k) const {
  for (int64_t i = 0; i < k; i += traits_.numbers, out += traits_.bytes) {
    if (!std::all_of(in + i, in + i + traits_.numbers,
                     [](float x) { return std::isfinite(x); })) {
      traits_.poison(out);  // a fault stays visible
      continue;
    }
    traits_.quantize(in + i, importance == nullptr ? nullptr : importance + i,
                     out);
  }
}

void BlockFormat::MatmulT(ThreadPool& pool, const MatmulArgs& args) const {
  CHECK(args.bias == nullptr) << "MatmulT has no bias";
  CHECK(args.m >= 0 && args.n >= 0 && args.k % traits_.numbers == 0)
      << name() << ": m " << args.m << ", n " << args.n << ", " << args.k
      << " columns, blocks of " << traits_.numbers;
  const size_t bytes = row_bytes(args.k);
  const int64_t columns = std::max(kSlabColumns, traits_.numbers);
  const int64_t slabs = (args.k + columns - 1) / columns;
  const int64_t blocks = (args.m + kBlockRows - 1) / kBlockRows;
  pool.Run(slabs * blocks, [&](int64_t i) {
    const int64_t k0 = i % slabs * columns;
    const int64_t m0 = i / slabs * kBlockRows;
    SumArgs part;
    part.k = std::min(columns, args.k - k0);
    part.m = std::min(kBlockRows, args.m - m0);
    part.y = args.y + m0 * args.y_stride + k0;
    part.y_stride = args.y_stride;
    part.x_stride = args.x_stride;
    Tensor panel = Tensor::Empty({std::min(kSlabRows, args.n), columns});
    float* to = panel.mutable_data<float>();
    part.w = panel.raw();
    part.w_stride = columns * sizeof(float);
    int64_t n0 = 0;
    do {  // once even when N is 0: Y is then zero
      part.n = std::min(kSlabRows, args.n - n0);
      for (int64_t n = 0; n < part.n; ++n) {
        DequantizeRow(args.w + (n0 + n) * bytes + row_bytes(k0),
                      to + n * columns, part.k);
      }
      part.x = args.x + m0 * args.x_stride + n0;
      SumF32(part);
      part.add = true;
      n0 += part.n;
    } while (n0 < args.n);
  });
}

}  // namespace intarsia::formats
