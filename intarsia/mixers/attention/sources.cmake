set(ROOM_SOURCES attention_core.cc)
set(ROOM_CUDA_SOURCES attention_gradients_cuda.cu)
