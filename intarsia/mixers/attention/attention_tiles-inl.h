// Products and loads of attention's tiles, for the files whose kernels have a
// part for each target.
//
// Everything is built from one product, C[r] += Σ_k A(r, k) B[k], in which each
// element of C is a chain of multiply-adds over ascending k of its own. So a
// query row's scores and sums do not depend on the rows beside it.

// Included once per target.
#if defined(INTARSIA_ATTENTION_TILES_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef INTARSIA_ATTENTION_TILES_INL
#undef INTARSIA_ATTENTION_TILES_INL
#else
#define INTARSIA_ATTENTION_TILES_INL
#endif

#include <hwy/highway.h>

#include <cstring>

#include "intarsia/mixers/attention/attention_kernels.h"

HWY_BEFORE_NAMESPACE();
namespace intarsia::attention_internal {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using DF = hn::ScalableTag<float>;
using VF = hn::Vec<DF>;

// A(r, k) at data[r * row + k * col].
struct Left {
  const float* data;
  int64_t row, col;
};

// B in panels of 16 columns: B(k, 16 p + c) at data[p * panel + k * row + c].
// Packed panels (row 16) are read in one go; `Plain` views a row-major matrix.
// T is float or bfloat16_t, which is widened as it is read.
constexpr int64_t kPanel = 16;
template <class T>
struct RightOf {
  const T* data;
  int64_t panel, row;
};
using Right = RightOf<float>;

HWY_INLINE VF Widen(const float* from) { return hn::LoadU(DF(), from); }
HWY_INLINE VF Widen(const hwy::bfloat16_t* from) {
  return hn::PromoteTo(DF(),
                       hn::LoadU(hn::Rebind<hwy::bfloat16_t, DF>(), from));
}
HWY_INLINE Right Plain(const float* data, int64_t stride) {
  return {data, kPanel, stride};
}

// Memory to be asked for while something else is computed, a line at a time: in
// one burst the requests would wait for each other, and nothing be computed.
class Fetcher {
 public:
  void Add(const std::byte* begin, int64_t bytes) {
    CHECK_LT(ranges_, 2);
    begin_[ranges_] = begin;
    end_[ranges_++] = begin + bytes;
  }
  HWY_INLINE void Next() {
    if (begin_[0] < end_[0]) {
      Fetch(0);
    } else if (begin_[1] < end_[1]) {
      Fetch(1);
    }
  }
  HWY_INLINE void Rest() {
    for (int i = 0; i < 2; ++i) {
      while (begin_[i] < end_[i]) Fetch(i);
    }
  }

 private:
  // To the second-level cache: the first holds the tile at work.
  HWY_INLINE void Fetch(int i) {
    __builtin_prefetch(begin_[i], 0, 2);
    begin_[i] += 64;
  }

  const std::byte *begin_[2] = {}, *end_[2] = {};
  int ranges_ = 0;
};
struct NoFetcher {
  HWY_INLINE void Next() {}
};

// C for R rows and P panels.
template <int R, int P, class T, class F>
HWY_INLINE void Kernel(Left a, RightOf<T> b, float* HWY_RESTRICT c,
                       int64_t c_stride, int64_t k, bool add, F& fetcher) {
  const DF d;
  constexpr int kLanes = static_cast<int>(HWY_LANES(float));
  constexpr int V = P * static_cast<int>(kPanel) / kLanes;
  const T* column[V];
  for (int v = 0; v < V; ++v) {
    column[v] = b.data + v * kLanes / kPanel * b.panel + v * kLanes % kPanel;
  }
  VF sum[R][V];
  for (int r = 0; r < R; ++r) {
    for (int v = 0; v < V; ++v) {
      sum[r][v] =
          add ? hn::LoadU(d, c + r * c_stride + v * kLanes) : hn::Zero(d);
    }
  }
  for (int64_t i = 0; i < k; ++i) {
    if (i % 2 == 0) fetcher.Next();
    // The fewer of the two operands stay in registers beside the sums.
    if constexpr (R <= V) {
      VF left[R];
      for (int r = 0; r < R; ++r) {
        left[r] = hn::Set(d, a.data[r * a.row + i * a.col]);
      }
      for (int v = 0; v < V; ++v) {
        const VF right = Widen(column[v] + i * b.row);
        for (int r = 0; r < R; ++r) {
          sum[r][v] = hn::MulAdd(left[r], right, sum[r][v]);
        }
      }
    } else {
      VF right[V];
      for (int v = 0; v < V; ++v) {
        right[v] = Widen(column[v] + i * b.row);
      }
      for (int r = 0; r < R; ++r) {
        const VF left = hn::Set(d, a.data[r * a.row + i * a.col]);
        for (int v = 0; v < V; ++v) {
          sum[r][v] = hn::MulAdd(left, right[v], sum[r][v]);
        }
      }
    }
  }
  for (int r = 0; r < R; ++r) {
    for (int v = 0; v < V; ++v) {
      hn::StoreU(sum[r][v], d, c + r * c_stride + v * kLanes);
    }
  }
}

// As many panels at a time as the registers hold beside R rows.
template <int R, int P, class T, class F>
HWY_INLINE void Strip(Left a, RightOf<T> b, float* c, int64_t c_stride,
                      int64_t k, int64_t panels, bool add, F& fetcher) {
  int64_t p = 0;
  const auto at = [&] {
    return RightOf<T>{b.data + p * b.panel, b.panel, b.row};
  };
  for (; p + P <= panels; p += P) {
    Kernel<R, P>(a, at(), c + p * kPanel, c_stride, k, add, fetcher);
  }
  for (; p < panels; ++p) {
    Kernel<R, 1>(a, at(), c + p * kPanel, c_stride, k, add, fetcher);
  }
}

// C [rows, n] (+)= A [rows, k] B [k, n]; n a multiple of 16. Panels outside,
// so that a panel stays in the first-level cache for all rows.
template <class T, class F>
HWY_INLINE void Product(Left a, RightOf<T> b, float* c, int64_t c_stride,
                        int64_t rows, int64_t k, int64_t n, bool add,
                        F& fetcher) {
  const int64_t panels = n / kPanel;
  switch (rows) {
    case 1:
      return Strip<1, 4>(a, b, c, c_stride, k, panels, add, fetcher);
    case 2:
      return Strip<2, 2>(a, b, c, c_stride, k, panels, add, fetcher);
    case 3:
      return Strip<3, 2>(a, b, c, c_stride, k, panels, add, fetcher);
    default:
      break;
  }
  for (int64_t p = 0; p < panels; ++p) {
    const RightOf<T> panel{b.data + p * b.panel, b.panel, b.row};
    int64_t r = 0;
    const auto left = [&] { return Left{a.data + r * a.row, a.row, a.col}; };
    const auto out = [&] { return c + r * c_stride + p * kPanel; };
    for (; r + 6 <= rows; r += 6) {
      Kernel<6, 1>(left(), panel, out(), c_stride, k, add, fetcher);
    }
    for (; r + 3 <= rows; r += 3) {
      Kernel<3, 1>(left(), panel, out(), c_stride, k, add, fetcher);
    }
    for (; r < rows; ++r)
      Kernel<1, 1>(left(), panel, out(), c_stride, k, add, fetcher);
  }
}

template <class T>
HWY_INLINE void Product(Left a, RightOf<T> b, float* c, int64_t c_stride,
                        int64_t rows, int64_t k, int64_t n, bool add) {
  NoFetcher none;
  Product(a, b, c, c_stride, rows, k, n, add, none);
}

template <class Narrow>
HWY_INLINE int64_t WidenVectors(const Narrow* in, float* out, int64_t n) {
  const DF d;
  const hn::Rebind<Narrow, DF> dn;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    hn::StoreU(hn::PromoteTo(d, hn::LoadU(dn, in + i)), d, out + i);
  }
  return i;
}

// Codes times their scales; whole vectors where the scales' groups have such.
HWY_INLINE void DecodeInt8(const int8_t* codes, const bf16* scales,
                           int64_t group, int64_t dim, float* out) {
  const DF d;
  const hn::Rebind<int32_t, DF> di;
  const hn::Rebind<int8_t, DF> d8;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  for (int64_t begin = 0; begin < dim; begin += group, ++scales) {
    const float scale = ToFloat(*scales);
    const VF s = hn::Set(d, scale);
    int64_t i = begin;
    for (; i + lanes <= begin + group; i += lanes) {
      const auto wide = hn::PromoteTo(di, hn::LoadU(d8, codes + i));
      hn::StoreU(hn::Mul(s, hn::ConvertTo(d, wide)), d, out + i);
    }
    for (; i < begin + group; ++i) {
      out[i] = scale * static_cast<float>(codes[i]);
    }
  }
}

// The entry's channels as fp32: in place, or written to `buffer`.
HWY_INLINE const float* FloatRow(const EntryRows& rows, int64_t entry,
                                 int64_t dim, float* buffer) {
  const std::byte* row = rows.Row(entry);
  if (row == nullptr) {
    std::memset(buffer, 0, dim * sizeof(float));
    return buffer;
  }
  if (rows.dtype == DType::kF32) return reinterpret_cast<const float*>(row);
  if (rows.dtype == DType::kBF16) {
    int64_t i = WidenVectors(reinterpret_cast<const hwy::bfloat16_t*>(row),
                             buffer, dim);
    for (; i < dim; ++i)
      buffer[i] = ToFloat(reinterpret_cast<const bf16*>(row)[i]);
    return buffer;
  }
  if (rows.dtype == DType::kI8) {
    DecodeInt8(reinterpret_cast<const int8_t*>(row),
               rows.scales + rows.At(entry) * rows.scale_stride,
               rows.scale_group, dim, buffer);
    return buffer;
  }
  CHECK(rows.dtype == DType::kF16) << Name(rows.dtype);
  int64_t i =
      WidenVectors(reinterpret_cast<const hwy::float16_t*>(row), buffer, dim);
  for (; i < dim; ++i)
    buffer[i] = ToFloat(reinterpret_cast<const f16*>(row)[i]);
  return buffer;
}

// C [rows, dim] += A [rows, entries] times the entries [begin, end), read where
// they lie; false, and nothing done, where they cannot be.
template <class F>
HWY_INLINE bool AddRows(Left a, const EntryRows& rows, int64_t begin,
                        int64_t end, int64_t dim, float* c, int64_t c_stride,
                        int64_t count, F& fetcher) {
  if (dim % kPanel != 0 || !rows.OneArray(begin, end)) return false;
  const std::byte* first = rows.Row(begin);
  const auto add = [&]<class T>(const T* data) HWY_ATTR {
    Product(a, RightOf<T>{data, kPanel, rows.stride}, c, c_stride, count,
            end - begin, dim, true, fetcher);
  };
  if (rows.dtype == DType::kF32) {
    add(reinterpret_cast<const float*>(first));
  } else if (rows.dtype == DType::kBF16) {
    add(reinterpret_cast<const hwy::bfloat16_t*>(first));
  } else {
    return false;
  }
  return true;
}

#if HWY_TARGET != HWY_SCALAR
using DU = hn::RebindToUnsigned<DF>;
using VU = hn::Vec<DU>;

// The 16 bytes at `at` of rows 0, 4, 8, ... in the blocks of a vector.
HWY_INLINE VU FromEveryFourth(const std::byte* const* row, int64_t at) {
  const hn::Full128<uint32_t> d4;
  const auto piece = [&](int i) HWY_ATTR {
    return hn::LoadU(d4, reinterpret_cast<const uint32_t*>(row[4 * i] + at));
  };
#if HWY_MAX_BYTES == 64
  const hn::Full256<uint32_t> d8;
  return hn::Combine(DU(), hn::Combine(d8, piece(3), piece(2)),
                     hn::Combine(d8, piece(1), piece(0)));
#elif HWY_MAX_BYTES == 32
  return hn::Combine(DU(), piece(1), piece(0));
#else
  return piece(0);
#endif
}

// Words at..at+3 of as many rows as a vector has lanes: out[i] holds word i of
// each, in order.
HWY_INLINE void TransposeWords(const std::byte* const* row, int64_t at,
                               VU* out) {
  const DU d;
  const hn::RepartitionToWide<DU> d2;
  const VU r0 = FromEveryFourth(row, at), r1 = FromEveryFourth(row + 1, at);
  const VU r2 = FromEveryFourth(row + 2, at), r3 = FromEveryFourth(row + 3, at);
  const auto low01 = hn::BitCast(d2, hn::InterleaveLower(d, r0, r1));
  const auto low23 = hn::BitCast(d2, hn::InterleaveLower(d, r2, r3));
  const auto high01 = hn::BitCast(d2, hn::InterleaveUpper(d, r0, r1));
  const auto high23 = hn::BitCast(d2, hn::InterleaveUpper(d, r2, r3));
  out[0] = hn::BitCast(d, hn::InterleaveLower(d2, low01, low23));
  out[1] = hn::BitCast(d, hn::InterleaveUpper(d2, low01, low23));
  out[2] = hn::BitCast(d, hn::InterleaveLower(d2, high01, high23));
  out[3] = hn::BitCast(d, hn::InterleaveUpper(d2, high01, high23));
}

// Entries e..e+lanes−1, which lie in one array, as columns [dim, 16] of a
// panel.
template <class F>
HWY_INLINE void TransposeEntries(const EntryRows& rows, int64_t e, int64_t dim,
                                 float* out, F& fetcher) {
  const DF d;
  const DU du;
  constexpr int kLanes = static_cast<int>(HWY_LANES(float));
  const std::byte* row[kLanes];
  const std::byte* first = rows.Row(e);
  const int64_t step = static_cast<int64_t>(rows.row_bytes());
  for (int i = 0; i < kLanes; ++i) row[i] = first + i * step;
  VU words[4];
  if (rows.dtype == DType::kF32) {
    for (int64_t c = 0; c < dim; c += 4) {
      TransposeWords(row, c * 4, words);
      for (int i = 0; i < 4; ++i) {
        hn::StoreU(hn::BitCast(d, words[i]), d, out + (c + i) * kPanel);
      }
    }
    return;
  }
  // A word is a pair of bf16 channels, the even one below.
  const VU upper = hn::Set(du, 0xFFFF0000u);
  for (int64_t c = 0; c < dim; c += 8) {
    TransposeWords(row, c * 2, words);
    for (int i = 0; i < 4; ++i) fetcher.Next();
    for (int i = 0; i < 4; ++i) {
      float* to = out + (c + 2 * i) * kPanel;
      hn::StoreU(hn::BitCast(d, hn::ShiftLeft<16>(words[i])), d, to);
      hn::StoreU(hn::BitCast(d, hn::And(words[i], upper)), d, to + kPanel);
    }
  }
}

// Whether TransposeEntries can read entries [begin, end).
HWY_INLINE bool Wide(const EntryRows& rows, int64_t begin, int64_t end,
                     int64_t dim) {
  return (rows.dtype == DType::kF32
              ? dim % 4 == 0
              : rows.dtype == DType::kBF16 && dim % 8 == 0) &&
         rows.OneArray(begin, end);
}
#else
template <class F>
HWY_INLINE void TransposeEntries(const EntryRows&, int64_t, int64_t, float*,
                                 F&) {}
HWY_INLINE bool Wide(const EntryRows&, int64_t, int64_t, int64_t) {
  return false;
}
#endif

// Entries tile + [j0, j1) as the columns of packed panels [dim, 16]. Columns
// around them, up to a multiple of 4, become 0. buffer: 5 padded rows.
template <class F>
HWY_INLINE Right LoadTransposed(const EntryRows& rows, int64_t tile, int64_t j0,
                                int64_t j1, int64_t dim, float* out,
                                float* buffer, F& fetcher) {
  const int64_t padded = Padded(dim);
  constexpr int64_t kLanes = HWY_LANES(float);
  const bool wide = Wide(rows, tile + j0, tile + j1, dim);
  float* zero = buffer + 4 * padded;
  std::memset(zero, 0, dim * sizeof(float));
  for (int64_t j = j0 / 4 * 4; j < j1; j += 4) {
    if (wide && j % kLanes == 0 && j >= j0 && j + kLanes <= j1) {
      TransposeEntries(rows, tile + j, dim,
                       out + j / kPanel * dim * kPanel + j % kPanel, fetcher);
      j += kLanes - 4;
      continue;
    }
    const float* row[4];
    for (int64_t i = 0; i < 4; ++i) {
      row[i] = j + i < j0 || j + i >= j1
                   ? zero
                   : FloatRow(rows, tile + j + i, dim, buffer + i * padded);
    }
    float* to = out + j / kPanel * dim * kPanel + j % kPanel;
    int64_t c = 0;
#if HWY_TARGET != HWY_SCALAR
    const hn::FixedTag<float, 4> d;
    for (; c + 4 <= dim; c += 4) {
      const auto r0 = hn::LoadU(d, row[0] + c), r1 = hn::LoadU(d, row[1] + c);
      const auto r2 = hn::LoadU(d, row[2] + c), r3 = hn::LoadU(d, row[3] + c);
      const auto low01 = hn::InterleaveLower(d, r0, r1);
      const auto low23 = hn::InterleaveLower(d, r2, r3);
      const auto high01 = hn::InterleaveUpper(d, r0, r1);
      const auto high23 = hn::InterleaveUpper(d, r2, r3);
      float* at = to + c * kPanel;
      hn::StoreU(hn::ConcatLowerLower(d, low23, low01), d, at);
      hn::StoreU(hn::ConcatUpperUpper(d, low23, low01), d, at + kPanel);
      hn::StoreU(hn::ConcatLowerLower(d, high23, high01), d, at + 2 * kPanel);
      hn::StoreU(hn::ConcatUpperUpper(d, high23, high01), d, at + 3 * kPanel);
    }
#endif
    for (; c < dim; ++c) {
      for (int64_t i = 0; i < 4; ++i) to[c * kPanel + i] = row[i][c];
    }
  }
  return {out, dim * kPanel, kPanel};
}

// Entries [begin, end), at most a tile, as the rows of packed panels [kTile,
// 16]; a view where they lie so already. buffer: a padded row.
HWY_INLINE Right LoadRows(const EntryRows& rows, int64_t begin, int64_t end,
                          int64_t dim, float* out, float* buffer) {
  if (rows.dtype == DType::kF32 && dim == kPanel && rows.stride == dim &&
      rows.OneArray(begin, end)) {
    return Plain(reinterpret_cast<const float*>(rows.Row(begin)), dim);
  }
  const DF d;
  for (int64_t e = begin; e < end; ++e) {
    const float* from = FloatRow(rows, e, dim, buffer);
    float* to = out + (e - begin) * kPanel;
    int64_t c = 0;
    for (; c + kPanel <= dim; c += kPanel, to += kTile * kPanel) {
      for (int64_t i = 0; i < kPanel; i += hn::Lanes(d)) {
        hn::StoreU(hn::LoadU(d, from + c + i), d, to + i);
      }
    }
    if (c == dim) continue;
    for (int64_t i = 0; i < kPanel; ++i) {
      to[i] = c + i < dim ? from[c + i] : 0.0f;
    }
  }
  return {out, kTile * kPanel, kPanel};
}

}  // namespace HWY_NAMESPACE
}  // namespace intarsia::attention_internal
HWY_AFTER_NAMESPACE();

#endif  // once per target
