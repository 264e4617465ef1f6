# The Hopper kernels that device memory bounds, of all rooms, as one library.
# Included with -DINTARSIA_CUDA=ON.
set(INTARSIA_ROOMS ${PROJECT_SOURCE_DIR}/intarsia)
intarsia_cuda_kernels(
  intarsia_memory_bound_sm90
  ${INTARSIA_ROOMS}/ops/elementwise/sm90_swiglu.cu
  ${INTARSIA_ROOMS}/mixers/attention/sm90_paged_decode.cu
  ${INTARSIA_ROOMS}/mixers/mamba/sm90_selective_scan.cu
  ${INTARSIA_ROOMS}/mixers/mamba/sm90_selective_scan_backward.cu
  ${INTARSIA_ROOMS}/mixers/mamba2/sm90_state_update.cu
  ${INTARSIA_ROOMS}/mixers/retention/sm90_state_update.cu
  ${INTARSIA_ROOMS}/ops/conv1d/sm90_conv1d.cu
  ${INTARSIA_ROOMS}/ops/cross_entropy/sm90_cross_entropy.cu
  ${INTARSIA_ROOMS}/ops/norm/sm90_rms_norm.cu
  ${INTARSIA_ROOMS}/ops/rope/sm90_rope.cu)
