// Products of integer activations (activations.h) with panels of W by vpmaddwd:
// 16-bit activations times codes widened to 16 bits, pairs added to 32.
//
// A panel is 16 rows of W, block after block of 32 numbers. Lane n of a vector
// is row n (or 8 + n), so no lanes are added up. A room gives the block:
//
//   struct Panel {
//     static constexpr int kOffset;      // a number is d (code - kOffset), or
//     static constexpr bool kMinimum;    // with a minimum d code + m
//     static constexpr bool kWords;      // codes are stored as 16 bits
//     // Codes of numbers 4 (c / 2) + c % 2 and + 2 of it, 8 rows each.
//     template <int c> __m256i Words(int half) const;
//     __m256 Scale(int half) const;
//     __m256 Minimum(int half) const;    // if kMinimum
//   };
//
// The sum is that of vnni-inl.h, bit by bit: for each block the integer
// Σ code_x (code_w - kOffset) is exact; partial sum j adds float(integer) ·
// (d · scale), and m · (scale Σ code_x), of the blocks b ≡ j mod 4 in ascending
// order by fused multiply-add. The result is (p0 + p2) + (p1 + p3).
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>

#include "intarsia/formats/common/activations.h"
#include "intarsia/formats/common/avx2.h"
#include "intarsia/formats/common/prepared.h"

INTARSIA_BEGIN_AVX2
namespace intarsia::formats::panels {

inline constexpr int kRows = 16;

template <typename T>
INTARSIA_INLINE T ReadAt(const void* p) {
  T value;
  std::memcpy(&value, p, sizeof(value));
  return value;
}
INTARSIA_INLINE __m256i Load(const void* p) {
  return _mm256_load_si256(static_cast<const __m256i*>(p));
}
INTARSIA_INLINE void Store(void* p, __m256i v) {
  _mm256_store_si256(static_cast<__m256i*>(p), v);
}

// The same, computed here: left alone, g++ adds in an order of its own, for
// which it keeps dozens of products on the stack.
INTARSIA_INLINE __m256i Here(__m256i v) {
  asm volatile("" : "+x"(v));
  return v;
}

// 8 × 8 dwords: lane i of v[j] and lane j of v[i] change places.
INTARSIA_INLINE void Transpose(__m256i (&v)[8]) {
  __m256i t[8];
  INTARSIA_UNROLL
  for (int i = 0; i < 8; i += 2) {
    t[i] = _mm256_unpacklo_epi32(v[i], v[i + 1]);
    t[i + 1] = _mm256_unpackhi_epi32(v[i], v[i + 1]);
  }
  // v[4 i + c]: column c of each half, rows 4 i..4 i + 3.
  INTARSIA_UNROLL
  for (int i = 0; i < 8; i += 4) {
    v[i] = _mm256_unpacklo_epi64(t[i], t[i + 2]);
    v[i + 1] = _mm256_unpackhi_epi64(t[i], t[i + 2]);
    v[i + 2] = _mm256_unpacklo_epi64(t[i + 1], t[i + 3]);
    v[i + 3] = _mm256_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  INTARSIA_UNROLL
  for (int c = 0; c < 4; ++c) {
    t[c] = _mm256_permute2x128_si256(v[c], v[4 + c], 0x20);
    t[4 + c] = _mm256_permute2x128_si256(v[c], v[4 + c], 0x31);
  }
  INTARSIA_UNROLL
  for (int i = 0; i < 8; ++i) v[i] = t[i];
}

// What any panel unpacks to: codes less their offset, scales in fp32. Many rows
// of X meet this instead.
template <bool minimum>
struct alignas(64) WordPanel {
  static constexpr int kOffset = 0;
  static constexpr bool kMinimum = minimum;
  static constexpr bool kWords = true;

  template <int c>
  INTARSIA_INLINE __m256i Words(int half) const {
    return Load(codes[c][half]);
  }
  INTARSIA_INLINE __m256 Scale(int half) const {
    return _mm256_load_ps(scale[half]);
  }
  INTARSIA_INLINE __m256 Minimum(int half) const {
    return _mm256_load_ps(minima[half]);
  }

  int16_t codes[16][2][16];
  float scale[2][8];
  float minima[minimum ? 2 : 0][8];
};

template <class Panel, int c>
INTARSIA_INLINE void UnpackWords(const Panel& from,
                                 WordPanel<Panel::kMinimum>* to) {
  const __m256i offset = _mm256_set1_epi16(Panel::kOffset);
  for (int half = 0; half < 2; ++half) {
    Store(to->codes[c][half],
          _mm256_sub_epi16(from.template Words<c>(half), offset));
  }
}

template <class Panel, int... c>
INTARSIA_INLINE void UnpackBlock(const Panel& from,
                                 WordPanel<Panel::kMinimum>* to,
                                 std::integer_sequence<int, c...>) {
  (UnpackWords<Panel, c>(from, to), ...);
  for (int half = 0; half < 2; ++half) {
    _mm256_store_ps(to->scale[half], from.Scale(half));
    if constexpr (Panel::kMinimum) {
      _mm256_store_ps(to->minima[half], from.Minimum(half));
    }
  }
}

// Where block j of a group of activations keeps what: its codes 64 j bytes from
// the group's start, the rest 16 j bytes from there on.
inline constexpr int64_t kScaleAt = offsetof(WordGroup, of.scale),
                         kSumAt = offsetof(WordGroup, of.sum),
                         kCodesAt = offsetof(WordGroup, of.codes);

template <class Panel, int M, int c>
INTARSIA_INLINE void AddWords(const Panel& w, const std::byte* const (&x)[M],
                              int64_t j, __m256i (&sum)[M][2]) {
  const __m256i w0 = w.template Words<c>(0), w1 = w.template Words<c>(1);
  INTARSIA_UNROLL
  for (int m = 0; m < M; ++m) {
    const __m256i xs =
        _mm256_set1_epi32(ReadAt<int32_t>(x[m] + 64 * j + 4 * c));
    sum[m][0] = Here(_mm256_add_epi32(sum[m][0], _mm256_madd_epi16(w0, xs)));
    sum[m][1] = Here(_mm256_add_epi32(sum[m][1], _mm256_madd_epi16(w1, xs)));
  }
}

// Nibbles share a dword by fours, bytes by twos: these follow each other.
template <class Panel, int M, int... c>
INTARSIA_INLINE void AddCodes(const Panel& w, const std::byte* const (&x)[M],
                              int64_t j, __m256i (&sum)[M][2],
                              std::integer_sequence<int, c...>) {
  (AddWords<Panel, M, c / 4 * 2 + c % 2 + (c & 2) * 4>(w, x, j, sum), ...);
}

// A block of the panel against block j of the group that x points to.
template <class Panel, int M>
INTARSIA_INLINE void AddBlock(const Panel& w, const std::byte* const (&x)[M],
                              int64_t j, __m256 (&partial)[M][2]) {
  __m256i sum[M][2];
  INTARSIA_UNROLL
  for (int m = 0; m < M; ++m) sum[m][0] = sum[m][1] = _mm256_setzero_si256();
  AddCodes(w, x, j, sum, std::make_integer_sequence<int, 16>());
  const __m256 d[2] = {w.Scale(0), w.Scale(1)};
  INTARSIA_UNROLL
  for (int m = 0; m < M; ++m) {
    const std::byte* of = x[m] + 16 * j;
    const __m256 scale = _mm256_set1_ps(ReadAt<float>(of + kScaleAt));
    INTARSIA_UNROLL
    for (int i = 0; i < 2; ++i) {
      if constexpr (Panel::kOffset != 0) {
        sum[m][i] = _mm256_sub_epi32(
            sum[m][i],
            _mm256_set1_epi32(ReadAt<int32_t>(of + kCodesAt) * Panel::kOffset));
      }
      partial[m][i] =
          _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum[m][i]),
                          _mm256_mul_ps(d[i], scale), partial[m][i]);
      if constexpr (Panel::kMinimum) {
        partial[m][i] = _mm256_fmadd_ps(
            w.Minimum(i), _mm256_set1_ps(ReadAt<float>(of + kSumAt)),
            partial[m][i]);
      }
    }
  }
}

// Asks for what lies 2 KiB ahead of a block, as many bytes as it has. Past the
// last panel nothing is read, only asked for.
template <class Panel>
INTARSIA_INLINE void AskNearby(const Panel* block) {
  constexpr size_t kAhead = 2048;
  const char* from = reinterpret_cast<const char*>(block) + kAhead;
  INTARSIA_UNROLL
  for (size_t i = 0; i < sizeof(Panel); i += 64) {
    _mm_prefetch(from + i, _MM_HINT_T0);
  }
}

// Asks for the next panel, to the second-level cache, a few lines at each of
// `steps` steps.
class NextPanel {
 public:
  NextPanel(const std::byte* panel, size_t bytes, int64_t steps)
      : at_(reinterpret_cast<const char*>(panel)),
        left_(panel == nullptr ? 0 : static_cast<int64_t>(bytes + 63) / 64),
        lines_((left_ + steps - 1) / std::max<int64_t>(1, steps)) {}
  INTARSIA_INLINE void Ask() {
    const int64_t lines = std::min(left_, lines_);
    for (int64_t i = 0; i < lines; ++i, at_ += 64) {
      _mm_prefetch(at_, _MM_HINT_T1);
    }
    left_ -= lines;
  }

 private:
  const char* at_;
  int64_t left_, lines_;
};

// M rows of X against a panel, whose blocks are read once, in order.
template <class Panel, int M>
__attribute__((noinline)) void Tile(const PreparedArgs& a, const Panel* panel,
                                    int64_t m0, bool nearby, NextPanel& next) {
  __m256 partial[4][M][2];
  const std::byte* x[M];
  INTARSIA_UNROLL
  for (int m = 0; m < M; ++m) {
    x[m] = a.x + (m0 + m) * a.x_stride;
    for (int j = 0; j < 4; ++j) {
      partial[j][m][0] = partial[j][m][1] = _mm256_setzero_ps();
    }
  }
  const int64_t blocks = a.k / 32;
  for (int64_t b = 0; b < blocks; ++b) {
    const int64_t j = b % 4;
    // M pointers in registers: left alone, g++ keeps one for each address.
    INTARSIA_UNROLL
    for (int m = 0; m < M; ++m) asm("" : "+r"(x[m]));
    if (nearby) AskNearby(panel + b);
    next.Ask();
    AddBlock<Panel, M>(panel[b], x, j, partial[j]);
    if (j == 3) {
      INTARSIA_UNROLL
      for (int m = 0; m < M; ++m) x[m] += sizeof(WordGroup);
    }
  }
  for (int m = 0; m < M; ++m) {
    alignas(32) float sum[kRows];
    INTARSIA_UNROLL
    for (int i = 0; i < 2; ++i) {
      _mm256_store_ps(
          sum + 8 * i,
          _mm256_add_ps(_mm256_add_ps(partial[0][m][i], partial[2][m][i]),
                        _mm256_add_ps(partial[1][m][i], partial[3][m][i])));
    }
    float* y = a.y + (m0 + m) * a.y_stride;
    for (int64_t n = 0; n < a.n; ++n) {
      y[n] = a.bias == nullptr ? sum[n] : sum[n] + a.bias[n];
    }
  }
}

// `stored`: the panel as it is kept, whose bytes are those of the next one.
// Few rows of X run at the speed of memory, and ask for what they read soon;
// many ask for the next panel meanwhile. Words come by themselves for one row.
template <class Panel>
void Tiles(const PreparedArgs& a, const Panel* panel, bool cold,
           size_t stored) {
  const int64_t tiles = (a.m + 3) / 4;
  const bool few = tiles == 1;
  NextPanel next(few ? nullptr : a.next, stored, tiles * (a.k / 32));
  const bool nearby = cold && !(Panel::kWords && a.m == 1);
  int64_t m = 0;
  for (; m + 4 <= a.m; m += 4) {
    Tile<Panel, 4>(a, panel, m, nearby && m == 0, next);
  }
  switch (a.m - m) {
    case 3:
      return Tile<Panel, 3>(a, panel, m, nearby && m == 0, next);
    case 2:
      return Tile<Panel, 2>(a, panel, m, nearby && m == 0, next);
    case 1:
      return Tile<Panel, 1>(a, panel, m, nearby && m == 0, next);
  }
}

// From so many rows of X on, unpacking a panel once for all pays.
inline constexpr int64_t kUnpackRows = 16;

template <class Panel>
void Dot(const PreparedArgs& a) {
  const auto* panel = reinterpret_cast<const Panel*>(a.w);
  const int64_t blocks = a.k / 32;
  const size_t stored = static_cast<size_t>(blocks) * sizeof(Panel);
  if constexpr (!Panel::kWords) {
    if (a.m >= kUnpackRows) {
      using Words = WordPanel<Panel::kMinimum>;
      auto* words = reinterpret_cast<Words*>(a.scratch);
      for (int64_t b = 0; b < blocks; ++b) {
        if (a.cold) AskNearby(panel + b);
        UnpackBlock(panel[b], words + b, std::make_integer_sequence<int, 16>());
      }
      return Tiles<Words>(a, words, /*cold=*/false, stored);
    }
  }
  // One tile asks for nothing else, so its panels are always cold.
  Tiles<Panel>(a, panel, a.cold || a.m <= 4, stored);
}

template <class Panel>
size_t Scratch(int64_t k) {
  return Panel::kWords
             ? 0
             : static_cast<size_t>(k / 32) * sizeof(WordPanel<Panel::kMinimum>);
}

template <class Panel>
size_t Bytes(int64_t k) {
  return static_cast<size_t>(k / 32) * sizeof(Panel);
}

// Pack is PreparedKernels::pack for whole panels of Panel.
template <class Panel>
constexpr PreparedKernels Kernels(decltype(PreparedKernels::pack) pack) {
  PreparedKernels kernels{};
  kernels.x_bytes = &ActivationBytes;
  kernels.prepare = &PrepareWords;
  kernels.panel_from = 1;
  kernels.panel_rows = kRows;
  kernels.panel_bytes = &Bytes<Panel>;
  kernels.pack = pack;
  kernels.panel_dot = &Dot<Panel>;
  kernels.scratch_bytes = &Scratch<Panel>;
  kernels.packs = true;
  return kernels;
}

}  // namespace intarsia::formats::panels
INTARSIA_END_AVX2
