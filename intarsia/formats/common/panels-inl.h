// Products of integer activations (activations.h) with panels of W: 16-bit
// activations times codes widened to 16 bits, pairs added to 32. Who includes
// this says with which vectors, in whose namespace it then stands:
//
//   #define INTARSIA_VECTORS "intarsia/formats/common/vectors_avx2-inl.h"
//
// A panel is kRows = 2 kLanes rows of W, block after block of 32 numbers. Lane
// n of a vector is row n (or kLanes + n), so no lanes are added up. A room
// gives kBlocks blocks in a row:
//
//   struct Panel {
//     static constexpr int kBlocks;
//     static constexpr bool kMinimum;    // a number is d code + m, or
//     static constexpr int kOffset;      // without a minimum d (code -
//     kOffset) static constexpr bool kWords;      // codes are stored as 16
//     bits Block At(int b) const;             // or, where kBlocks is 1, itself
//   };
//   struct Block {
//     // Codes of numbers 4 (c / 2) + c % 2 and + 2 of it, kLanes rows each.
//     template <int c> Ints Words(int half) const;
//     Floats Scale(int half) const;
//     Floats Minimum(int half) const;    // if kMinimum
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
#include "intarsia/formats/common/prepared.h"
#include INTARSIA_VECTORS

INTARSIA_BEGIN_ISA
namespace intarsia::formats::INTARSIA_ISA {

inline constexpr int kRows = 2 * kLanes;

template <typename T>
INTARSIA_INLINE T ReadAt(const void* p) {
  T value;
  std::memcpy(&value, p, sizeof(value));
  return value;
}

// What any panel unpacks to: codes less their offset, scales in fp32. Many rows
// of X meet this instead.
template <bool minimum>
struct alignas(64) WordPanel {
  static constexpr int kBlocks = 1;
  static constexpr int kOffset = 0;
  static constexpr bool kMinimum = minimum;
  static constexpr bool kWords = true;

  const WordPanel& At(int) const { return *this; }
  template <int c>
  INTARSIA_INLINE Ints Words(int half) const {
    return Load(codes[c][half]);
  }
  INTARSIA_INLINE Floats Scale(int half) const {
    return LoadFloats(scale[half]);
  }
  INTARSIA_INLINE Floats Minimum(int half) const {
    return LoadFloats(minima[half]);
  }

  int16_t codes[16][2][2 * kLanes];
  float scale[2][kLanes];
  float minima[minimum ? 2 : 0][kLanes];
};

// Block b of a row of panels.
template <class Panel>
INTARSIA_INLINE decltype(auto) BlockAt(const Panel* panel, int64_t b) {
  return panel[b / Panel::kBlocks].At(static_cast<int>(b % Panel::kBlocks));
}

template <class Panel, int c, class Block>
INTARSIA_INLINE void UnpackWords(const Block& from,
                                 WordPanel<Panel::kMinimum>* to) {
  const Ints offset = SpreadWord(Panel::kOffset);
  for (int half = 0; half < 2; ++half) {
    Store(to->codes[c][half], SubWords(from.template Words<c>(half), offset));
  }
}

template <class Panel, class Block, int... c>
INTARSIA_INLINE void UnpackBlock(const Block& from,
                                 WordPanel<Panel::kMinimum>* to,
                                 std::integer_sequence<int, c...>) {
  (UnpackWords<Panel, c>(from, to), ...);
  for (int half = 0; half < 2; ++half) {
    StoreFloats(to->scale[half], from.Scale(half));
    if constexpr (Panel::kMinimum) {
      StoreFloats(to->minima[half], from.Minimum(half));
    }
  }
}

// Where block j of a group of activations keeps what: its codes 64 j bytes from
// the group's start, the rest 16 j bytes from there on.
inline constexpr int64_t kScaleAt = offsetof(WordGroup, of.scale),
                         kSumAt = offsetof(WordGroup, of.sum),
                         kCodesAt = offsetof(WordGroup, of.codes);

template <int M, int c, class Block>
INTARSIA_INLINE void AddWords(const Block& w, const std::byte* const (&x)[M],
                              int64_t j, Ints (&sum)[M][2]) {
  const Ints w0 = w.template Words<c>(0), w1 = w.template Words<c>(1);
  INTARSIA_UNROLL
  for (int m = 0; m < M; ++m) {
    const Ints xs = Spread(ReadAt<int32_t>(x[m] + 64 * j + 4 * c));
    sum[m][0] = AddProducts(sum[m][0], w0, xs);
    sum[m][1] = AddProducts(sum[m][1], w1, xs);
  }
}

// Nibbles share a dword by fours, bytes by twos: these follow each other.
template <int M, class Block, int... c>
INTARSIA_INLINE void AddCodes(const Block& w, const std::byte* const (&x)[M],
                              int64_t j, Ints (&sum)[M][2],
                              std::integer_sequence<int, c...>) {
  (AddWords<M, c / 4 * 2 + c % 2 + (c & 2) * 4>(w, x, j, sum), ...);
}

// A block of the panel against block j of the group that x points to.
template <class Panel, int M, class Block>
INTARSIA_INLINE void AddBlock(const Block& w, const std::byte* const (&x)[M],
                              int64_t j, Floats (&partial)[M][2]) {
  Ints sum[M][2];
  INTARSIA_UNROLL
  for (int m = 0; m < M; ++m) sum[m][0] = sum[m][1] = ZeroInts();
  AddCodes<M>(w, x, j, sum, std::make_integer_sequence<int, 16>());
  const Floats d[2] = {w.Scale(0), w.Scale(1)};
  Floats minima[2];
  if constexpr (Panel::kMinimum) {
    minima[0] = w.Minimum(0), minima[1] = w.Minimum(1);
  }
  INTARSIA_UNROLL
  for (int m = 0; m < M; ++m) {
    const std::byte* of = x[m] + 16 * j;
    const Floats scale = Spread(ReadAt<float>(of + kScaleAt));
    INTARSIA_UNROLL
    for (int i = 0; i < 2; ++i) {
      if constexpr (Panel::kOffset != 0) {
        sum[m][i] = Sub(
            sum[m][i], Spread(ReadAt<int32_t>(of + kCodesAt) * Panel::kOffset));
      }
      partial[m][i] =
          MulAdd(ToFloats(sum[m][i]), Mul(d[i], scale), partial[m][i]);
      if constexpr (Panel::kMinimum) {
        partial[m][i] = MulAdd(minima[i], Spread(ReadAt<float>(of + kSumAt)),
                               partial[m][i]);
      }
    }
  }
}

// Asks for what lies 2 KiB ahead of block b, as many bytes as it has. Past the
// last panel nothing is read, only asked for.
template <class Panel>
INTARSIA_INLINE void AskNearby(const Panel* panel, int64_t b) {
  constexpr size_t kAhead = 2048, kBytes = sizeof(Panel) / Panel::kBlocks;
  const char* from = reinterpret_cast<const char*>(panel) + b * kBytes + kAhead;
  INTARSIA_UNROLL
  for (size_t i = 0; i < kBytes; i += 64) {
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

// The first a.n of kRows sums, with the bias.
INTARSIA_INLINE void StoreRow(const PreparedArgs& a, const Floats (&sum)[2],
                              float* y) {
  if (a.n == kRows) {
    INTARSIA_UNROLL
    for (int i = 0; i < 2; ++i) {
      const int at = i * kLanes;
      StoreAnywhere(y + at, a.bias == nullptr
                                ? sum[i]
                                : Add(sum[i], LoadAnywhere(a.bias + at)));
    }
    return;
  }
  alignas(64) float all[kRows];
  for (int i = 0; i < 2; ++i) StoreFloats(all + i * kLanes, sum[i]);
  for (int64_t n = 0; n < a.n; ++n) {
    y[n] = a.bias == nullptr ? all[n] : all[n] + a.bias[n];
  }
}

// M rows of X against a panel, whose blocks are read once, in order.
template <class Panel, int M>
__attribute__((noinline)) void Tile(const PreparedArgs& a, const Panel* panel,
                                    int64_t m0, bool nearby, NextPanel& next) {
  Floats partial[4][M][2];
  const std::byte* x[M];
  INTARSIA_UNROLL
  for (int m = 0; m < M; ++m) {
    x[m] = a.x + (m0 + m) * a.x_stride;
    for (int j = 0; j < 4; ++j) {
      partial[j][m][0] = partial[j][m][1] = ZeroFloats();
    }
  }
  const int64_t blocks = a.k / 32;
  for (int64_t b = 0; b < blocks; ++b) {
    const int64_t j = b % 4;
    // M pointers in registers: left alone, g++ keeps one for each address.
    INTARSIA_UNROLL
    for (int m = 0; m < M; ++m) asm("" : "+r"(x[m]));
    if (nearby) AskNearby(panel, b);
    next.Ask();
    AddBlock<Panel, M>(BlockAt(panel, b), x, j, partial[j]);
    if (j == 3) {
      INTARSIA_UNROLL
      for (int m = 0; m < M; ++m) x[m] += sizeof(WordGroup);
    }
  }
  for (int m = 0; m < M; ++m) {
    Floats sum[2];
    INTARSIA_UNROLL
    for (int i = 0; i < 2; ++i) {
      sum[i] = Add(Add(partial[0][m][i], partial[2][m][i]),
                   Add(partial[1][m][i], partial[3][m][i]));
    }
    StoreRow(a, sum, a.y + (m0 + m) * a.y_stride);
  }
}

// Tile<Panel, rows> for a number known at run time, 1 to kTileRows.
template <class Panel, int M = kTileRows>
INTARSIA_INLINE void TileOf(int64_t rows, const PreparedArgs& a,
                            const Panel* panel, int64_t m0, bool nearby,
                            NextPanel& next) {
  if constexpr (M > 1) {
    if (rows < M) {
      return TileOf<Panel, M - 1>(rows, a, panel, m0, nearby, next);
    }
  }
  Tile<Panel, M>(a, panel, m0, nearby, next);
}

// `stored`: the panel as it is kept, whose bytes are those of the next one.
// Few rows of X run at the speed of memory, and ask for what they read soon;
// many ask for the next panel meanwhile. Words come by themselves for one row.
template <class Panel>
void Tiles(const PreparedArgs& a, const Panel* panel, bool cold,
           size_t stored) {
  const int64_t tiles = (a.m + kTileRows - 1) / kTileRows;
  const bool few = tiles == 1;
  NextPanel next(few ? nullptr : a.next, stored, tiles * (a.k / 32));
  const bool nearby = cold && !(Panel::kWords && a.m == 1);
  for (int64_t i = 0; i < tiles; ++i) {  // as even as can be
    const int64_t m0 = a.m * i / tiles, m1 = a.m * (i + 1) / tiles;
    TileOf(m1 - m0, a, panel, m0, nearby && i == 0, next);
  }
}

template <class Panel>
size_t Bytes(int64_t k) {
  return static_cast<size_t>(k / 32 / Panel::kBlocks) * sizeof(Panel);
}

template <class Panel>
void Dot(const PreparedArgs& a) {
  const auto* panel = reinterpret_cast<const Panel*>(a.w);
  const int64_t blocks = a.k / 32;
  const size_t stored = Bytes<Panel>(a.k);
  if constexpr (!Panel::kWords) {
    if (a.m >= kUnpackRows) {
      using Words = WordPanel<Panel::kMinimum>;
      auto* words = reinterpret_cast<Words*>(a.scratch);
      for (int64_t b = 0; b < blocks; ++b) {
        if (a.cold) AskNearby(panel, b);
        UnpackBlock<Panel>(BlockAt(panel, b), words + b,
                           std::make_integer_sequence<int, 16>());
      }
      return Tiles<Words>(a, words, /*cold=*/false, stored);
    }
  }
  // One tile asks for nothing else, so its panels are always cold.
  Tiles<Panel>(a, panel, a.cold || a.m <= kTileRows, stored);
}

template <class Panel>
size_t Scratch(int64_t m, int64_t k) {
  if (Panel::kWords || m < kUnpackRows) return 0;
  return static_cast<size_t>(k / 32) * sizeof(WordPanel<Panel::kMinimum>);
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

}  // namespace intarsia::formats::INTARSIA_ISA
INTARSIA_END_ISA
