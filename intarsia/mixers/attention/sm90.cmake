# The Hopper kernels of this room, included with -DINTARSIA_CUDA=ON.
set(INTARSIA_ATTENTION_SM90_DIR ${CMAKE_CURRENT_LIST_DIR})
intarsia_cuda_kernels(
  intarsia_attention_sm90
  ${INTARSIA_ATTENTION_SM90_DIR}/sm90_attention_forward.cc
  ${INTARSIA_ATTENTION_SM90_DIR}/sm90_attention_forward_hd64.cu
  ${INTARSIA_ATTENTION_SM90_DIR}/sm90_attention_forward_hd128.cu
  ${INTARSIA_ATTENTION_SM90_DIR}/sm90_attention_forward_hd256.cu
  ${INTARSIA_ATTENTION_SM90_DIR}/sm90_attention_backward.cc
  ${INTARSIA_ATTENTION_SM90_DIR}/sm90_attention_backward_hd64.cu
  ${INTARSIA_ATTENTION_SM90_DIR}/sm90_attention_backward_hd128.cu
  ${INTARSIA_ATTENTION_SM90_DIR}/sm90_mla_decode.cu)
