# The SSD kernels for Hopper, included with -DINTARSIA_CUDA=ON.
set(INTARSIA_MAMBA2_SM90_DIR ${CMAKE_CURRENT_LIST_DIR})
intarsia_cuda_kernels(
  intarsia_ssd_sm90
  ${INTARSIA_MAMBA2_SM90_DIR}/sm90_ssd_forward.cu
  ${INTARSIA_MAMBA2_SM90_DIR}/sm90_ssd_backward.cu)
