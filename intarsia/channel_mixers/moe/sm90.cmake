# The Hopper kernels of this room, included with -DINTARSIA_CUDA=ON.
intarsia_cuda_kernels(intarsia_moe_sm90
                      ${CMAKE_CURRENT_LIST_DIR}/sm90_grouped_gemm.cu)
