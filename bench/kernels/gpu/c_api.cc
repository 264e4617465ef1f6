// Kernels behind C functions with plain structs, for scripts that time them
// beside a peer in the peer's process (bench/peers). Not an interface of the
// library: the structs follow the kernels' argument structs.
#include "intarsia/mixers/attention/sm90_attention_forward.h"

extern "C" {

// 0 or a cudaError_t.
int intarsia_attention_forward(
    const intarsia::Sm90AttentionForwardArgs* args, void* stream) {
  return intarsia::Sm90AttentionForward(*args,
                                        static_cast<cudaStream_t>(stream));
}

}  // extern "C"
