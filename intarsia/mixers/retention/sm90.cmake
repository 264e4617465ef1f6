# The chunked Hopper kernels of this room, included with -DINTARSIA_CUDA=ON.
set(INTARSIA_RETENTION_SM90_DIR ${CMAKE_CURRENT_LIST_DIR})
intarsia_cuda_kernels(
  intarsia_retention_sm90
  ${INTARSIA_RETENTION_SM90_DIR}/sm90_retention_backward.cc
  ${INTARSIA_RETENTION_SM90_DIR}/sm90_retention_forward.cc
  ${INTARSIA_RETENTION_SM90_DIR}/sm90_retention_walk.cu)
