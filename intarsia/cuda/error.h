// How CUDA launch functions report failure: they return cudaError_t and leave
// the choice of throwing, printing or retrying to their caller.
#pragma once

#include <cuda_runtime_api.h>

// Returns from the enclosing function with the first failing status.
#define INTARSIA_RETURN_IF_CUDA_ERROR(expression)                 \
  do {                                                            \
    const cudaError_t intarsia_status_ = (expression);            \
    if (intarsia_status_ != cudaSuccess) return intarsia_status_; \
  } while (false)
