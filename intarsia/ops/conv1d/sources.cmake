set(ROOM_DEPS intarsia_ops_elementwise)
set(ROOM_CUDA_SOURCES conv1d_gradients_cuda.cu)
