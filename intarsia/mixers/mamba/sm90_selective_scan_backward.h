// Gradients of the selective scan of Mamba-1 on Hopper: the backward pass of
// sm90_selective_scan.h, over packed sequences, with gradients through the
// states that sequences start from and end in.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#include "intarsia/mixers/mamba/sm90_selective_scan.h"

namespace intarsia {

enum class Sm90ScanBackwardPath {
  kChoose,  // by the sizes
  kChunks,  // all chunks of time at once
  kWalk,    // a block for all chunks of a sequence: needs enough sequences
};

// Given dout = dL/dout and (if it is used) dL/dh after each sequence's last
// token, with d, h and y as in sm90_selective_scan.h:
//   dy[t, c]   = dout silu(z)           dz = dout y silu'(z)
//   g[t, c, n] = dy[t, c] C[t, n] + exp(d[t+1] A) g[t+1, c, n]     (dL/dh)
//   dC[t, n]   = sum_c dy h             dB[t, n] = sum_c g d x
//   dx[t, c]   = dy D + d sum_n g B     ddt = softplus'(dt + bias) dd, where
//   dd[t, c]   = x sum_n g B + sum_n g A exp(d A) h[t-1]
//   dA[c, n]   = sum_t g d exp(d A) h[t-1]
//   dD[c]      = sum_t dy x             ddt_bias[c] = sum_t ddt
// fp32 inside; y and h are recomputed, the forward pass saves nothing. dB and
// dC are summed over channels by the tensor cores, which read the factors h, g
// cut to ten bits of mantissa and add in fp32. Every sum is made in a fixed
// order: the same call gives the same bits.
struct Sm90SelectiveScanBackwardArgs : Sm90SelectiveScanInputs {
  const __nv_bfloat16* dout = nullptr;  // [tokens, channels]
  // States before the first token, and gradients of those after the last, of
  // each sequence; null: zero. [sequences, channels, state_dim]
  const float* state = nullptr;
  const float* dfinal_state = nullptr;

  __nv_bfloat16* dx = nullptr;   // [tokens, channels]
  __nv_bfloat16* ddt = nullptr;  // [tokens, channels], of dt before the bias
  __nv_bfloat16* db = nullptr;   // [tokens, state_dim]
  __nv_bfloat16* dc = nullptr;   // [tokens, state_dim]
  __nv_bfloat16* dz = nullptr;   // [tokens, channels], not read without z
  float* da = nullptr;           // [channels, state_dim]
  float* dd = nullptr;           // [channels] or null
  float* ddt_bias = nullptr;     // [channels] or null
  float* dstate = nullptr;       // [sequences, channels, state_dim] or null

  // Between rows, in elements: even.
  int64_t dout_stride = 0;
  int64_t dx_stride = 0;
  int64_t ddt_stride = 0;
  int64_t db_stride = 0;
  int64_t dc_stride = 0;
  int64_t dz_stride = 0;
  // Of the longest sequence, or 0 if unknown; only the speed depends on it.
  int max_seqlen = 0;
  Sm90ScanBackwardPath path = Sm90ScanBackwardPath::kChoose;

  // Sm90SelectiveScanBackwardWorkspace bytes, 256-byte aligned; its content
  // before and after the call means nothing.
  void* workspace = nullptr;
};

// Reads only tokens, sequences, channels and state_dim.
size_t Sm90SelectiveScanBackwardWorkspace(
    const Sm90SelectiveScanBackwardArgs& args);

// Overwrites all gradients that are not null. cudaErrorInvalidValue if a limit
// above does not hold, b or c is not aligned to 16 bytes, or another bf16
// array to 4. Enqueues seven kernels.
cudaError_t LaunchSm90SelectiveScanBackward(
    const Sm90SelectiveScanBackwardArgs& args, cudaStream_t stream);

}  // namespace intarsia
