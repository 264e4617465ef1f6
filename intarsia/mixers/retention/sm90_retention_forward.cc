#include "intarsia/mixers/retention/sm90_retention_forward.h"

#include <algorithm>

#include "intarsia/mixers/retention/sm90_retention_walk.h"

namespace intarsia {

size_t Sm90RetentionWorkspace(const Sm90RetentionForwardArgs& args) {
  int processors = 0;
  if (sm90::Processors(&processors) != cudaSuccess) return 0;
  sm90::RetentionWalkArgs walk;
  walk.sequences = args.sequences;
  walk.max_seqlen = args.max_seqlen;
  walk.heads = args.heads;
  walk.inner = args.key_dim;
  walk.width = args.value_dim;
  const size_t along_keys = sm90::RetentionWalkWorkspace(walk, processors);
  std::swap(walk.inner, walk.width);
  return std::max(along_keys, sm90::RetentionWalkWorkspace(walk, processors));
}

cudaError_t Sm90RetentionForward(const Sm90RetentionForwardArgs& args,
                                 cudaStream_t stream) {
  if (args.sequences == 0) return cudaSuccess;
  sm90::RetentionWalkArgs walk;
  walk.q = {args.q, args.q_row_stride, args.q_head_stride};
  walk.k = {args.k, args.k_row_stride, args.k_head_stride};
  walk.v = {args.v, args.v_row_stride, args.v_head_stride};
  walk.out = {args.out, args.out_row_stride, args.out_head_stride};
  walk.log_decay = args.log_decay;
  walk.initial_state = args.initial_state;
  walk.final_state = args.final_state;
  walk.state_inner_stride = args.value_dim;
  walk.state_width_stride = 1;
  walk.cu_seqlens = args.cu_seqlens;
  walk.sequences = args.sequences;
  walk.total = args.total;
  walk.max_seqlen = args.max_seqlen;
  walk.heads = args.heads;
  walk.inner = args.key_dim;
  walk.width = args.value_dim;
  walk.read_scale = args.scale;
  walk.workspace = static_cast<float*>(args.workspace);
  return sm90::RetentionWalk(walk, stream);
}

}  // namespace intarsia
