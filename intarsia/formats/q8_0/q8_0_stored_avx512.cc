#include "intarsia/formats/common/kernels.h"
#include "intarsia/formats/common/vnni-inl.h"

INTARSIA_BEGIN_AVX512
namespace intarsia::formats {
namespace {

// Four blocks are 136 bytes. Numbers 0..15 of all of them lie in bytes 0..127,
// numbers 16..31 in bytes 8..135: two pairs of registers.
struct Indices {
  constexpr Indices() : codes(), halves() {
    for (int i = 0; i < 64; ++i) {
      codes[0][i] = static_cast<uint8_t>(i / 16 * 34 + 2 + i % 16);
      codes[1][i] = static_cast<uint8_t>(i / 16 * 34 + 18 + i % 16 - 8);
    }
    for (int i = 0; i < 32; ++i) {
      halves[i] = static_cast<uint16_t>(i % 16 / 4 * 17);
    }
  }
  alignas(64) uint8_t codes[2][64];
  alignas(64) uint16_t halves[32];
};
constexpr Indices kIndices;

struct Block {
  static constexpr int kBytes = 34;
  static constexpr int kShift = 7;
  static constexpr bool kMinimum = false;

  template <int row>
  static INTARSIA_INLINE void Load(const uint8_t* p, int blocks, __m512i* low,
                                   __m512i* high, __m512i* halves) {
    const __m512i a = Read(p, blocks, 0), b = Read(p, blocks, 64);
    const __m512i c = Read(p, blocks, 8), d = Read(p, blocks, 72);
    // Signed to unsigned: the code plus 128.
    const __m512i sign = _mm512_set1_epi8(-128);
    *low = _mm512_xor_si512(
        _mm512_permutex2var_epi8(a, _mm512_load_si512(kIndices.codes[0]), b),
        sign);
    *high = _mm512_xor_si512(
        _mm512_permutex2var_epi8(c, _mm512_load_si512(kIndices.codes[1]), d),
        sign);
    *halves = _mm512_or_si512(
        *halves, _mm512_maskz_permutex2var_epi16(
                     0x1111u << row, a, _mm512_load_si512(kIndices.halves), b));
  }

 private:
  // 64 bytes from `offset`; nothing past the row is read.
  static INTARSIA_INLINE __m512i Read(const uint8_t* p, int blocks,
                                      int offset) {
    if (blocks == 4) return _mm512_loadu_si512(p + offset);
    const int bytes = blocks * kBytes - offset;
    const __mmask64 mask = bytes >= 64  ? ~__mmask64{0}
                           : bytes <= 0 ? 0
                                        : (__mmask64{1} << bytes) - 1;
    return _mm512_maskz_loadu_epi8(mask, p + offset);
  }
};

}  // namespace

const PreparedKernels& q8_0_cpu::StoredAvx512() {
  static constexpr PreparedKernels kernels = IntegerKernels<Block>();
  return kernels;
}

}  // namespace intarsia::formats
INTARSIA_END_AVX512
