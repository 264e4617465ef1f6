// Kernels behind C functions with plain structs, for scripts that time them
// beside a peer in the peer's process (bench/peers). Not an interface of the
// library: the structs follow the kernels' argument structs.
#include "intarsia/mixers/attention/sm90_attention_backward.h"
#include "intarsia/mixers/attention/sm90_attention_forward.h"
#include "intarsia/mixers/mamba2/sm90_ssd_backward.h"
#include "intarsia/mixers/mamba2/sm90_ssd_forward.h"
#include "intarsia/mixers/retention/sm90_retention_backward.h"
#include "intarsia/mixers/retention/sm90_retention_forward.h"
#include "intarsia/ops/matmul/sm90_grouped_gemm.h"

extern "C" {

// 0 or a cudaError_t.
int intarsia_attention_forward(const intarsia::Sm90AttentionForwardArgs* args,
                               void* stream) {
  return intarsia::Sm90AttentionForward(*args,
                                        static_cast<cudaStream_t>(stream));
}

int intarsia_attention_backward(const intarsia::Sm90AttentionBackwardArgs* args,
                                void* stream) {
  return intarsia::Sm90AttentionBackward(*args,
                                         static_cast<cudaStream_t>(stream));
}

// Bytes.
uint64_t intarsia_attention_backward_workspace(
    const intarsia::Sm90AttentionForwardArgs* args) {
  return intarsia::Sm90AttentionBackwardWorkspace(*args);
}

int intarsia_ssd_forward(const intarsia::Sm90SsdForwardArgs* args,
                         void* stream) {
  return intarsia::Sm90SsdForward(*args, static_cast<cudaStream_t>(stream));
}

int intarsia_ssd_backward(const intarsia::Sm90SsdBackwardArgs* args,
                          void* stream) {
  return intarsia::Sm90SsdBackward(*args, static_cast<cudaStream_t>(stream));
}

// Bytes.
uint64_t intarsia_ssd_forward_workspace(
    const intarsia::Sm90SsdForwardArgs* args) {
  return intarsia::Sm90SsdForwardWorkspace(*args);
}
uint64_t intarsia_ssd_backward_workspace(
    const intarsia::Sm90SsdBackwardArgs* args) {
  return intarsia::Sm90SsdBackwardWorkspace(*args);
}

int intarsia_retention_forward(const intarsia::Sm90RetentionForwardArgs* args,
                               void* stream) {
  return intarsia::Sm90RetentionForward(*args,
                                        static_cast<cudaStream_t>(stream));
}

int intarsia_retention_backward(const intarsia::Sm90RetentionBackwardArgs* args,
                                void* stream) {
  return intarsia::Sm90RetentionBackward(*args,
                                         static_cast<cudaStream_t>(stream));
}

// Bytes, for both directions.
uint64_t intarsia_retention_workspace(
    const intarsia::Sm90RetentionForwardArgs* args) {
  return intarsia::Sm90RetentionWorkspace(*args);
}

int intarsia_grouped_gemm(const intarsia::Sm90GroupedGemmArgs* args,
                          void* stream) {
  return intarsia::LaunchSm90GroupedGemm(*args,
                                         static_cast<cudaStream_t>(stream));
}

}  // extern "C"
