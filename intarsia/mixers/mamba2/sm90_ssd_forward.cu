#include "intarsia/mixers/mamba2/sm90_ssd_forward.h"

#include "intarsia/mixers/mamba2/sm90_ssd_forward.cuh"
#include "intarsia/mixers/mamba2/sm90_ssd_launch.h"
#include "intarsia/mixers/mamba2/sm90_ssd_scores.cuh"
#include "intarsia/mixers/mamba2/sm90_ssd_states.cuh"

namespace intarsia {
namespace sm90 {
namespace {

template <int kStateDim, int kHeadsPerBlock>
struct Config {
  static constexpr int kN = kStateDim;
  static constexpr int kHeads = kHeadsPerBlock;
  static constexpr int kStages = 3;
};

// Offsets in bytes.
struct Workspace {
  int segment;  // tokens
  int64_t units = 0;
  uint64_t states = 0, decays = 0, bytes = 0;

  Workspace(const Sm90SsdForwardArgs& a, int processors)
      : segment(SsdSegment(a, processors)) {
    states = uint64_t(SsdUnits(a.tokens, a.sequences, kSsdChunk)) * a.groups *
             kSsdScoreBytes;
    units = SsdUnits(a.tokens, a.sequences, segment);
    decays = bytes = states;
    if (segment > a.tokens) return;
    decays += units * a.heads * kSsdHeadDim * a.state_dim * 4;
    bytes = decays + units * a.heads * 4;
  }
  bool segmented() const { return bytes > states; }
};

template <int kN>
cudaError_t LaunchScores(const Sm90SsdForwardArgs& a, uint8_t* scores,
                         cudaStream_t stream) {
  SsdScoresParams p{};
  INTARSIA_RETURN_IF_CUDA_ERROR(EncodeGroups(&p.b, a.b, a, a.b_stride));
  INTARSIA_RETURN_IF_CUDA_ERROR(EncodeGroups(&p.c, a.c, a, a.c_stride));
  p.packing = MakeSsdPacking(a);
  p.scores = scores;
  p.groups = a.groups;
  const dim3 grid(SsdUnits(a.tokens, a.sequences, kSsdChunk) * a.groups);
  return cuda::Launch(SsdScoresKernel<kN>,
                      {.grid = grid,
                       .block = 128,
                       .shared_bytes = sizeof(SsdScoresShared<kN>),
                       .stream = stream},
                      p);
}

template <class C>
cudaError_t LaunchSegments(const Sm90SsdForwardArgs& a, const Workspace& work,
                           cudaStream_t stream) {
  SsdStatesParams p{MakeSsdProblem(a)};
  INTARSIA_RETURN_IF_CUDA_ERROR(EncodeHeads(&p.narrow, a.x, a, a.x_stride));
  INTARSIA_RETURN_IF_CUDA_ERROR(EncodeGroups(&p.wide, a.b, a, a.b_stride));
  uint8_t* base = static_cast<uint8_t*>(a.workspace);
  p.segment_state = reinterpret_cast<float*>(base + work.states);
  p.segment_decay = reinterpret_cast<float*>(base + work.decays);
  p.unit = work.segment;
  const dim3 grid(work.units * (a.heads / C::kHeads));
  return cuda::Launch(SsdStatesKernel<C>,
                      {.grid = grid,
                       .block = 128 * (C::kHeads + 1),
                       .shared_bytes = sizeof(SsdStatesShared<C>),
                       .stream = stream},
                      p);
}

template <class C>
cudaError_t Forward(const Sm90SsdForwardArgs& a, cudaStream_t stream) {
  int processors = 0;
  INTARSIA_RETURN_IF_CUDA_ERROR(cuda::MultiprocessorCount(&processors));
  const Workspace work(a, processors);
  uint8_t* base = static_cast<uint8_t*>(a.workspace);
  INTARSIA_RETURN_IF_CUDA_ERROR(LaunchScores<C::kN>(a, base, stream));
  SsdForwardParams p{MakeSsdProblem(a)};
  if (work.segmented()) {
    INTARSIA_RETURN_IF_CUDA_ERROR(LaunchSegments<C>(a, work, stream));
    p.segment_state = reinterpret_cast<const float*>(base + work.states);
    p.segment_decay = reinterpret_cast<const float*>(base + work.decays);
  }
  INTARSIA_RETURN_IF_CUDA_ERROR(EncodeHeads(&p.x, a.x, a, a.x_stride));
  INTARSIA_RETURN_IF_CUDA_ERROR(EncodeHeads(&p.y, a.y, a, a.y_stride));
  INTARSIA_RETURN_IF_CUDA_ERROR(EncodeGroups(&p.b, a.b, a, a.b_stride));
  INTARSIA_RETURN_IF_CUDA_ERROR(EncodeGroups(&p.c, a.c, a, a.c_stride));
  p.skip = a.d;
  p.scores = base;
  p.initial = a.initial_state;
  p.final_state = a.final_state;
  p.out = a.y;
  p.out_stride = a.y_stride;
  p.unit = work.segment;
  const dim3 grid(work.units * (a.heads / C::kHeads));
  return cuda::Launch(SsdForwardKernel<C>,
                      {.grid = grid,
                       .block = 128 * (C::kHeads + 1),
                       .shared_bytes = sizeof(SsdForwardShared<C>),
                       .overlap_previous = true,
                       .stream = stream},
                      p);
}

template <int kN>
cudaError_t Dispatch(const Sm90SsdForwardArgs& a, cudaStream_t stream) {
  return SsdHeadsPerBlock(a.heads, a.groups) == 2
             ? Forward<Config<kN, 2>>(a, stream)
             : Forward<Config<kN, 1>>(a, stream);
}

}  // namespace
}  // namespace sm90

uint64_t Sm90SsdForwardWorkspace(const Sm90SsdForwardArgs& args) {
  int processors = 0;
  if (!sm90::SsdShapeIsValid(args) ||
      cuda::MultiprocessorCount(&processors) != cudaSuccess) {
    return 0;
  }
  return sm90::Workspace(args, processors).bytes;
}

cudaError_t Sm90SsdForward(const Sm90SsdForwardArgs& args,
                           cudaStream_t stream) {
  if (!sm90::SsdShapeIsValid(args) || args.dt == nullptr || args.a == nullptr ||
      args.workspace == nullptr || !cuda::IsAligned16(args.workspace) ||
      !sm90::SsdRowsAreValid(args.x, args.x_stride) ||
      !sm90::SsdRowsAreValid(args.b, args.b_stride) ||
      !sm90::SsdRowsAreValid(args.c, args.c_stride) ||
      !sm90::SsdRowsAreValid(args.y, args.y_stride)) {
    return cudaErrorInvalidValue;
  }
  if (args.head_dim != sm90::kSsdHeadDim) return cudaErrorNotSupported;
  switch (args.state_dim) {
    case 64:
      return sm90::Dispatch<64>(args, stream);
    case 128:
      return sm90::Dispatch<128>(args, stream);
    default:
      return cudaErrorNotSupported;
  }
}

}  // namespace intarsia
