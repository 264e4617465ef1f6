// Host side of TMA: tensor maps of packed [rows, heads, columns] bf16 tensors.
#pragma once

#include <cuda.h>
#include <cuda_runtime.h>

#include <cstdint>

namespace intarsia::tile {

// A map of bf16 with the 128-byte swizzle: sizes and box count elements, from
// the innermost dimension, of 64 at most a box; strides (of all but the
// innermost) count elements too and are multiples of 8. Boxes outside the
// tensor read zeros. cudaErrorInvalidValue if the driver refuses the shape,
// cudaErrorNotSupported without a driver.
template <int kDims>
cudaError_t EncodeMap(CUtensorMap* map, const void* data,
                      const int64_t (&sizes)[kDims],
                      const int64_t (&strides)[kDims - 1],
                      const uint32_t (&box)[kDims]) {
  using Encode = decltype(&cuTensorMapEncodeTiled);
  // Looked up at run time, so that programs start on machines without a GPU.
  static const Encode encode = [] {
    void* function = nullptr;
    cudaDriverEntryPointQueryResult found;
    if (cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function,
                                         12000, cudaEnableDefault,
                                         &found) != cudaSuccess ||
        found != cudaDriverEntryPointSuccess) {
      return Encode{nullptr};
    }
    return reinterpret_cast<Encode>(function);
  }();
  if (encode == nullptr) return cudaErrorNotSupported;
  cuuint64_t all_sizes[kDims], bytes[kDims - 1];
  cuuint32_t all_box[kDims], steps[kDims];
  for (int i = 0; i < kDims; ++i) {
    all_sizes[i] = static_cast<cuuint64_t>(sizes[i]);
    all_box[i] = box[i];
    steps[i] = 1;
    if (i + 1 < kDims) bytes[i] = static_cast<cuuint64_t>(strides[i]) * 2;
  }
  const CUresult result = encode(
      map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, kDims, const_cast<void*>(data),
      all_sizes, bytes, all_box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE,
      CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
      CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  return result == CUDA_SUCCESS ? cudaSuccess : cudaErrorInvalidValue;
}

// Of [rows, heads, columns]; boxes are {64 columns, 1 head, box_rows}: one
// panel of a PanelTile<box_rows, ...>. Coordinates are (column, head, row);
// box_rows
// <= 256.
inline cudaError_t EncodePanelMap(CUtensorMap* map, const void* data,
                                  int64_t rows, int64_t heads, int64_t columns,
                                  int64_t row_stride, int64_t head_stride,
                                  uint32_t box_rows) {
  return EncodeMap<3>(map, data, {columns, heads, rows},
                      {head_stride, row_stride}, {64, 1, box_rows});
}

// Of [pages, rows, columns]; boxes are {64 columns, box_rows, box_panels, 1
// page}: side by side, as in a PanelTile<box_rows, ...>. Coordinates are (0,
// row, panel of 64 columns, page).
inline cudaError_t EncodePagedPanelsMap(CUtensorMap* map, const void* data,
                                        int64_t pages, int64_t rows,
                                        int64_t columns, int64_t page_stride,
                                        int64_t row_stride, uint32_t box_rows,
                                        uint32_t box_panels) {
  return EncodeMap<4>(map, data, {64, rows, columns / 64, pages},
                      {row_stride, 64, page_stride},
                      {64, box_rows, box_panels, 1});
}

}  // namespace intarsia::tile
