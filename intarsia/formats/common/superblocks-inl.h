// matmul-inl.h for formats whose scales cover more than 32 numbers. A room
// includes this after foreach_target.h and gives a Block:
//
//   struct Block {
//     static constexpr size_t kBytes;          // of 32 · kParts numbers
//     static constexpr int kParts;
//     struct State;                            // the scales, read once a block
//     static void Begin(D d, const uint8_t* block, State* state);
//     // Numbers [v·lanes, +lanes) of the 32 of `part`.
//     static V Get(D d, const uint8_t* block, const State&, int part, int v);
//   };
//
// Sums are those of matmul-inl.h: lane i adds k ≡ i, parts in order.
#if defined(INTARSIA_FORMATS_SUPERBLOCKS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef INTARSIA_FORMATS_SUPERBLOCKS_INL_H_
#undef INTARSIA_FORMATS_SUPERBLOCKS_INL_H_
#else
#define INTARSIA_FORMATS_SUPERBLOCKS_INL_H_
#endif

#include "intarsia/formats/common/matmul-inl.h"

HWY_BEFORE_NAMESPACE();
namespace intarsia::formats::HWY_NAMESPACE {

using DI = hn::RebindToSigned<D>;
using VI = hn::Vec<DI>;

// Bytes [0, lanes) at `p`, each in a lane of its own.
HWY_INLINE VI WideBytes(const uint8_t* p) {
  const hn::Rebind<uint8_t, D> du8;
  return hn::PromoteTo(DI(), hn::LoadU(du8, p));
}

HWY_INLINE VI Masked(VI x, int mask) { return hn::And(x, hn::Set(DI(), mask)); }

// out[i] = codes[i] · scale, sixteen of them.
template <class Byte>
HWY_INLINE void ScaleSixteen(D d, const Byte* codes, V scale, float* out) {
  const hn::Rebind<Byte, D> d8;
  for (int i = 0; i < 16; i += kLanes) {
    const VI wide = hn::PromoteTo(DI(), hn::LoadU(d8, codes + i));
    hn::StoreU(hn::Mul(hn::ConvertTo(d, wide), scale), d, out + i);
  }
}

template <class Block, int M>
HWY_NOINLINE void PartsTile(const DotArgs& a, const float* x,
                            const std::byte* w, float* y, const float* bias,
                            int64_t columns, int64_t apart) {
  const D d;
  const float* xs[M];
  const uint8_t* ws[kTileN];
  for (int m = 0; m < M; ++m) xs[m] = x + m * a.x_stride;
  for (int n = 0; n < kTileN; ++n) {  // missing rows repeat the last
    ws[n] = reinterpret_cast<const uint8_t*>(w) +
            std::min<int64_t>(n, columns - 1) * apart * a.w_stride;
  }
  V sum[M][kTileN];
  INTARSIA_UNROLL
  for (int m = 0; m < M; ++m) {
    INTARSIA_UNROLL
    for (int n = 0; n < kTileN; ++n) sum[m][n] = hn::Zero(d);
  }
  constexpr int64_t kNumbers = int64_t{kBlockNumbers} * Block::kParts;
  for (int64_t b = 0; b < a.k / kNumbers; ++b) {
    typename Block::State state[kTileN];
    for (int n = 0; n < kTileN; ++n) Block::Begin(d, ws[n], &state[n]);
    for (int part = 0; part < Block::kParts; ++part) {
      INTARSIA_UNROLL
      for (int v = 0; v < kVectors; ++v) {
        V row[M];
        INTARSIA_UNROLL
        for (int m = 0; m < M; ++m) row[m] = hn::LoadU(d, xs[m] + v * kLanes);
        INTARSIA_UNROLL
        for (int n = 0; n < kTileN; ++n) {
          const V got = Block::Get(d, ws[n], state[n], part, v);
          INTARSIA_UNROLL
          for (int m = 0; m < M; ++m) {
            sum[m][n] = hn::MulAdd(got, row[m], sum[m][n]);
          }
        }
      }
      INTARSIA_UNROLL
      for (int m = 0; m < M; ++m) xs[m] += kBlockNumbers;
    }
    INTARSIA_UNROLL
    for (int n = 0; n < kTileN; ++n) ws[n] += Block::kBytes;
  }
  for (int m = 0; m < M; ++m) {
    float total[kTileN];
    SumLanes(sum[m], total);
    for (int n = 0; n < columns; ++n) {
      y[m * a.y_stride + n * apart] =
          bias == nullptr ? total[n] : total[n] + bias[n * apart];
    }
  }
}

// Rows of W in four streams, a quarter of W each.
template <class Block>
void DotParts(const DotArgs& a) {
  const int64_t apart = (a.n + kTileN - 1) / kTileN;
  for (int64_t m = 0; m < a.m; m += kTileM) {
    const float* x = a.x + m * a.x_stride;
    const int64_t rows = std::min<int64_t>(kTileM, a.m - m);
    for (int64_t n = 0; n < apart; ++n) {
      const std::byte* w = a.w + n * a.w_stride;
      float* y = a.y + m * a.y_stride + n;
      const float* bias = a.bias == nullptr ? nullptr : a.bias + n;
      const int64_t columns = (a.n - n + apart - 1) / apart;
      if (rows == 1) {
        PartsTile<Block, 1>(a, x, w, y, bias, columns, apart);
      } else if (rows == 2) {
        PartsTile<Block, 2>(a, x, w, y, bias, columns, apart);
      } else if (rows == 3) {
        PartsTile<Block, 3>(a, x, w, y, bias, columns, apart);
      } else {
        PartsTile<Block, kTileM>(a, x, w, y, bias, columns, apart);
      }
    }
  }
}

template <class Block>
void DequantizeParts(const std::byte* in, float* out, int64_t k) {
  const D d;
  const uint8_t* block = reinterpret_cast<const uint8_t*>(in);
  for (int64_t b = 0; b < k / (kBlockNumbers * Block::kParts); ++b) {
    typename Block::State state;
    Block::Begin(d, block, &state);
    for (int part = 0; part < Block::kParts; ++part) {
      INTARSIA_UNROLL
      for (int v = 0; v < kVectors; ++v) {
        hn::StoreU(Block::Get(d, block, state, part, v), d, out + v * kLanes);
      }
      out += kBlockNumbers;
    }
    block += Block::kBytes;
  }
}

}  // namespace intarsia::formats::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
