// Blocked fp32 GEMM after Goto and van de Geijn 2008, "Anatomy of
// high-performance matrix multiplication": panels of B stay in the outer
// caches, a block of A in L2, a kRows × kCols tile of C in registers.
#include "intarsia/ops/matmul/matmul_cpu.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "intarsia/core/tensor.h"
#include "intarsia/ops/common/rows.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "intarsia/ops/matmul/matmul_cpu.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace intarsia {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

constexpr int64_t kDepth = 256;   // of a block along K
constexpr int64_t kWidth = 3072;  // of a panel of B along N
constexpr int64_t kHeight = 96;   // of a block of A along M

// Two vectors of columns; as many rows as leave registers for the operands.
constexpr int64_t kRows = HWY_TARGET <= HWY_AVX3 ? 12 : 6;
HWY_INLINE int64_t Cols() {
  return 2 * static_cast<int64_t>(hn::Lanes(hn::ScalableTag<float>()));
}

// Packs `count` (≤ width) vectors of length depth so that those of one depth
// are neighbours, padded with zeros: out[d · width + i] = x[i · outer + d ·
// inner].
HWY_NOINLINE void PackPanel(const float* HWY_RESTRICT x, int64_t outer,
                            int64_t inner, int64_t count, int64_t width,
                            int64_t depth, float* HWY_RESTRICT out) {
  if (outer == 1) {
    for (int64_t d = 0; d < depth; ++d) {
      const float* from = x + d * inner;
      float* to = out + d * width;
      std::memcpy(to, from, count * sizeof(float));
      std::fill(to + count, to + width, 0.0f);
    }
    return;
  }
  for (int64_t i = 0; i < count; ++i) {
    const float* from = x + i * outer;
    for (int64_t d = 0; d < depth; ++d) out[d * width + i] = from[d * inner];
  }
  for (int64_t i = count; i < width; ++i) {
    for (int64_t d = 0; d < depth; ++d) out[d * width + i] = 0.0f;
  }
}

// A kRows × Cols() tile: c (+)= Σ_d a[d, :]ᵀ b[d, :].
HWY_INLINE void Tile(const float* HWY_RESTRICT a, const float* HWY_RESTRICT b,
                     int64_t depth, float* HWY_RESTRICT c, int64_t c_row,
                     bool add) {
  const hn::ScalableTag<float> d;
  using V = hn::Vec<decltype(d)>;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  V sum[kRows][2];
  for (int64_t i = 0; i < kRows; ++i) sum[i][0] = sum[i][1] = hn::Zero(d);
  for (int64_t k = 0; k < depth; ++k) {
    const V b0 = hn::Load(d, b), b1 = hn::Load(d, b + lanes);
#pragma GCC unroll 12
    for (int64_t i = 0; i < kRows; ++i) {
      const V ai = hn::Set(d, a[i]);
      sum[i][0] = hn::MulAdd(ai, b0, sum[i][0]);
      sum[i][1] = hn::MulAdd(ai, b1, sum[i][1]);
    }
    a += kRows;
    b += 2 * lanes;
  }
#pragma GCC unroll 12
  for (int64_t i = 0; i < kRows; ++i) {
    float* to = c + i * c_row;
    if (add) {
      sum[i][0] = hn::Add(sum[i][0], hn::LoadU(d, to));
      sum[i][1] = hn::Add(sum[i][1], hn::LoadU(d, to + lanes));
    }
    hn::StoreU(sum[i][0], d, to);
    hn::StoreU(sum[i][1], d, to + lanes);
  }
}

// A tile at the edge goes through a buffer of full size.
HWY_NOINLINE void EdgeTile(const float* a, const float* b, int64_t depth,
                           int64_t rows, int64_t cols, float* c, int64_t c_row,
                           bool add) {
  HWY_ALIGN float buffer[kRows * 2 * HWY_MAX_BYTES / sizeof(float)];
  const int64_t width = Cols();
  Tile(a, b, depth, buffer, width, false);
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < cols; ++j) {
      const float sum = buffer[i * width + j];
      c[i * c_row + j] = add ? sum + c[i * c_row + j] : sum;
    }
  }
}

// Rows [m0, m1) of C against the packed panel of B.
void Block(const GemmArgs& args, int64_t m0, int64_t m1, int64_t n0, int64_t n1,
           int64_t k0, int64_t k1, const float* packed_b) {
  const int64_t depth = k1 - k0, width = Cols();
  const int64_t strips = (m1 - m0 + kRows - 1) / kRows;
  const Tensor block = Tensor::Empty({strips * kRows * depth});
  float* packed_a = const_cast<Tensor&>(block).mutable_data<float>();
  for (int64_t s = 0; s < strips; ++s) {
    const int64_t i = m0 + s * kRows;
    PackPanel(args.a + i * args.a_row + k0 * args.a_col, args.a_row, args.a_col,
              std::min(kRows, m1 - i), kRows, depth,
              packed_a + s * kRows * depth);
  }
  const bool add = args.accumulate || k0 > 0;
  for (int64_t j = n0; j < n1; j += width) {
    const float* b = packed_b + (j - n0) * depth;
    const int64_t cols = std::min(width, n1 - j);
    for (int64_t s = 0; s < strips; ++s) {
      const int64_t i = m0 + s * kRows;
      const int64_t rows = std::min(kRows, m1 - i);
      const float* a = packed_a + s * kRows * depth;
      float* c = args.c + i * args.c_row + j;
      if (rows == kRows && cols == width) {
        Tile(a, b, depth, c, args.c_row, add);
      } else {
        EdgeTile(a, b, depth, rows, cols, c, args.c_row, add);
      }
    }
  }
}

void GemmImpl(ThreadPool* pool, const GemmArgs& args) {
  const int64_t width = Cols();
  const int64_t panel = std::min(kWidth, (args.n + width - 1) / width * width);
  Tensor packed = Tensor::Empty({panel * std::min(kDepth, args.k)});
  float* packed_b = packed.mutable_data<float>();
  const int64_t blocks = (args.m + kHeight - 1) / kHeight;
  for (int64_t n0 = 0; n0 < args.n; n0 += panel) {
    const int64_t n1 = std::min(args.n, n0 + panel);
    for (int64_t k0 = 0; k0 < args.k; k0 += kDepth) {
      const int64_t k1 = std::min(args.k, k0 + kDepth);
      ForRange(pool, (n1 - n0 + width - 1) / width, 8,
               [&](int64_t p0, int64_t p1) {
                 for (int64_t p = p0; p < p1; ++p) {
                   const int64_t j = n0 + p * width;
                   PackPanel(args.b + k0 * args.b_row + j * args.b_col,
                             args.b_col, args.b_row, std::min(width, n1 - j),
                             width, k1 - k0, packed_b + p * width * (k1 - k0));
                 }
               });
      ForRange(pool, blocks, 1, [&](int64_t b0, int64_t b1) {
        for (int64_t b = b0; b < b1; ++b) {
          const int64_t m0 = b * kHeight;
          Block(args, m0, std::min(args.m, m0 + kHeight), n0, n1, k0, k1,
                packed_b);
        }
      });
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace intarsia
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace intarsia {

HWY_EXPORT(GemmImpl);

void Gemm(ThreadPool* pool, const GemmArgs& args) {
  if (args.m == 0 || args.n == 0) return;
  if (args.k == 0) {
    for (int64_t i = 0; i < args.m && !args.accumulate; ++i) {
      std::fill_n(args.c + i * args.c_row, args.n, 0.0f);
    }
    return;
  }
  HWY_DYNAMIC_DISPATCH(GemmImpl)(pool, args);
}

}  // namespace intarsia
#endif  // HWY_ONCE
