set(ROOM_SOURCES attention_core.cc attention_backward_cpu.cc
    attention_spans_cpu.cc)
set(ROOM_CUDA_SOURCES attention_gradients_cuda.cu)
