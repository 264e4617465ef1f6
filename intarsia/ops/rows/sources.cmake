set(ROOM_CUDA_SOURCES rows_gradients_cuda.cu)
