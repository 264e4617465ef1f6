#include "intarsia/mixers/mamba2/sm90_ssd_backward.h"

#include "intarsia/mixers/mamba2/sm90_ssd_gradients.cuh"
#include "intarsia/mixers/mamba2/sm90_ssd_launch.h"
#include "intarsia/mixers/mamba2/sm90_ssd_states.cuh"

namespace intarsia {
namespace sm90 {
namespace {

template <int kStateDim, int kHeadsPerBlock>
struct StatesConfig {
  static constexpr int kN = kStateDim;
  static constexpr int kHeads = kHeadsPerBlock;
  static constexpr int kStages = 3;
};

template <int kStateDim>
struct GradientConfig {
  static constexpr int kN = kStateDim;
  static constexpr int kStages = 3;
};

// Sums of the chunks' parts, in an order that depends on nothing.
struct SsdReduceParams {
  const float4* partial;
  float* da;
  float* dd;    // or null
  float* bias;  // or null
  int units, heads;
};

inline constexpr int kSsdReduceThreads = 256;

__global__ __launch_bounds__(kSsdReduceThreads) void SsdReduceKernel(
    const SsdReduceParams p) {
  __shared__ float4 parts[kSsdReduceThreads];
  float4 sum{0, 0, 0, 0};
  for (int u = threadIdx.x; u < p.units; u += kSsdReduceThreads) {
    const float4 x = p.partial[int64_t{u} * p.heads + blockIdx.x];
    sum.x += x.x;
    sum.y += x.y;
    sum.z += x.z;
  }
  parts[threadIdx.x] = sum;
  __syncthreads();
  for (int step = kSsdReduceThreads / 2; step > 0; step /= 2) {
    if (threadIdx.x < step) {
      parts[threadIdx.x].x += parts[threadIdx.x + step].x;
      parts[threadIdx.x].y += parts[threadIdx.x + step].y;
      parts[threadIdx.x].z += parts[threadIdx.x + step].z;
    }
    __syncthreads();
  }
  if (threadIdx.x > 0) return;
  p.da[blockIdx.x] = parts[0].x;
  if (p.dd != nullptr) p.dd[blockIdx.x] = parts[0].y;
  if (p.bias != nullptr) p.bias[blockIdx.x] = parts[0].z;
}

// Offsets in bytes.
struct Workspace {
  int64_t units;
  uint64_t gradients, partial, bytes;

  explicit Workspace(const Sm90SsdForwardArgs& a)
      : units(SsdUnits(a.tokens, a.sequences, kSsdChunk)) {
    const uint64_t states = units * a.heads * kSsdHeadDim * a.state_dim * 2;
    gradients = states;
    partial = 2 * states;
    bytes = partial + units * a.heads * sizeof(float4);
  }
};

// The walk over the states between chunks, or over their gradients.
template <bool kReverse>
cudaError_t MakeStates(const Sm90SsdBackwardArgs& args, uint8_t* states,
                       SsdStatesParams* p) {
  const Sm90SsdForwardArgs& a = args.forward;
  INTARSIA_RETURN_IF_CUDA_ERROR(
      kReverse ? EncodeHeads(&p->narrow, args.dy, a, args.dy_stride)
               : EncodeHeads(&p->narrow, a.x, a, a.x_stride));
  INTARSIA_RETURN_IF_CUDA_ERROR(
      kReverse ? EncodeGroups(&p->wide, a.c, a, a.c_stride)
               : EncodeGroups(&p->wide, a.b, a, a.b_stride));
  p->start = kReverse ? args.final_gradient : a.initial_state;
  p->end = kReverse ? args.initial_gradient : nullptr;
  p->chunk_states = states;
  p->unit = static_cast<int>(cuda::RoundUp(int64_t{a.tokens} + 1, kSsdChunk));
  return cudaSuccess;
}

template <class C>
cudaError_t LaunchStates(const Sm90SsdBackwardArgs& args, const Workspace& work,
                         cudaStream_t stream) {
  const Sm90SsdForwardArgs& a = args.forward;
  uint8_t* base = static_cast<uint8_t*>(args.workspace);
  SsdStatesParams forward{MakeSsdProblem(a)}, reverse{MakeSsdProblem(a)};
  INTARSIA_RETURN_IF_CUDA_ERROR(MakeStates<false>(args, base, &forward));
  INTARSIA_RETURN_IF_CUDA_ERROR(
      MakeStates<true>(args, base + work.gradients, &reverse));
  const dim3 grid(2 * a.sequences * (a.heads / C::kHeads));
  return cuda::Launch(SsdBothStatesKernel<C>,
                      {.grid = grid,
                       .block = 128 * (C::kHeads + 1),
                       .shared_bytes = sizeof(SsdStatesShared<C>),
                       .stream = stream},
                      forward, reverse);
}

template <int kN>
cudaError_t LaunchGradients(const Sm90SsdBackwardArgs& args,
                            const Workspace& work, cudaStream_t stream) {
  using C = GradientConfig<kN>;
  const Sm90SsdForwardArgs& a = args.forward;
  const uint8_t* base = static_cast<const uint8_t*>(args.workspace);
  SsdGradientParams p{MakeSsdProblem(a)};
  INTARSIA_RETURN_IF_CUDA_ERROR(EncodeHeads(&p.x, a.x, a, a.x_stride));
  INTARSIA_RETURN_IF_CUDA_ERROR(EncodeHeads(&p.dy, args.dy, a, args.dy_stride));
  INTARSIA_RETURN_IF_CUDA_ERROR(EncodeHeads(&p.dx, args.dx, a, args.dx_stride));
  INTARSIA_RETURN_IF_CUDA_ERROR(EncodeGroups(&p.b, a.b, a, a.b_stride));
  INTARSIA_RETURN_IF_CUDA_ERROR(EncodeGroups(&p.c, a.c, a, a.c_stride));
  p.skip = a.d;
  p.states = base;
  p.gradients = base + work.gradients;
  p.dx_out = args.dx;
  p.db = args.db;
  p.dc = args.dc;
  p.ddt = args.ddt;
  p.partial = reinterpret_cast<float4*>(static_cast<uint8_t*>(args.workspace) +
                                        work.partial);
  p.dx_stride = args.dx_stride;
  p.db_stride = args.db_stride;
  p.dc_stride = args.dc_stride;
  p.ddt_stride = args.ddt_stride;
  const dim3 grid(work.units * a.groups);
  INTARSIA_RETURN_IF_CUDA_ERROR(
      cuda::Launch(SsdGradientKernel<C>,
                   {.grid = grid,
                    .block = 384,
                    .shared_bytes = sizeof(SsdGradientShared<C>),
                    .stream = stream},
                   p));
  const SsdReduceParams r{p.partial,     args.da,         args.dd,
                          args.ddt_bias, int(work.units), a.heads};
  return cuda::Launch(
      SsdReduceKernel,
      {.grid = dim3(a.heads), .block = kSsdReduceThreads, .stream = stream}, r);
}

template <int kN>
cudaError_t Backward(const Sm90SsdBackwardArgs& args, cudaStream_t stream) {
  const Sm90SsdForwardArgs& a = args.forward;
  const Workspace work(a);
  INTARSIA_RETURN_IF_CUDA_ERROR(
      SsdHeadsPerBlock(a.heads, a.groups) == 2
          ? (LaunchStates<StatesConfig<kN, 2>>(args, work, stream))
          : (LaunchStates<StatesConfig<kN, 1>>(args, work, stream)));
  return LaunchGradients<kN>(args, work, stream);
}

}  // namespace
}  // namespace sm90

uint64_t Sm90SsdBackwardWorkspace(const Sm90SsdBackwardArgs& args) {
  return sm90::SsdShapeIsValid(args.forward)
             ? sm90::Workspace(args.forward).bytes
             : 0;
}

cudaError_t Sm90SsdBackward(const Sm90SsdBackwardArgs& args,
                            cudaStream_t stream) {
  const Sm90SsdForwardArgs& a = args.forward;
  if (!sm90::SsdShapeIsValid(a) || a.dt == nullptr || a.a == nullptr ||
      args.workspace == nullptr || !cuda::IsAligned16(args.workspace) ||
      args.ddt == nullptr || args.da == nullptr ||
      !sm90::SsdRowsAreValid(a.x, a.x_stride) ||
      !sm90::SsdRowsAreValid(a.b, a.b_stride) ||
      !sm90::SsdRowsAreValid(a.c, a.c_stride) ||
      !sm90::SsdRowsAreValid(args.dy, args.dy_stride) ||
      !sm90::SsdRowsAreValid(args.dx, args.dx_stride) ||
      !sm90::SsdRowsAreValid(args.db, args.db_stride) ||
      !sm90::SsdRowsAreValid(args.dc, args.dc_stride)) {
    return cudaErrorInvalidValue;
  }
  if (a.head_dim != sm90::kSsdHeadDim) return cudaErrorNotSupported;
  switch (a.state_dim) {
    case 64:
      return sm90::Backward<64>(args, stream);
    case 128:
      return sm90::Backward<128>(args, stream);
    default:
      return cudaErrorNotSupported;
  }
}

}  // namespace intarsia
