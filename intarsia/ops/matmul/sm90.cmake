# The Hopper kernels of this room, included with -DINTARSIA_CUDA=ON.
intarsia_cuda_kernels(
  intarsia_matmul_sm90
  ${CMAKE_CURRENT_LIST_DIR}/sm90_gemm.cu
  ${CMAKE_CURRENT_LIST_DIR}/sm90_grouped_gemm.cu
  ${CMAKE_CURRENT_LIST_DIR}/sm90_thin_gemm.cu)
