// Host side of TMA: tensor maps of packed [rows, heads, columns] bf16 tensors.
#pragma once

#include <cuda.h>
#include <cuda_runtime.h>

#include <cstdint>

namespace intarsia::tile {

// A map whose boxes are {64 columns, 1 head, box_rows} with the 128-byte
// swizzle: one panel of a PanelTile<box_rows, ...>. Coordinates are (column,
// head, row). Strides count elements and are multiples of 8; box_rows <= 256.
// Boxes outside the tensor read zeros. cudaErrorInvalidValue if the driver
// refuses the shape, cudaErrorNotSupported without a driver.
inline cudaError_t EncodePanelMap(CUtensorMap* map, const void* data,
                                  int64_t rows, int64_t heads, int64_t columns,
                                  int64_t row_stride, int64_t head_stride,
                                  uint32_t box_rows) {
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
  const cuuint64_t sizes[3] = {static_cast<cuuint64_t>(columns),
                               static_cast<cuuint64_t>(heads),
                               static_cast<cuuint64_t>(rows)};
  const cuuint64_t strides[2] = {static_cast<cuuint64_t>(head_stride) * 2,
                                 static_cast<cuuint64_t>(row_stride) * 2};
  const cuuint32_t box[3] = {64, 1, box_rows};
  const cuuint32_t steps[3] = {1, 1, 1};
  const CUresult result =
      encode(map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 3, const_cast<void*>(data),
             sizes, strides, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE,
             CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
             CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  return result == CUDA_SUCCESS ? cudaSuccess : cudaErrorInvalidValue;
}

}  // namespace intarsia::tile
