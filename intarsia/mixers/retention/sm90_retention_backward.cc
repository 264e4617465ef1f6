#include "intarsia/mixers/retention/sm90_retention_backward.h"

#include "intarsia/mixers/retention/sm90_retention_walk.h"

namespace intarsia {

cudaError_t Sm90RetentionBackward(const Sm90RetentionBackwardArgs& args,
                                  cudaStream_t stream) {
  const Sm90RetentionForwardArgs& f = args.forward;
  if (f.sequences == 0) return cudaSuccess;
  const sm90::RetentionTensor q = {f.q, f.q_row_stride, f.q_head_stride};
  const sm90::RetentionTensor k = {f.k, f.k_row_stride, f.k_head_stride};
  const sm90::RetentionTensor v = {f.v, f.v_row_stride, f.v_head_stride};
  const sm90::RetentionTensor dout = {args.dout, args.dout_row_stride,
                                      args.dout_head_stride};
  sm90::RetentionWalkArgs walk;
  walk.log_decay = f.log_decay;
  walk.cu_seqlens = f.cu_seqlens;
  walk.sequences = f.sequences;
  walk.total = f.total;
  walk.max_seqlen = f.max_seqlen;
  walk.heads = f.heads;
  walk.workspace = static_cast<float*>(f.workspace);

  // The state and its gradient with the values as inner dimension.
  walk.inner = f.value_dim;
  walk.width = f.key_dim;
  walk.state_inner_stride = 1;
  walk.state_width_stride = f.value_dim;
  walk.q = dout;
  walk.k = v;
  walk.v = k;
  walk.out = {args.dq, args.dq_row_stride, args.dq_head_stride};
  walk.initial_state = f.initial_state;
  walk.read_scale = f.scale;
  cudaError_t error = sm90::RetentionWalk(walk, stream);
  if (error != cudaSuccess) return error;

  walk.reverse = true;
  walk.q = v;
  walk.k = dout;
  walk.v = q;
  walk.out = {args.dk, args.dk_row_stride, args.dk_head_stride};
  walk.initial_state = args.dfinal_state;
  walk.read_scale = 1;
  walk.write_scale = f.scale;
  error = sm90::RetentionWalk(walk, stream);
  if (error != cudaSuccess) return error;

  walk.inner = f.key_dim;
  walk.width = f.value_dim;
  walk.state_inner_stride = f.value_dim;
  walk.state_width_stride = 1;
  walk.q = k;
  walk.k = q;
  walk.v = dout;
  walk.out = {args.dv, args.dv_row_stride, args.dv_head_stride};
  walk.final_state = args.dinitial_state;
  return sm90::RetentionWalk(walk, stream);
}

}  // namespace intarsia
