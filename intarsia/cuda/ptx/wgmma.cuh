// wgmma: a warpgroup (four warps whose first index is a multiple of four)
// multiplies a 64 x 16 tile of A by a 16 x N tile of B into 64 x N fp32
// accumulators in registers, asynchronously.
//
// Accumulator d[] of thread t (warp w = t / 32 % 4, lane l = t % 32):
//   d[4 j + 0, 1] = row 16 w + l / 4,     columns 8 j + 2 (l % 4) and + 1
//   d[4 j + 2, 3] = row 16 w + l / 4 + 8, the same columns
// A from registers (64 x 16, bf16 pairs) is laid out in the same way, so the
// accumulators of columns 16 k .. 16 k + 15 become A's fragment k by packing:
//   a = {d[8k], d[8k+1]}, {d[8k+2], d[8k+3]}, {d[8k+4], ...}, {d[8k+6], ...}
//
// Order of use: FenceRegisters and WgmmaFence before the first instruction
// that reads registers written since; WgmmaCommit closes a group; WgmmaWait<n>
// waits until at most n groups are in flight; FenceRegisters after it, so that
// the compiler reads the accumulators only then.
#pragma once

#include <cstdint>

namespace intarsia::ptx {

__device__ __forceinline__ void WgmmaFence() {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
__device__ __forceinline__ void WgmmaCommit() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
template <int kPending>
__device__ __forceinline__ void WgmmaWait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
}

// Keeps the compiler from moving accesses of these registers across.
template <int kCount>
__device__ __forceinline__ void FenceRegisters(float (&r)[kCount]) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) asm volatile("" : "+f"(r[i])::"memory");
}
template <int kCount>
__device__ __forceinline__ void FenceRegisters(uint32_t (&r)[kCount]) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) asm volatile("" : "+r"(r[i])::"memory");
}

// What an operand in shared memory looks like, with the 128-byte swizzle:
//   K-major (K contiguous): `stride` = bytes between groups of 8 rows of M or
//     N; `leading` is not read. The next 16 of K are 32 bytes further on.
//   MN-major (M or N contiguous, transposed): `leading` = bytes between
//     panels of 64 along M or N, `stride` = bytes between groups of 8 of K.
// `address` is in the shared window; tiles start at multiples of 1024 bytes.
__device__ __forceinline__ uint64_t WgmmaDescriptor(uint32_t address,
                                                    uint32_t leading,
                                                    uint32_t stride) {
  return (uint64_t{(address & 0x3FFFF) >> 4}) |
         (uint64_t{(leading & 0x3FFFF) >> 4} << 16) |
         (uint64_t{(stride & 0x3FFFF) >> 4} << 32) | (uint64_t{1} << 62);
}

// K-major without a swizzle: 8 rows x 16 bytes lie together in 128; `leading` =
// bytes to the next 16 bytes of K, `stride` = bytes to the next 8 rows.
__device__ __forceinline__ uint64_t WgmmaPlainDescriptor(uint32_t address,
                                                         uint32_t leading,
                                                         uint32_t stride) {
  return (uint64_t{(address & 0x3FFFF) >> 4}) |
         (uint64_t{(leading & 0x3FFFF) >> 4} << 16) |
         (uint64_t{(stride & 0x3FFFF) >> 4} << 32);
}

// The descriptor of an address `bytes` further on, which stays inside the
// first 256 KiB.
__device__ __forceinline__ uint64_t Advance(uint64_t descriptor,
                                            uint32_t bytes) {
  return descriptor + (bytes >> 4);
}

// Wgmma<N>::Shared  d = A B + (accumulate ? d : 0), A and B in shared memory
// Wgmma<N>::Register                              , A in registers
// kTransposeA, kTransposeB: that operand is MN-major.
template <int kN>
struct Wgmma;

#define INTARSIA_WGMMA_R0 "%0, %1, %2, %3, %4, %5, %6, %7"
#define INTARSIA_WGMMA_R8 "%8, %9, %10, %11, %12, %13, %14, %15"
#define INTARSIA_WGMMA_R16 "%16, %17, %18, %19, %20, %21, %22, %23"
#define INTARSIA_WGMMA_R24 "%24, %25, %26, %27, %28, %29, %30, %31"
#define INTARSIA_WGMMA_R32 "%32, %33, %34, %35, %36, %37, %38, %39"
#define INTARSIA_WGMMA_R40 "%40, %41, %42, %43, %44, %45, %46, %47"
#define INTARSIA_WGMMA_R48 "%48, %49, %50, %51, %52, %53, %54, %55"
#define INTARSIA_WGMMA_R56 "%56, %57, %58, %59, %60, %61, %62, %63"
#define INTARSIA_WGMMA_R64 "%64, %65, %66, %67, %68, %69, %70, %71"
#define INTARSIA_WGMMA_R72 "%72, %73, %74, %75, %76, %77, %78, %79"
#define INTARSIA_WGMMA_R80 "%80, %81, %82, %83, %84, %85, %86, %87"
#define INTARSIA_WGMMA_R88 "%88, %89, %90, %91, %92, %93, %94, %95"
#define INTARSIA_WGMMA_R96 "%96, %97, %98, %99, %100, %101, %102, %103"
#define INTARSIA_WGMMA_R104 "%104, %105, %106, %107, %108, %109, %110, %111"
#define INTARSIA_WGMMA_R112 "%112, %113, %114, %115, %116, %117, %118, %119"
#define INTARSIA_WGMMA_R120 "%120, %121, %122, %123, %124, %125, %126, %127"
#define INTARSIA_WGMMA_D8(i)                                                  \
  "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), \
      "+f"(d[i + 5]), "+f"(d[i + 6]), "+f"(d[i + 7])

// kN = 2 x registers. REGISTERS lists the placeholders %0 ..; S0 .. S4 and
// A0 .. A6 name the operands that follow them.
#define INTARSIA_WGMMA(N, REGISTERS, OUTPUTS, P0, P1, P2, P3, P4, P5, P6)     \
  template <>                                                                 \
  struct Wgmma<N> {                                                           \
    template <int kTransposeA, int kTransposeB>                               \
    __device__ __forceinline__ static void Shared(float (&d)[N / 2],          \
                                                  uint64_t a, uint64_t b,     \
                                                  int accumulate) {           \
      asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, " P2                     \
                   ", 0;\n"                                                   \
                   "wgmma.mma_async.sync.aligned.m64n" #N                     \
                   "k16.f32.bf16.bf16 {" REGISTERS "}, " P0 ", " P1           \
                   ", p, 1, 1, " P3 ", " P4 ";\n}"                            \
                   : OUTPUTS                                                  \
                   : "l"(a), "l"(b), "r"(accumulate), "n"(kTransposeA),       \
                     "n"(kTransposeB));                                       \
    }                                                                         \
    template <int kTransposeB>                                                \
    __device__ __forceinline__ static void Register(float (&d)[N / 2],        \
                                                    uint32_t a0, uint32_t a1, \
                                                    uint32_t a2, uint32_t a3, \
                                                    uint64_t b,               \
                                                    int accumulate) {         \
      asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, " P5                     \
                   ", 0;\n"                                                   \
                   "wgmma.mma_async.sync.aligned.m64n" #N                     \
                   "k16.f32.bf16.bf16 {" REGISTERS "}, {" P0 ", " P1 ", " P2  \
                   ", " P3 "}, " P4 ", p, 1, 1, " P6 ";\n}"                   \
                   : OUTPUTS                                                  \
                   : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "l"(b),              \
                     "r"(accumulate), "n"(kTransposeB));                      \
    }                                                                         \
  };

// clang-format off
#define INTARSIA_WGMMA_OUT16 \
  INTARSIA_WGMMA_D8(0)
INTARSIA_WGMMA(16, INTARSIA_WGMMA_R0, INTARSIA_WGMMA_OUT16,
               "%8", "%9", "%10", "%11", "%12", "%13", "%14")
#undef INTARSIA_WGMMA_OUT16
#define INTARSIA_WGMMA_OUT32 \
  INTARSIA_WGMMA_D8(0), \
  INTARSIA_WGMMA_D8(8)
INTARSIA_WGMMA(32, INTARSIA_WGMMA_R0 ", "
               INTARSIA_WGMMA_R8, INTARSIA_WGMMA_OUT32,
               "%16", "%17", "%18", "%19", "%20", "%21", "%22")
#undef INTARSIA_WGMMA_OUT32
#define INTARSIA_WGMMA_OUT48 \
  INTARSIA_WGMMA_D8(0), \
  INTARSIA_WGMMA_D8(8), \
  INTARSIA_WGMMA_D8(16)
INTARSIA_WGMMA(48, INTARSIA_WGMMA_R0 ", "
               INTARSIA_WGMMA_R8 ", "
               INTARSIA_WGMMA_R16, INTARSIA_WGMMA_OUT48,
               "%24", "%25", "%26", "%27", "%28", "%29", "%30")
#undef INTARSIA_WGMMA_OUT48
#define INTARSIA_WGMMA_OUT64 \
  INTARSIA_WGMMA_D8(0), \
  INTARSIA_WGMMA_D8(8), \
  INTARSIA_WGMMA_D8(16), \
  INTARSIA_WGMMA_D8(24)
INTARSIA_WGMMA(64, INTARSIA_WGMMA_R0 ", "
               INTARSIA_WGMMA_R8 ", "
               INTARSIA_WGMMA_R16 ", "
               INTARSIA_WGMMA_R24, INTARSIA_WGMMA_OUT64,
               "%32", "%33", "%34", "%35", "%36", "%37", "%38")
#undef INTARSIA_WGMMA_OUT64
#define INTARSIA_WGMMA_OUT80 \
  INTARSIA_WGMMA_D8(0), \
  INTARSIA_WGMMA_D8(8), \
  INTARSIA_WGMMA_D8(16), \
  INTARSIA_WGMMA_D8(24), \
  INTARSIA_WGMMA_D8(32)
INTARSIA_WGMMA(80, INTARSIA_WGMMA_R0 ", "
               INTARSIA_WGMMA_R8 ", "
               INTARSIA_WGMMA_R16 ", "
               INTARSIA_WGMMA_R24 ", "
               INTARSIA_WGMMA_R32, INTARSIA_WGMMA_OUT80,
               "%40", "%41", "%42", "%43", "%44", "%45", "%46")
#undef INTARSIA_WGMMA_OUT80
#define INTARSIA_WGMMA_OUT96 \
  INTARSIA_WGMMA_D8(0), \
  INTARSIA_WGMMA_D8(8), \
  INTARSIA_WGMMA_D8(16), \
  INTARSIA_WGMMA_D8(24), \
  INTARSIA_WGMMA_D8(32), \
  INTARSIA_WGMMA_D8(40)
INTARSIA_WGMMA(96, INTARSIA_WGMMA_R0 ", "
               INTARSIA_WGMMA_R8 ", "
               INTARSIA_WGMMA_R16 ", "
               INTARSIA_WGMMA_R24 ", "
               INTARSIA_WGMMA_R32 ", "
               INTARSIA_WGMMA_R40, INTARSIA_WGMMA_OUT96,
               "%48", "%49", "%50", "%51", "%52", "%53", "%54")
#undef INTARSIA_WGMMA_OUT96
#define INTARSIA_WGMMA_OUT112 \
  INTARSIA_WGMMA_D8(0), \
  INTARSIA_WGMMA_D8(8), \
  INTARSIA_WGMMA_D8(16), \
  INTARSIA_WGMMA_D8(24), \
  INTARSIA_WGMMA_D8(32), \
  INTARSIA_WGMMA_D8(40), \
  INTARSIA_WGMMA_D8(48)
INTARSIA_WGMMA(112, INTARSIA_WGMMA_R0 ", "
               INTARSIA_WGMMA_R8 ", "
               INTARSIA_WGMMA_R16 ", "
               INTARSIA_WGMMA_R24 ", "
               INTARSIA_WGMMA_R32 ", "
               INTARSIA_WGMMA_R40 ", "
               INTARSIA_WGMMA_R48, INTARSIA_WGMMA_OUT112,
               "%56", "%57", "%58", "%59", "%60", "%61", "%62")
#undef INTARSIA_WGMMA_OUT112
#define INTARSIA_WGMMA_OUT128 \
  INTARSIA_WGMMA_D8(0), \
  INTARSIA_WGMMA_D8(8), \
  INTARSIA_WGMMA_D8(16), \
  INTARSIA_WGMMA_D8(24), \
  INTARSIA_WGMMA_D8(32), \
  INTARSIA_WGMMA_D8(40), \
  INTARSIA_WGMMA_D8(48), \
  INTARSIA_WGMMA_D8(56)
INTARSIA_WGMMA(128, INTARSIA_WGMMA_R0 ", "
               INTARSIA_WGMMA_R8 ", "
               INTARSIA_WGMMA_R16 ", "
               INTARSIA_WGMMA_R24 ", "
               INTARSIA_WGMMA_R32 ", "
               INTARSIA_WGMMA_R40 ", "
               INTARSIA_WGMMA_R48 ", "
               INTARSIA_WGMMA_R56, INTARSIA_WGMMA_OUT128,
               "%64", "%65", "%66", "%67", "%68", "%69", "%70")
#undef INTARSIA_WGMMA_OUT128
#define INTARSIA_WGMMA_OUT144 \
  INTARSIA_WGMMA_D8(0), \
  INTARSIA_WGMMA_D8(8), \
  INTARSIA_WGMMA_D8(16), \
  INTARSIA_WGMMA_D8(24), \
  INTARSIA_WGMMA_D8(32), \
  INTARSIA_WGMMA_D8(40), \
  INTARSIA_WGMMA_D8(48), \
  INTARSIA_WGMMA_D8(56), \
  INTARSIA_WGMMA_D8(64)
INTARSIA_WGMMA(144, INTARSIA_WGMMA_R0 ", "
               INTARSIA_WGMMA_R8 ", "
               INTARSIA_WGMMA_R16 ", "
               INTARSIA_WGMMA_R24 ", "
               INTARSIA_WGMMA_R32 ", "
               INTARSIA_WGMMA_R40 ", "
               INTARSIA_WGMMA_R48 ", "
               INTARSIA_WGMMA_R56 ", "
               INTARSIA_WGMMA_R64, INTARSIA_WGMMA_OUT144,
               "%72", "%73", "%74", "%75", "%76", "%77", "%78")
#undef INTARSIA_WGMMA_OUT144
#define INTARSIA_WGMMA_OUT160 \
  INTARSIA_WGMMA_D8(0), \
  INTARSIA_WGMMA_D8(8), \
  INTARSIA_WGMMA_D8(16), \
  INTARSIA_WGMMA_D8(24), \
  INTARSIA_WGMMA_D8(32), \
  INTARSIA_WGMMA_D8(40), \
  INTARSIA_WGMMA_D8(48), \
  INTARSIA_WGMMA_D8(56), \
  INTARSIA_WGMMA_D8(64), \
  INTARSIA_WGMMA_D8(72)
INTARSIA_WGMMA(160, INTARSIA_WGMMA_R0 ", "
               INTARSIA_WGMMA_R8 ", "
               INTARSIA_WGMMA_R16 ", "
               INTARSIA_WGMMA_R24 ", "
               INTARSIA_WGMMA_R32 ", "
               INTARSIA_WGMMA_R40 ", "
               INTARSIA_WGMMA_R48 ", "
               INTARSIA_WGMMA_R56 ", "
               INTARSIA_WGMMA_R64 ", "
               INTARSIA_WGMMA_R72, INTARSIA_WGMMA_OUT160,
               "%80", "%81", "%82", "%83", "%84", "%85", "%86")
#undef INTARSIA_WGMMA_OUT160
#define INTARSIA_WGMMA_OUT176 \
  INTARSIA_WGMMA_D8(0), \
  INTARSIA_WGMMA_D8(8), \
  INTARSIA_WGMMA_D8(16), \
  INTARSIA_WGMMA_D8(24), \
  INTARSIA_WGMMA_D8(32), \
  INTARSIA_WGMMA_D8(40), \
  INTARSIA_WGMMA_D8(48), \
  INTARSIA_WGMMA_D8(56), \
  INTARSIA_WGMMA_D8(64), \
  INTARSIA_WGMMA_D8(72), \
  INTARSIA_WGMMA_D8(80)
INTARSIA_WGMMA(176, INTARSIA_WGMMA_R0 ", "
               INTARSIA_WGMMA_R8 ", "
               INTARSIA_WGMMA_R16 ", "
               INTARSIA_WGMMA_R24 ", "
               INTARSIA_WGMMA_R32 ", "
               INTARSIA_WGMMA_R40 ", "
               INTARSIA_WGMMA_R48 ", "
               INTARSIA_WGMMA_R56 ", "
               INTARSIA_WGMMA_R64 ", "
               INTARSIA_WGMMA_R72 ", "
               INTARSIA_WGMMA_R80, INTARSIA_WGMMA_OUT176,
               "%88", "%89", "%90", "%91", "%92", "%93", "%94")
#undef INTARSIA_WGMMA_OUT176
#define INTARSIA_WGMMA_OUT192 \
  INTARSIA_WGMMA_D8(0), \
  INTARSIA_WGMMA_D8(8), \
  INTARSIA_WGMMA_D8(16), \
  INTARSIA_WGMMA_D8(24), \
  INTARSIA_WGMMA_D8(32), \
  INTARSIA_WGMMA_D8(40), \
  INTARSIA_WGMMA_D8(48), \
  INTARSIA_WGMMA_D8(56), \
  INTARSIA_WGMMA_D8(64), \
  INTARSIA_WGMMA_D8(72), \
  INTARSIA_WGMMA_D8(80), \
  INTARSIA_WGMMA_D8(88)
INTARSIA_WGMMA(192, INTARSIA_WGMMA_R0 ", "
               INTARSIA_WGMMA_R8 ", "
               INTARSIA_WGMMA_R16 ", "
               INTARSIA_WGMMA_R24 ", "
               INTARSIA_WGMMA_R32 ", "
               INTARSIA_WGMMA_R40 ", "
               INTARSIA_WGMMA_R48 ", "
               INTARSIA_WGMMA_R56 ", "
               INTARSIA_WGMMA_R64 ", "
               INTARSIA_WGMMA_R72 ", "
               INTARSIA_WGMMA_R80 ", "
               INTARSIA_WGMMA_R88, INTARSIA_WGMMA_OUT192,
               "%96", "%97", "%98", "%99", "%100", "%101", "%102")
#undef INTARSIA_WGMMA_OUT192
#define INTARSIA_WGMMA_OUT224 \
  INTARSIA_WGMMA_D8(0), \
  INTARSIA_WGMMA_D8(8), \
  INTARSIA_WGMMA_D8(16), \
  INTARSIA_WGMMA_D8(24), \
  INTARSIA_WGMMA_D8(32), \
  INTARSIA_WGMMA_D8(40), \
  INTARSIA_WGMMA_D8(48), \
  INTARSIA_WGMMA_D8(56), \
  INTARSIA_WGMMA_D8(64), \
  INTARSIA_WGMMA_D8(72), \
  INTARSIA_WGMMA_D8(80), \
  INTARSIA_WGMMA_D8(88), \
  INTARSIA_WGMMA_D8(96), \
  INTARSIA_WGMMA_D8(104)
INTARSIA_WGMMA(224, INTARSIA_WGMMA_R0 ", "
               INTARSIA_WGMMA_R8 ", "
               INTARSIA_WGMMA_R16 ", "
               INTARSIA_WGMMA_R24 ", "
               INTARSIA_WGMMA_R32 ", "
               INTARSIA_WGMMA_R40 ", "
               INTARSIA_WGMMA_R48 ", "
               INTARSIA_WGMMA_R56 ", "
               INTARSIA_WGMMA_R64 ", "
               INTARSIA_WGMMA_R72 ", "
               INTARSIA_WGMMA_R80 ", "
               INTARSIA_WGMMA_R88 ", "
               INTARSIA_WGMMA_R96 ", "
               INTARSIA_WGMMA_R104, INTARSIA_WGMMA_OUT224,
               "%112", "%113", "%114", "%115", "%116", "%117", "%118")
#undef INTARSIA_WGMMA_OUT224
#define INTARSIA_WGMMA_OUT256 \
  INTARSIA_WGMMA_D8(0), \
  INTARSIA_WGMMA_D8(8), \
  INTARSIA_WGMMA_D8(16), \
  INTARSIA_WGMMA_D8(24), \
  INTARSIA_WGMMA_D8(32), \
  INTARSIA_WGMMA_D8(40), \
  INTARSIA_WGMMA_D8(48), \
  INTARSIA_WGMMA_D8(56), \
  INTARSIA_WGMMA_D8(64), \
  INTARSIA_WGMMA_D8(72), \
  INTARSIA_WGMMA_D8(80), \
  INTARSIA_WGMMA_D8(88), \
  INTARSIA_WGMMA_D8(96), \
  INTARSIA_WGMMA_D8(104), \
  INTARSIA_WGMMA_D8(112), \
  INTARSIA_WGMMA_D8(120)
INTARSIA_WGMMA(256, INTARSIA_WGMMA_R0 ", "
               INTARSIA_WGMMA_R8 ", "
               INTARSIA_WGMMA_R16 ", "
               INTARSIA_WGMMA_R24 ", "
               INTARSIA_WGMMA_R32 ", "
               INTARSIA_WGMMA_R40 ", "
               INTARSIA_WGMMA_R48 ", "
               INTARSIA_WGMMA_R56 ", "
               INTARSIA_WGMMA_R64 ", "
               INTARSIA_WGMMA_R72 ", "
               INTARSIA_WGMMA_R80 ", "
               INTARSIA_WGMMA_R88 ", "
               INTARSIA_WGMMA_R96 ", "
               INTARSIA_WGMMA_R104 ", "
               INTARSIA_WGMMA_R112 ", "
               INTARSIA_WGMMA_R120, INTARSIA_WGMMA_OUT256,
               "%128", "%129", "%130", "%131", "%132", "%133", "%134")
#undef INTARSIA_WGMMA_OUT256
// clang-format on
#undef INTARSIA_WGMMA
#undef INTARSIA_WGMMA_D8

}  // namespace intarsia::ptx
