// Time is cut into chunks of kChunk tokens, which all run at once:
//   local   each chunk from a state of zero, and its gradient from zero:
//           what the chunk adds to the state and to the gradient behind it;
//   carry   over the chunks of a sequence, forward and back: the state that
//           each really starts from and the gradient that reaches its end;
//   chunk   all gradients of the chunk's own tokens;
//   sums    of what the chunks and the columns of channels left as parts.
// Where there are enough sequences and channels for it, blocks walk over whole
// sequences from chunk to chunk, and need no gradients from local and carry.
#include <algorithm>

#include "intarsia/cuda/launch.h"
#include "intarsia/mixers/mamba/sm90_selective_scan_backward_scan.cuh"

namespace intarsia {
namespace sm90 {
namespace {

struct LocalShared {
  ChunkTile tile;
  float2 scratch[kScanThreads];
};

// Without kGradient: the states alone.
template <bool kGradient>
__global__ void __launch_bounds__(kScanThreads, 3)
    LocalKernel(const __grid_constant__ ScanBackwardArgs a,
                const ScanWorkspace workspace) {
  extern __shared__ __align__(16) char shared_bytes[];
  LocalShared& shared = *reinterpret_cast<LocalShared*>(shared_bytes);
  const ScanChunk chunk = LocateChunk(a, blockIdx.x);
  if (chunk.begin >= chunk.end) return;
  const float2 sum = StageChunk<kGradient>(a, chunk, shared.tile);
  StoreColumnSum(sum, shared.scratch, a, chunk.channel0, chunk.slot,
                 workspace.step_sum);
  const int column = LaneColumn(), state = LaneState();
  const int channel = chunk.channel0 + column;
  const Quad decay = LoadA(a, channel);
  Quad h = {}, g = {}, product = {{1.0f, 1.0f, 1.0f, 1.0f}};
  const int count = chunk.end - chunk.begin;
#pragma unroll 4
  for (int t = 0; t < count; ++t) {
    const float2 step = shared.tile.step[t][column];
    const Quad b = LoadShared4(&shared.tile.b[t][state]);
    float dy = 0.0f;
    Quad c = {};
    if constexpr (kGradient) {
      dy = shared.tile.dy[t][column];
      c = LoadShared4(&shared.tile.c[t][state]);
    }
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const float e = cuda::FastExp2(step.x * decay.v[j]);
      h.v[j] = fmaf(e, h.v[j], step.y * b.v[j]);
      if constexpr (!kGradient) continue;
      product.v[j] *= e;
      g.v[j] = fmaf(product.v[j], dy * c.v[j], g.v[j]);
    }
  }
  if (channel >= a.channels) return;
  *WorkspaceQuad(workspace.state, a, chunk.slot, channel) =
      make_float4(h.v[0], h.v[1], h.v[2], h.v[3]);
  if constexpr (!kGradient) return;
  *WorkspaceQuad(workspace.gradient, a, chunk.slot, channel) =
      make_float4(g.v[0], g.v[1], g.v[2], g.v[3]);
}

// A run of chunks of one sequence in the order of the carry, for one state of
// one channel: `count` chunks from slot `first` in steps of `step` slots.
class CarryWalk {
 public:
  static constexpr int kAhead = 8;  // chunks whose loads are in flight at once

  __device__ __forceinline__ CarryWalk(float* x, const float* step_sum,
                                       int channels, int first, int step,
                                       int count)
      : x_(x + int64_t{first} * channels * kStates),
        sum_(step_sum + int64_t{first} * channels),
        x_step_(int64_t{step} * channels * kStates),
        sum_step_(int64_t{step} * channels),
        count_(count) {}

  // x of each chunk becomes the carry that reaches it; returns the last.
  __device__ __forceinline__ float Run(float decay, float carry) {
    Values now;
    Load(now, 0);
    for (int i = 0; i < count_; i += kAhead) {
      Values next;
      Load(next, i + kAhead);
#pragma unroll
      for (int k = 0; k < kAhead; ++k) {
        if (i + k < count_) x_[(i + k) * x_step_] = carry;
        carry = fmaf(cuda::FastExp2(now.sum[k] * decay), carry, now.x[k]);
      }
      now = next;
    }
    return carry;
  }

 private:
  struct Values {
    float x[kAhead];
    float sum[kAhead];
  };
  // Past the last chunk, what leaves the carry as it is.
  __device__ __forceinline__ void Load(Values& to, int i) const {
#pragma unroll
    for (int k = 0; k < kAhead; ++k) {
      to.x[k] = i + k < count_ ? x_[(i + k) * x_step_] : 0.0f;
      to.sum[k] = i + k < count_ ? sum_[(i + k) * sum_step_] : 0.0f;
    }
  }

  float* x_;
  const float* sum_;
  int64_t x_step_, sum_step_;
  int count_;
};

// grid (states of all channels, sequences, 1 or 2): forward, and back.
__global__ void __launch_bounds__(256)
    CarryKernel(const __grid_constant__ ScanBackwardArgs a,
                const ScanWorkspace workspace) {
  const int at = blockIdx.x * 256 + threadIdx.x;
  if (at >= a.channels * kStates) return;
  const int sequence = blockIdx.y;
  const int begin = a.cu_seqlens == nullptr ? 0 : a.cu_seqlens[sequence];
  const int end =
      a.cu_seqlens == nullptr ? a.tokens : a.cu_seqlens[sequence + 1];
  const int first = FirstSlot(begin, sequence);
  const int count = (end - begin + kChunk - 1) / kChunk;
  const float decay = a.a[at] * cuda::kLog2E;
  const float* sums = workspace.step_sum + at / kStates;
  const int64_t own = int64_t{sequence} * a.channels * kStates + at;
  if (blockIdx.z == 0) {
    CarryWalk(workspace.state + at, sums, a.channels, first, 1, count)
        .Run(decay, a.state != nullptr ? a.state[own] : 0.0f);
    return;
  }
  const float gradient =
      CarryWalk(workspace.gradient + at, sums, a.channels, first + count - 1,
                -1, count)
          .Run(decay, a.dfinal_state != nullptr ? a.dfinal_state[own] : 0.0f);
  if (a.dstate != nullptr) a.dstate[own] = gradient;
}

// To `slot` of the arrays of parts.
__device__ __forceinline__ void StoreTotals(const float4& totals,
                                            ChunkShared& shared,
                                            const ScanBackwardArgs& a,
                                            const ScanWorkspace& workspace,
                                            int slot) {
  StoreColumnSum(make_float2(totals.x, totals.y), shared.scratch, a,
                 shared.chunk.channel0, slot, workspace.dd);
  StoreColumnSum(make_float2(totals.z, totals.w), shared.scratch, a,
                 shared.chunk.channel0, slot, workspace.ddt_bias);
}

// x, in a way that what follows from it is computed again and not kept.
__device__ __forceinline__ int Again(int x) {
  asm volatile("" : "+r"(x));
  return x;
}

// A block a chunk and column.
__global__ void __launch_bounds__(kScanThreads, 2)
    ChunkKernel(const __grid_constant__ ScanBackwardArgs a,
                const ScanWorkspace workspace) {
  extern __shared__ __align__(16) char shared_bytes[];
  ChunkShared& shared = *reinterpret_cast<ChunkShared*>(shared_bytes);
  if (threadIdx.x == 0) shared.chunk = LocateChunk(a, blockIdx.x);
  __syncthreads();
  const ScanChunk& chunk = shared.chunk;  // there, to spare registers
  const auto channel = [&] { return Again(chunk.channel0) + LaneColumn(); };
  const auto state = [&] {
    return WorkspaceQuad(workspace.state, a, chunk.slot, channel());
  };
  const float4 zero = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
  if (chunk.begin >= chunk.end) {  // a gap adds nothing
    if (channel() < a.channels) *state() = zero;
    StoreTotals(zero, shared, a, workspace, chunk.slot);
    return;
  }
  StageChunk<true>(a, chunk, shared.tile);
  const float4 gradient =
      channel() < a.channels
          ? *WorkspaceQuad(workspace.gradient, a, chunk.slot, channel())
          : zero;
  __syncthreads();
  ChunkScan scan(shared, LoadA(a, channel()), gradient, zero);
  ScanChunkTokens(scan, shared, a, workspace,
                  channel() < a.channels ? *state() : zero);
  if (channel() < a.channels) *state() = scan.da();
  const float4 totals = FinishChunk(shared, a);
  StoreTotals(totals, shared, a, workspace, chunk.slot);
}

// A block a sequence and column: walks over the chunks, the last first, with
// the gradient in registers. grid (columns, sequences).
__global__ void __launch_bounds__(kScanThreads, 2)
    WalkKernel(const __grid_constant__ ScanBackwardArgs a,
               const ScanWorkspace workspace) {
  extern __shared__ __align__(16) char shared_bytes[];
  ChunkShared& shared = *reinterpret_cast<ChunkShared*>(shared_bytes);
  const auto channel = [] {
    return Again(static_cast<int>(blockIdx.x)) * kColumn + LaneColumn();
  };
  // This thread's element of an array [sequences, channels, kStates].
  const auto own = [&] {
    return (int64_t{blockIdx.y} * a.channels + channel()) * kStates +
           LaneState();
  };
  const float4 zero = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
  float4 gradient = zero;
  if (channel() < a.channels && a.dfinal_state != nullptr) {
    const float* p = a.dfinal_state + own();
    gradient = make_float4(p[0], p[1], p[2], p[3]);
  }
  shared.totals[threadIdx.x] = zero;
  shared.start[0][threadIdx.x] = gradient;
  shared.start[1][threadIdx.x] = zero;
  if (threadIdx.x == 0) shared.chunk = LastChunk(a, blockIdx.x, blockIdx.y);
  __syncthreads();
  while (shared.chunk.begin < shared.chunk.end) {
    StageChunk<true>(a, shared.chunk, shared.tile);
    const float4 start =
        channel() < a.channels
            ? *WorkspaceQuad(workspace.state, a, shared.chunk.slot, channel())
            : zero;
    __syncthreads();
    ChunkScan scan(shared, LoadA(a, channel()), shared.start[0][threadIdx.x],
                   shared.start[1][threadIdx.x]);
    ScanChunkTokens(scan, shared, a, workspace, start);
    shared.start[0][threadIdx.x] = scan.gradient();
    shared.start[1][threadIdx.x] = scan.da();
    const float4 add = FinishChunk(shared, a);
    float4 totals = shared.totals[threadIdx.x];
    totals.x += add.x;
    totals.y += add.y;
    totals.z += add.z;
    totals.w += add.w;
    shared.totals[threadIdx.x] = totals;
    __syncthreads();
    if (threadIdx.x == 0) shared.chunk = ChunkBefore(a, shared.chunk);
    __syncthreads();
  }
  StoreTotals(shared.totals[threadIdx.x], shared, a, workspace, blockIdx.y);
  if (channel() >= a.channels) return;
  *WorkspaceQuad(workspace.gradient, a, blockIdx.y, channel()) =
      shared.start[1][threadIdx.x];
  if (a.dstate != nullptr) {
    const float4 g = shared.start[0][threadIdx.x];
    float* p = a.dstate + own();
    p[0] = g.x;
    p[1] = g.y;
    p[2] = g.z;
    p[3] = g.w;
  }
}

// dB and dC: grid (tokens / 8), a thread an element of both.
__global__ void __launch_bounds__(256)
    TokenSumKernel(const __grid_constant__ ScanBackwardArgs a, const float* bc,
                   int columns) {
  const int64_t at = int64_t{blockIdx.x} * 256 + threadIdx.x;
  const int64_t t = at / (2 * kStates);
  if (t >= a.tokens) return;
  const int64_t stride = int64_t{a.tokens} * 2 * kStates;
  float sum = 0.0f;
#pragma unroll 8
  for (int i = 0; i < columns; ++i) sum += bc[i * stride + at];
  const int n = at % kStates;
  if (at / kStates % 2 == 0) {
    a.db[t * a.db_stride + n] = __float2bfloat16(sum);
  } else {
    a.dc[t * a.dc_stride + n] = __float2bfloat16(sum);
  }
}

// dst[i] = sum over slots of src[slot][i], i < count: 32 elements a block,
// eight threads each.
__global__ void __launch_bounds__(256)
    SlotSumKernel(const float* src, float* dst, int slots, int count) {
  __shared__ float parts[8][32];
  const int lane = threadIdx.x % 32, part = threadIdx.x / 32;
  const int at = blockIdx.x * 32 + lane;
  float sum = 0.0f;
  if (at < count) {
#pragma unroll 8
    for (int i = part; i < slots; i += 8) sum += src[int64_t{i} * count + at];
  }
  parts[part][lane] = sum;
  __syncthreads();
  if (part != 0 || at >= count) return;
#pragma unroll
  for (int i = 1; i < 8; ++i) sum += parts[i][lane];
  dst[at] = sum;
}

int64_t Columns(int channels) { return cuda::CeilDiv(channels, kColumn); }

// Lays the arrays out from `base`; returns the bytes that they take.
size_t LayOut(const ScanBackwardArgs& a, void* base, ScanWorkspace* w) {
  const int64_t slots = SlotCount(a.tokens, a.sequences);
  char* next = static_cast<char*>(base);
  const auto take = [&](int64_t count) {
    float* p = reinterpret_cast<float*>(next);
    next += cuda::RoundUp(count * static_cast<int64_t>(sizeof(float)), 256);
    return p;
  };
  w->state = take(slots * a.channels * kStates);
  w->gradient = take(slots * a.channels * kStates);
  w->step_sum = take(slots * a.channels);
  w->dd = take(slots * a.channels);
  w->ddt_bias = take(slots * a.channels);
  w->bc = take(Columns(a.channels) * a.tokens * 2 * kStates);
  return static_cast<size_t>(next - static_cast<char*>(base));
}

bool IsValid(const ScanBackwardArgs& a) {
  const auto pair = [](const void* p, int64_t stride) {
    return p != nullptr && reinterpret_cast<uintptr_t>(p) % 4 == 0 &&
           stride % 2 == 0;
  };
  const auto vector = [](const void* p, int64_t stride) {
    return p != nullptr && cuda::IsAligned16(p) && stride % 8 == 0;
  };
  return a.sequences > 0 && a.sequences <= 65535 && a.tokens >= 0 &&
         a.channels > 0 && a.channels % 2 == 0 && a.state_dim == kStates &&
         (a.sequences == 1 || a.cu_seqlens != nullptr) && a.a != nullptr &&
         a.da != nullptr && a.workspace != nullptr &&
         (a.tokens == 0 ||
          (pair(a.x, a.x_stride) && pair(a.dt, a.dt_stride) &&
           pair(a.dout, a.dout_stride) && pair(a.dx, a.dx_stride) &&
           pair(a.ddt, a.ddt_stride) && vector(a.b, a.b_stride) &&
           vector(a.c, a.c_stride) && a.db != nullptr && a.dc != nullptr &&
           (a.z == nullptr ||
            (pair(a.z, a.z_stride) && pair(a.dz, a.dz_stride)))));
}

// Whether blocks that walk over whole sequences keep the device busy. In tokens
// of one block: with two blocks a multiprocessor they take as long as full
// rounds of the longest sequence, or as the average and once the longest.
bool ShouldWalk(const ScanBackwardArgs& a, int multiprocessors) {
  if (a.path != Sm90ScanBackwardPath::kChoose) {
    return a.path == Sm90ScanBackwardPath::kWalk;
  }
  const int64_t longest = a.cu_seqlens == nullptr ? a.tokens : a.max_seqlen;
  if (longest <= 0) return false;
  const int64_t slots = 2 * multiprocessors;
  const int64_t columns = Columns(a.channels);
  const double average = static_cast<double>(a.tokens) * columns / slots;
  const double rounds =
      static_cast<double>(cuda::CeilDiv(columns * a.sequences, slots));
  const double walk = std::min(rounds * longest, average + longest);
  return walk < 1.08 * average;  // chunks that all run at once cost 1.08
}

cudaError_t LaunchSums(const ScanBackwardArgs& a, const ScanWorkspace& w,
                       const float* da, int parts, cudaStream_t stream) {
  INTARSIA_RETURN_IF_CUDA_ERROR(
      cuda::Launch(TokenSumKernel,
                   {.grid = dim3(static_cast<unsigned>(
                        cuda::CeilDiv(int64_t{a.tokens} * 2 * kStates, 256))),
                    .block = dim3(256),
                    .stream = stream},
                   a, w.bc, static_cast<int>(Columns(a.channels))));
  const auto sum = [&](const float* from, float* to, int count) {
    if (to == nullptr) return cudaSuccess;
    return cuda::Launch(
        SlotSumKernel,
        {.grid = dim3(static_cast<unsigned>(cuda::CeilDiv(count, 32))),
         .block = dim3(256),
         .stream = stream},
        from, to, parts, count);
  };
  INTARSIA_RETURN_IF_CUDA_ERROR(sum(da, a.da, a.channels * kStates));
  INTARSIA_RETURN_IF_CUDA_ERROR(sum(w.dd, a.dd, a.channels));
  return sum(w.ddt_bias, a.ddt_bias, a.channels);
}

cudaError_t LaunchAll(const ScanBackwardArgs& a, const ScanWorkspace& w,
                      bool walk, cudaStream_t stream) {
  const auto columns = static_cast<unsigned>(Columns(a.channels));
  const int slots = SlotCount(a.tokens, a.sequences);
  const auto states =
      static_cast<unsigned>(cuda::CeilDiv(int64_t{a.channels} * kStates, 256));
  const auto sequences = static_cast<unsigned>(a.sequences);
  const dim3 block(kScanThreads);
  INTARSIA_RETURN_IF_CUDA_ERROR(
      cuda::Launch(walk ? LocalKernel<false> : LocalKernel<true>,
                   {.grid = dim3(slots * columns),
                    .block = block,
                    .shared_bytes = sizeof(LocalShared),
                    .stream = stream},
                   a, w));
  INTARSIA_RETURN_IF_CUDA_ERROR(
      cuda::Launch(CarryKernel,
                   {.grid = dim3(states, sequences, walk ? 1 : 2),
                    .block = dim3(256),
                    .stream = stream},
                   a, w));
  INTARSIA_RETURN_IF_CUDA_ERROR(cuda::Launch(
      walk ? WalkKernel : ChunkKernel,
      {.grid = walk ? dim3(columns, sequences) : dim3(slots * columns),
       .block = block,
       .shared_bytes = sizeof(ChunkShared),
       .stream = stream},
      a, w));
  return walk ? LaunchSums(a, w, w.gradient, a.sequences, stream)
              : LaunchSums(a, w, w.state, slots, stream);
}

}  // namespace
}  // namespace sm90

size_t Sm90SelectiveScanBackwardWorkspace(
    const Sm90SelectiveScanBackwardArgs& args) {
  sm90::ScanWorkspace unused;
  return sm90::LayOut(args, nullptr, &unused);
}

cudaError_t LaunchSm90SelectiveScanBackward(
    const Sm90SelectiveScanBackwardArgs& a, cudaStream_t stream) {
  using namespace sm90;  // NOLINT: this file's own
  if (!IsValid(a)) return cudaErrorInvalidValue;
  ScanWorkspace w;
  LayOut(a, a.workspace, &w);
  int multiprocessors = 0;
  INTARSIA_RETURN_IF_CUDA_ERROR(cuda::MultiprocessorCount(&multiprocessors));
  return LaunchAll(a, w, ShouldWalk(a, multiprocessors), stream);
}

}  // namespace intarsia
