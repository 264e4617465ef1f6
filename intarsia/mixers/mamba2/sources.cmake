set(ROOM_CUDA_SOURCES mamba2_gradients_cuda.cu)
