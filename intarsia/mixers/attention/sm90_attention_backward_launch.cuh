// The kernels of the backward pass for one configuration.
#pragma once

#include <algorithm>
#include <climits>

#include "intarsia/cuda/tile/tensor_map.h"
#include "intarsia/mixers/attention/sm90_attention_backward.cuh"
#include "intarsia/mixers/attention/sm90_attention_backward.h"
#include "intarsia/mixers/attention/sm90_attention_backward_rows.cuh"

namespace intarsia::sm90 {

template <class C>
cudaError_t LaunchBackward(const Sm90AttentionBackwardArgs& a,
                           cudaStream_t stream) {
  constexpr int kQueries = C::kBlockQueries, kHeadDim = C::kHeadDim;
  const Sm90AttentionForwardArgs& f = a.forward;
  BackwardRowsParams rows{};
  rows.out = f.out;
  rows.dout = a.dout;
  rows.lse_in = f.lse;
  rows.dq = a.dq;
  rows.cu_q = f.cu_seqlens_q;
  rows.out_row_stride = f.out_row_stride;
  rows.out_head_stride = f.out_head_stride;
  rows.dout_row_stride = a.dout_row_stride;
  rows.dout_head_stride = a.dout_head_stride;
  rows.dq_row_stride = a.dq_row_stride;
  rows.dq_head_stride = a.dq_head_stride;
  rows.sequences = f.sequences;
  rows.total_q = f.total_q;
  rows.padded_rows = Padding<kQueries>::Rows(f.total_q, f.sequences);
  rows.scale = f.scale;
  const int64_t padded = int64_t{f.heads} * rows.padded_rows;
  if (padded > INT_MAX) return cudaErrorInvalidValue;
  rows.dq_sum = static_cast<float*>(a.workspace);
  rows.lse = rows.dq_sum + padded * kHeadDim;
  rows.delta = rows.lse + padded;
  const int64_t parts =
      f.heads > f.kv_heads ? int64_t{f.heads} * f.total_k * kHeadDim : 0;

  BackwardParams p{};
  const struct {
    CUtensorMap* map;
    const void* data;
    int64_t rows, heads, row_stride, head_stride;
    uint32_t box;
  } tensors[] = {
      {&p.q, f.q, f.total_q, f.heads, f.q_row_stride, f.q_head_stride,
       kQueries},
      {&p.dout, a.dout, f.total_q, f.heads, a.dout_row_stride,
       a.dout_head_stride, kQueries},
      {&p.k, f.k, f.total_k, f.kv_heads, f.k_row_stride, f.k_head_stride, 128},
      {&p.v, f.v, f.total_k, f.kv_heads, f.v_row_stride, f.v_head_stride, 128},
  };
  for (const auto& t : tensors) {
    const cudaError_t error =
        tile::EncodePanelMap(t.map, t.data, t.rows, t.heads, kHeadDim,
                             t.row_stride, t.head_stride, t.box);
    if (error != cudaSuccess) return error;
  }
  p.dk = a.dk;
  p.dv = a.dv;
  p.cu_q = f.cu_seqlens_q;
  p.cu_k = f.cu_seqlens_k;
  p.counter = f.tile_counter;
  p.dq_sum = rows.dq_sum;
  p.lse = rows.lse;
  p.delta = rows.delta;
  p.dk_row_stride = a.dk_row_stride;
  p.dk_head_stride = a.dk_head_stride;
  p.dv_row_stride = a.dv_row_stride;
  p.dv_head_stride = a.dv_head_stride;
  p.sequences = f.sequences;
  p.heads = f.heads;
  if (parts > 0) {
    p.dv = reinterpret_cast<__nv_bfloat16*>(rows.delta + padded);
    p.dk = p.dv + parts;
    p.dk_row_stride = p.dv_row_stride = kHeadDim;
    p.dk_head_stride = p.dv_head_stride = int64_t{f.total_k} * kHeadDim;
  }
  p.heads_per_kv = f.heads / f.kv_heads;
  p.padded_rows = rows.padded_rows;
  p.scale = f.scale;
  p.scale_log2 = f.scale * 1.44269504089f;
  p.window_left = f.window_left;
  p.causal = f.causal;

  int device = 0, processors = 0;
  cudaError_t error = cudaGetDevice(&device);
  if (error != cudaSuccess) return error;
  error = cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount,
                                 device);
  if (error != cudaSuccess) return error;
  // Long tiles of all heads first, but at least eight blocks of the grid that
  // stream the same Q and dO out of L2.
  p.heads_per_group = std::clamp(processors / 8, 1, f.heads);
  constexpr int kBytes = sizeof(BackwardShared<C>);
  static_assert(kBytes <= 227 * 1024);
  error = cudaFuncSetAttribute(
      BackwardKernel<C>, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes);
  if (error != cudaSuccess) return error;
  const int64_t tiles =
      int64_t{f.sequences} * f.heads * ((f.max_seqlen_k + 127) / 128);
  const int grid = static_cast<int>(std::min<int64_t>(processors, tiles));
  const dim3 row_grid(rows.padded_rows / kQueries, f.heads);
  if (row_grid.x > 0) {
    BackwardPrepareKernel<kQueries, kHeadDim>
        <<<row_grid, 256, 0, stream>>>(rows);
  }
  if (grid > 0) BackwardKernel<C><<<grid, 384, kBytes, stream>>>(p);
  if (row_grid.x > 0) {
    BackwardFinishKernel<kQueries, kHeadDim>
        <<<row_grid, 256, 0, stream>>>(rows);
  }
  if (parts > 0) {
    const BackwardGroupParams sums{{p.dk, p.dv},
                                   {a.dk, a.dv},
                                   {a.dk_row_stride, a.dv_row_stride},
                                   {a.dk_head_stride, a.dv_head_stride},
                                   f.total_k,
                                   p.heads_per_kv};
    const dim3 sum_grid(
        static_cast<unsigned>((int64_t{f.total_k} * kHeadDim + 2047) / 2048),
        f.kv_heads, 2);
    BackwardGroupSumKernel<kHeadDim><<<sum_grid, 256, 0, stream>>>(sums);
  }
  return cudaGetLastError();
}

}  // namespace intarsia::sm90
