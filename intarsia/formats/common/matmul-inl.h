// The dot-product micro-kernel, compiled once for each instruction set. A room
// includes it after foreach_target.h and gives a Block:
//
//   struct Block {
//     static constexpr size_t kBytes;           // of 32 numbers
//     State Begin(d, block);                    // scales, read once a block
//     Vec Get(d, block, state, v);              // numbers [v·lanes, +lanes)
//   };
//
// For plain formats 32 zero bytes must stand for zeros: tails are padded so.
#if defined(INTARSIA_FORMATS_MATMUL_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef INTARSIA_FORMATS_MATMUL_INL_H_
#undef INTARSIA_FORMATS_MATMUL_INL_H_
#else
#define INTARSIA_FORMATS_MATMUL_INL_H_
#endif

#include <algorithm>
#include <cstring>

#include "hwy/highway.h"
#include "intarsia/formats/common/matmul.h"

#ifndef INTARSIA_UNROLL
#if defined(__clang__)
#define INTARSIA_UNROLL _Pragma("clang loop unroll(full)")
#else
#define INTARSIA_UNROLL _Pragma("GCC unroll 32")
#endif
#endif

HWY_BEFORE_NAMESPACE();
namespace intarsia::formats::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;
constexpr int kLanes = HWY_MAX_BYTES / sizeof(float);
constexpr int kBlockNumbers = 32;
constexpr int kVectors = kBlockNumbers / kLanes;  // in a block

// A tile of kTileM rows of X and kTileN rows of W: its accumulators, the W
// vectors and one of X fit the register file (16, with AVX-512 32). A wide tile
// has more rows of X.
constexpr int kTileM = HWY_MAX_BYTES == 64 ? 4 : 3;
constexpr int kWideM = HWY_MAX_BYTES == 64 ? 6 : kTileM;
constexpr int kTileN = 4;

// fp16 to fp32, exactly; infinities and NaN stay what they are.
HWY_INLINE V FromHalf(D d, hn::Vec<hn::Rebind<uint16_t, D>> half) {
#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX2
  return hn::PromoteTo(d, hn::BitCast(hn::Rebind<hwy::float16_t, D>(), half));
#else
  const hn::RebindToUnsigned<D> du;
  const auto u = hn::PromoteTo(du, half);
  const auto exponent = hn::Set(du, 0x7C00u);
  const auto special = hn::Eq(hn::And(u, exponent), exponent);
  // The exponent's bias grows by 112 through a product, right for subnormals.
  auto bits = hn::BitCast(
      du, hn::Mul(hn::BitCast(
                      d, hn::ShiftLeft<13>(hn::And(u, hn::Set(du, 0x7FFFu)))),
                  hn::Set(d, 0x1p112f)));
  bits = hn::Or(bits, hn::IfThenElseZero(special, hn::Set(du, 0x7F800000u)));
  return hn::BitCast(
      d, hn::Or(bits, hn::ShiftLeft<16>(hn::And(u, hn::Set(du, 0x8000u)))));
#endif
}

// The fp16 scale at `p` in every lane.
HWY_INLINE V Scale(D d, const uint8_t* p) {
  uint16_t bits;
  std::memcpy(&bits, p, sizeof(bits));
  return FromHalf(d, hn::Set(hn::Rebind<uint16_t, D>(), bits));
}

// The same, in a register: left alone, g++ loads a vector again for each of its
// products, and loads become what the loop waits for.
HWY_INLINE V InRegister(V v) {
#if HWY_MAX_BYTES == 64 && (HWY_COMPILER_GCC || HWY_COMPILER_CLANG)
  asm volatile("" : "+v"(v.raw));  // volatile: in this order
#endif
  return v;
}

template <class Block, int M, int N>
HWY_INLINE void AddBlock(D d, const float* HWY_RESTRICT const* x,
                         const uint8_t* HWY_RESTRICT const* w, V (&sum)[M][N]) {
  using State = decltype(Block::Begin(d, w[0]));
  State state[N];
  INTARSIA_UNROLL
  for (int n = 0; n < N; ++n) state[n] = Block::Begin(d, w[n]);
  INTARSIA_UNROLL
  for (int v = 0; v < kVectors; ++v) {
    V ws[N];
    INTARSIA_UNROLL
    for (int n = 0; n < N; ++n) {
      ws[n] = InRegister(Block::Get(d, w[n], state[n], v));
    }
    INTARSIA_UNROLL
    for (int m = 0; m < M; ++m) {
      const V xs = InRegister(hn::LoadU(d, x[m] + v * kLanes));
      INTARSIA_UNROLL
      for (int n = 0; n < N; ++n) sum[m][n] = hn::MulAdd(ws[n], xs, sum[m][n]);
    }
  }
}

#if HWY_TARGET != HWY_SCALAR
using Quad = hn::Full128<float>;

// Upper and lower halves added until four lanes are left.
HWY_INLINE hn::Vec<Quad> Fold(hn::Vec<Quad> v) { return v; }
#if HWY_MAX_BYTES >= 32
HWY_INLINE hn::Vec<Quad> Fold(hn::Vec<hn::Full256<float>> v) {
  const Quad d;
  return hn::Add(hn::LowerHalf(d, v), hn::UpperHalf(d, v));
}
#endif
#if HWY_MAX_BYTES >= 64
HWY_INLINE hn::Vec<Quad> Fold(V v) {
  const hn::Full256<float> d;
  return Fold(hn::Add(hn::LowerHalf(d, v), hn::UpperHalf(d, v)));
}
#endif

// The four sums of lanes, (a0 + a2) + (a1 + a3) each.
HWY_INLINE void SumLanes(const V (&sum)[4], float* out) {
  const Quad d;
  const auto a = Fold(sum[0]), b = Fold(sum[1]);
  const auto c = Fold(sum[2]), e = Fold(sum[3]);
  const auto ab =
      hn::Add(hn::InterleaveLower(d, a, b), hn::InterleaveUpper(d, a, b));
  const auto ce =
      hn::Add(hn::InterleaveLower(d, c, e), hn::InterleaveUpper(d, c, e));
  hn::StoreU(
      hn::Add(hn::ConcatLowerLower(d, ce, ab), hn::ConcatUpperUpper(d, ce, ab)),
      d, out);
}
#else
HWY_INLINE void SumLanes(const V (&sum)[4], float* out) {
  for (int n = 0; n < 4; ++n) out[n] = hn::GetLane(sum[n]);
}
#endif

// M rows of X from m on and rows n, n + apart, ... of W, up to kTileN.
template <class Block, int M>
HWY_NOINLINE void Tile(const DotArgs& a, int64_t m, int64_t n, int64_t apart) {
  constexpr int N = kTileN;
  const D d;
  const int64_t columns = (a.n - n + apart - 1) / apart;
  const float* xs[M];
  const uint8_t* ws[N];
  for (int i = 0; i < M; ++i) xs[i] = a.x + (m + i) * a.x_stride;
  for (int j = 0; j < N; ++j) {  // missing rows repeat the last
    ws[j] = reinterpret_cast<const uint8_t*>(a.w) +
            (n + std::min<int64_t>(j, columns - 1) * apart) * a.w_stride;
  }
  V sum[M][N];
  INTARSIA_UNROLL
  for (int i = 0; i < M; ++i) {
    INTARSIA_UNROLL
    for (int j = 0; j < N; ++j) sum[i][j] = hn::Zero(d);
  }
  for (int64_t b = 0; b < a.k / kBlockNumbers; ++b) {
    AddBlock<Block, M, N>(d, xs, ws, sum);
    INTARSIA_UNROLL
    for (int i = 0; i < M; ++i) xs[i] += kBlockNumbers;
    INTARSIA_UNROLL
    for (int j = 0; j < N; ++j) ws[j] += Block::kBytes;
  }
  if (const int64_t tail = a.k % kBlockNumbers; tail != 0) {
    // Only plain formats come here: the rest of the row, padded with zeros.
    alignas(64) float x_tail[M][kBlockNumbers] = {};
    alignas(64) uint8_t w_tail[N][Block::kBytes] = {};
    for (int i = 0; i < M; ++i) {
      std::memcpy(x_tail[i], xs[i], tail * sizeof(float));
      xs[i] = x_tail[i];
    }
    for (int j = 0; j < N; ++j) {
      std::memcpy(w_tail[j], ws[j], tail * Block::kBytes / kBlockNumbers);
      ws[j] = w_tail[j];
    }
    AddBlock<Block, M, N>(d, xs, ws, sum);
  }
  for (int i = 0; i < M; ++i) {
    float total[N];
    SumLanes(sum[i], total);
    float* y = a.y + (m + i) * a.y_stride;
    for (int64_t j = 0; j < columns; ++j) {
      const int64_t row = n + j * apart;
      y[row] = a.bias == nullptr ? total[j] : total[j] + a.bias[row];
    }
  }
}

template <class Block, int M>
void DotRows(const DotArgs& a, int64_t* m, int64_t apart) {
  for (; *m + M <= a.m; *m += M) {
    for (int64_t n = 0; n < apart; ++n) Tile<Block, M>(a, *m, n, apart);
  }
}

// The rows of a tile lie a quarter of W apart. Each quarter is then one stream
// from start to end, which the processor fetches ahead by itself; four rows
// side by side look to it like jumps, and took twice as long.
template <class Block>
void Dot(const DotArgs& a) {
  const int64_t apart = (a.n + kTileN - 1) / kTileN;
  int64_t m = 0;
  DotRows<Block, kWideM>(a, &m, apart);
  if constexpr (kWideM > kTileM) DotRows<Block, kTileM>(a, &m, apart);
  DotRows<Block, 2>(a, &m, apart);
  DotRows<Block, 1>(a, &m, apart);
}

// One row as fp32; the same numbers that Dot multiplies.
template <class Block>
void Dequantize(const std::byte* in, float* out, int64_t k) {
  const D d;
  const uint8_t* block = reinterpret_cast<const uint8_t*>(in);
  for (int64_t b = 0; b < k / kBlockNumbers; ++b) {
    const auto state = Block::Begin(d, block);
    INTARSIA_UNROLL
    for (int v = 0; v < kVectors; ++v) {
      hn::StoreU(Block::Get(d, block, state, v), d, out + v * kLanes);
    }
    block += Block::kBytes;
    out += kBlockNumbers;
  }
  if (const int64_t tail = k % kBlockNumbers; tail != 0) {
    uint8_t padded[Block::kBytes] = {};
    float numbers[kBlockNumbers];
    std::memcpy(padded, block, tail * Block::kBytes / kBlockNumbers);
    const auto state = Block::Begin(d, padded);
    for (int v = 0; v < kVectors; ++v) {
      hn::StoreU(Block::Get(d, padded, state, v), d, numbers + v * kLanes);
    }
    std::memcpy(out, numbers, tail * sizeof(float));
  }
}

}  // namespace intarsia::formats::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
