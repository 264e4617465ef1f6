// One chunk of the backward scan: its states again, then backwards over its
// tokens, and what follows from the sums over states.
//
// In a warp eight channels have four threads each, of four states: lane l has
// channel l % 4 + 4 (l / 16) and states 4 (l / 4 % 4) and on. Sums over states
// are made with shuffles; those over channels by the tensor cores, whose A
// operand the products are in as they are (see ChannelSums).
#pragma once

#include "intarsia/mixers/mamba/sm90_selective_scan_backward_chunk.cuh"

namespace intarsia::sm90 {

constexpr int kPart = 8;  // tokens whose states are held in registers
constexpr int kParts = kChunk / kPart;
constexpr int kWarps = kScanThreads / 32;
static_assert(kWarps * 8 == kColumn);

__device__ __forceinline__ int LaneColumn() {
  const int lane = threadIdx.x % 32;
  return threadIdx.x / 32 * 8 + lane % 4 + lane / 16 * 4;
}
__device__ __forceinline__ int LaneState() { return threadIdx.x / 4 % 4 * 4; }

// This thread's four states of an array [..., channels, kStates]; `at` is the
// element of channel 0 and state 0.
struct Quad {
  float v[4];
};
__device__ __forceinline__ Quad LoadShared4(const float* p) {
  const float4 x = *reinterpret_cast<const float4*>(p);
  return {{x.x, x.y, x.z, x.w}};
}

// log2e A; zero past the last channel.
__device__ __forceinline__ Quad LoadA(const ScanBackwardArgs& a, int channel) {
  Quad q;
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    q.v[j] = channel < a.channels
                 ? a.a[channel * kStates + LaneState() + j] * cuda::kLog2E
                 : 0.0f;
  }
  return q;
}
__device__ __forceinline__ float4* WorkspaceQuad(float* base,
                                                 const ScanBackwardArgs& a,
                                                 int slot, int channel) {
  return reinterpret_cast<float4*>(
      base + (int64_t{slot} * a.channels + channel) * kStates + LaneState());
}

struct ChunkShared {
  ScanChunk chunk;
  ChunkTile tile;
  float4 start[kParts][kScanThreads];  // states at the start of each part
  // What a walk carries from chunk to chunk: parts of the gradients of D and
  // dt_bias, and in start[0] and start[1] those of the state and of A.
  float4 totals[kScanThreads];
  union {
    // [warp][token of the part][B, C][two channel quads][states], rotated
    float sums[kWarps][kPart][2 * 2 * kStates];
    float2 scratch[kScanThreads];
  };
};

// Where state n of channel quad q lies in a row of `sums`: rotated by the
// token, so that four tokens are stored without bank conflicts.
__device__ __forceinline__ int SumsColumn(int token, int gradient, int quad,
                                          int n) {
  return gradient * 2 * kStates +
         (quad * kStates + n + 8 * token) % (2 * kStates);
}

// Sums over the four channels that lanes l % 4 have, for four tokens. Lane l's
// values v0 ... v3 are elements (l / 4, l % 4), (l / 4 + 8, l % 4),
// (l / 4, l % 4 + 4), (l / 4 + 8, l % 4 + 4) of a 16 x 8 matrix; multiplied by
// an 8 x 8 matrix with ones in rows 0-3 of column 2 t and rows 4-7 of column
// 2 t + 1, it puts the sums of token t where lanes with l % 4 = t hold them.
struct ChannelSums {
  float d[4] = {0.0f, 0.0f, 0.0f, 0.0f};

  __device__ __forceinline__ void Add(const Quad& v, const float2& select) {
    asm volatile(
        "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, "
        "{%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(__float_as_uint(v.v[0])), "r"(__float_as_uint(v.v[1])),
          "r"(__float_as_uint(v.v[2])), "r"(__float_as_uint(v.v[3])),
          "r"(__float_as_uint(select.x)), "r"(__float_as_uint(select.y)));
  }
  // Token l % 4's sums of states LaneState() and on.
  __device__ __forceinline__ void Store(float* row, int token,
                                        int gradient) const {
    const int quad = threadIdx.x % 32 / 16;
    *reinterpret_cast<float4*>(row +
                               SumsColumn(token, gradient, quad, LaneState())) =
        make_float4(d[0], d[2], d[1], d[3]);
  }
};

// Sums over the four lanes of a channel, for four tokens at once; returns that
// of token l / 4 % 4.
__device__ __forceinline__ float StateSum(const float (&x)[4]) {
  const bool high = threadIdx.x & 8, low = threadIdx.x & 4;
  float keep0 = high ? x[2] : x[0], keep1 = high ? x[3] : x[1];
  keep0 += __shfl_xor_sync(~0u, high ? x[0] : x[2], 8);
  keep1 += __shfl_xor_sync(~0u, high ? x[1] : x[3], 8);
  return (low ? keep1 : keep0) + __shfl_xor_sync(~0u, low ? keep0 : keep1, 4);
}

// One thread's share of a chunk, or of several, the last first.
class ChunkScan {
 public:
  // `gradient` is that of the state after the last token, `da` the sum so far.
  __device__ __forceinline__ ChunkScan(ChunkShared& shared, const Quad& decay,
                                       const float4& gradient, const float4& da)
      : shared_(shared),
        decay_(decay),
        column_(LaneColumn()),
        state_(LaneState()),
        g_({{gradient.x, gradient.y, gradient.z, gradient.w}}),
        da_({{da.x, da.y, da.z, da.w}}) {}

  // Leaves the states at the start of each part in shared memory.
  __device__ __forceinline__ void Forward(const float4& start, int parts) {
    Quad h = {{start.x, start.y, start.z, start.w}};
    for (int part = 0;; ++part) {
      shared_.start[part][threadIdx.x] =
          make_float4(h.v[0], h.v[1], h.v[2], h.v[3]);
      if (part + 1 == parts) return;
#pragma unroll
      for (int u = 0; u < kPart; ++u) {
        const int t = part * kPart + u;
        const float2 step = shared_.tile.step[t][column_];
        const Quad b = LoadShared4(&shared_.tile.b[t][state_]);
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          const float e = cuda::FastExp2(step.x * decay_.v[j]);
          h.v[j] = fmaf(e, h.v[j], step.y * b.v[j]);
        }
      }
    }
  }

  // One part again, with its states in registers, and then backwards. Leaves
  // the sums over states in place of the operands.
  __device__ __forceinline__ void Backward(int part) {
    Quad e[kPart], h[kPart];
    const Quad start = Start(part);
#pragma unroll
    for (int u = 0; u < kPart; ++u) {
      const int t = part * kPart + u;
      const float2 step = shared_.tile.step[t][column_];
      const Quad b = LoadShared4(&shared_.tile.b[t][state_]);
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        e[u].v[j] = cuda::FastExp2(step.x * decay_.v[j]);
        h[u].v[j] =
            fmaf(e[u].v[j], (u == 0 ? start : h[u - 1]).v[j], step.y * b.v[j]);
      }
    }
#pragma unroll
    for (int four = kPart - 4; four >= 0; four -= 4) {
      float y[4], gb[4], ga[4];
      ChannelSums db, dc;
#pragma unroll
      for (int i = 3; i >= 0; --i) {
        const int u = four + i;
        Token(part * kPart + u, e[u], h[u], u == 0 ? Start(part) : h[u - 1],
              Select(i), db, dc, y[i], gb[i], ga[i]);
      }
      const int lane_token = four + threadIdx.x % 4;
      float* row = shared_.sums[threadIdx.x / 32][lane_token];
      db.Store(row, lane_token, 0);
      dc.Store(row, lane_token, 1);
      const float y_sum = StateSum(y);
      const float2 g_sum = make_float2(StateSum(gb), StateSum(ga));
      __syncwarp();  // all lanes have read these four tokens
      const int t = part * kPart + four + threadIdx.x / 4 % 4;
      shared_.tile.dy[t][column_] = y_sum;
      shared_.tile.step[t][column_] = g_sum;
    }
  }

  __device__ __forceinline__ float4 da() const {
    return make_float4(da_.v[0], da_.v[1], da_.v[2], da_.v[3]);
  }
  // Of the state before the first token seen.
  __device__ __forceinline__ float4 gradient() const {
    return make_float4(g_.v[0], g_.v[1], g_.v[2], g_.v[3]);
  }

 private:
  // Read twice, which is cheaper than to keep it.
  __device__ __forceinline__ Quad Start(int part) const {
    const float4 x = shared_.start[part][threadIdx.x];
    return {{x.x, x.y, x.z, x.w}};
  }

  // This lane's elements of the matrix that ChannelSums multiplies by.
  __device__ __forceinline__ static float2 Select(int token) {
    const int column = threadIdx.x % 32 / 4;
    return make_float2(column == 2 * token ? 1.0f : 0.0f,
                       column == 2 * token + 1 ? 1.0f : 0.0f);
  }

  __device__ __forceinline__ void Token(int t, const Quad& e, const Quad& h,
                                        const Quad& before,
                                        const float2& select, ChannelSums& db,
                                        ChannelSums& dc, float& y, float& gb,
                                        float& ga) {
    const float2 step = shared_.tile.step[t][column_];
    const float dy = shared_.tile.dy[t][column_];
    const Quad b = LoadShared4(&shared_.tile.b[t][state_]);
    const Quad c = LoadShared4(&shared_.tile.c[t][state_]);
    Quad for_b, for_c;
    y = gb = ga = 0.0f;
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const float g = fmaf(dy, c.v[j], g_.v[j]);
      for_b.v[j] = g * step.y;
      for_c.v[j] = dy * h.v[j];
      y = fmaf(c.v[j], h.v[j], y);
      gb = fmaf(g, b.v[j], gb);
      g_.v[j] = e.v[j] * g;
      const float decayed = g_.v[j] * before.v[j];
      da_.v[j] = fmaf(decayed, step.x, da_.v[j]);
      ga = fmaf(decayed, decay_.v[j], ga);
    }
    db.Add(for_b, select);
    dc.Add(for_c, select);
  }

  ChunkShared& shared_;
  const Quad decay_;
  const int column_;
  const int state_;
  Quad g_;  // gradient of the state before the last token seen
  Quad da_;
};

// The sums of all warps over one part, to this column's place in memory.
__device__ __forceinline__ void StoreChannelSums(const ChunkShared& shared,
                                                 const ScanBackwardArgs& a,
                                                 int part, float* bc) {
  static_assert(kPart * 2 * kStates == kScanThreads);
  const int token = threadIdx.x / 32;
  const int gradient = threadIdx.x / kStates % 2, n = threadIdx.x % kStates;
  float sum = 0.0f;
#pragma unroll
  for (int quad = 0; quad < 2; ++quad) {
    // The two gradients take turns: they lie in the same banks.
    const int at = SumsColumn(token, gradient, quad ^ gradient, n);
#pragma unroll
    for (int w = 0; w < kWarps; ++w) sum += shared.sums[w][token][at];
  }
  const int64_t t = shared.chunk.begin + part * kPart + token;
  if (t < shared.chunk.end) {
    const int64_t column = shared.chunk.channel0 / kColumn;
    bc[((column * a.tokens + t) * 2 + gradient) * kStates + n] = sum;
  }
}

// From the sums over states to dx, ddt and dz; adds this thread's parts of dD
// and of the bias's gradient.
template <bool kFull>
__device__ __forceinline__ void FinishPairs(const ChunkShared& shared,
                                            const ScanBackwardArgs& a,
                                            float2& dd, float2& ddt_bias) {
  const ScanChunk& chunk = shared.chunk;
  const int channel = chunk.channel0 + PairColumn();
  const float2 bias = ChannelPair(a.dt_bias, channel, a.channels);
  const float2 skip = ChannelPair(a.d, channel, a.channels);
  const int count = kFull ? kThreadPairs : PairCount(a, chunk);
  const bool gated = a.z != nullptr;
  Pairs pairs;
  pairs.Load<kFull, true>(a, chunk);
  __nv_bfloat16* dx = a.dx + FirstPair(chunk, a.dx_stride);
  __nv_bfloat16* ddt = a.ddt + FirstPair(chunk, a.ddt_stride);
  __nv_bfloat16* dz = gated ? a.dz + FirstPair(chunk, a.dz_stride) : nullptr;
#pragma unroll
  for (int i = 0; i < kThreadPairs; ++i) {
    if (i >= count) return;
    const float2 x = Unpack(pairs.x[i]), dt = Unpack(pairs.dt[i]);
    float2 dy = Unpack(pairs.dout[i]);
    const int row = PairToken(i);
    // sum g B, log2e sum g A e h; of both channels
    const float4 sums =
        *reinterpret_cast<const float4*>(&shared.tile.step[row][PairColumn()]);
    if (gated) {
      const float2 z = Unpack(pairs.z[i]);
      const float2 s = make_float2(Sigmoid(z.x), Sigmoid(z.y));
      float2 y =
          *reinterpret_cast<const float2*>(&shared.tile.dy[row][PairColumn()]);
      y.x = fmaf(skip.x, x.x, y.x);
      y.y = fmaf(skip.y, x.y, y.y);
      StorePair(dz,
                make_float2(dy.x * y.x * s.x * fmaf(z.x, 1.0f - s.x, 1.0f),
                            dy.y * y.y * s.y * fmaf(z.y, 1.0f - s.y, 1.0f)));
      dz += kPairRows * a.dz_stride;
      dy.x *= z.x * s.x;
      dy.y *= z.y * s.y;
    }
    const StepSize step_x(dt.x + bias.x, a.softplus);
    const StepSize step_y(dt.y + bias.y, a.softplus);
    StorePair(dx, make_float2(fmaf(step_x.d, sums.x, dy.x * skip.x),
                              fmaf(step_y.d, sums.z, dy.y * skip.y)));
    dx += kPairRows * a.dx_stride;
    const float2 g =
        make_float2(step_x.slope * fmaf(x.x, sums.x, cuda::kLn2 * sums.y),
                    step_y.slope * fmaf(x.y, sums.z, cuda::kLn2 * sums.w));
    StorePair(ddt, g);
    ddt += kPairRows * a.ddt_stride;
    dd.x = fmaf(dy.x, x.x, dd.x);
    dd.y = fmaf(dy.y, x.y, dd.y);
    ddt_bias.x += g.x;
    ddt_bias.y += g.y;
  }
}

__device__ __forceinline__ float4 FinishChunk(ChunkShared& shared,
                                              const ScanBackwardArgs& a) {
  float2 dd = make_float2(0.0f, 0.0f), ddt_bias = dd;
  if (IsFull(a, shared.chunk)) {
    FinishPairs<true>(shared, a, dd, ddt_bias);
  } else {
    FinishPairs<false>(shared, a, dd, ddt_bias);
  }
  return make_float4(dd.x, dd.y, ddt_bias.x, ddt_bias.y);
}

// All of shared.chunk but its own threads' FinishChunk; the tile is staged, and
// the block synchronised before and after.
__device__ __forceinline__ void ScanChunkTokens(ChunkScan& scan,
                                                ChunkShared& shared,
                                                const ScanBackwardArgs& a,
                                                const ScanWorkspace& workspace,
                                                const float4& start) {
  const int count = shared.chunk.end - shared.chunk.begin;
  const int parts = (count + kPart - 1) / kPart;
  scan.Forward(start, parts);
  for (int part = parts - 1; part >= 0; --part) {
    scan.Backward(part);
    __syncthreads();
    StoreChannelSums(shared, a, part, workspace.bc);
    __syncthreads();
  }
}

}  // namespace intarsia::sm90
