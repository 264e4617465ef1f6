// Plain inner products of rows, a warp a row; and columns copied side by side.
#include "intarsia/cuda/room.cuh"
#include "intarsia/ops/rows/rows_gradients_cuda.h"

namespace intarsia::rows_cuda {
namespace {

__global__ void DotRows(const float* x, const float* g, const int32_t* rows,
                        float* out, int64_t count, int64_t dim) {
  const int64_t i = (int64_t{blockIdx.x} * blockDim.x + threadIdx.x) / 32;
  if (i >= count) return;
  const int lane = threadIdx.x % 32;
  const float *a = x + i * dim, *b = g + rows[i] * dim;
  float sum = 0.0f;
  for (int64_t c = lane; c < dim; c += 32) sum = fmaf(a[c], b[c], sum);
  sum = cuda::WarpSum(sum);
  if (lane == 0) out[i] = sum;
}

// Columns [begin, begin + width) of `wide`, from or to `narrow`.
void CopyColumns(Context& ctx, const Tensor& from, Tensor* to, int64_t begin,
                 int64_t width, bool join) {
  const size_t size = SizeOf(from.dtype());
  if (from.dim(0) == 0 || width == 0) return;
  const std::byte* source = from.raw() + (join ? 0 : begin * size);
  std::byte* target = to->mutable_raw() + (join ? begin * size : 0);
  cuda::Require(
      cudaMemcpy2DAsync(target, to->stride(0) * size, source,
                        from.stride(0) * size, width * size, from.dim(0),
                        cudaMemcpyDeviceToDevice, cuda::StreamOf(ctx)),
      "rows");
}

}  // namespace

Tensor Join(Context& ctx, const std::vector<Tensor>& parts, int64_t width) {
  Tensor y = Tensor::Empty({parts[0].dim(0), width}, parts[0].dtype(),
                           parts[0].device());
  int64_t begin = 0;
  for (const Tensor& part : parts) {
    CopyColumns(ctx, part, &y, begin, part.dim(1), /*join=*/true);
    begin += part.dim(1);
  }
  return y;
}

std::vector<Tensor> Split(Context& ctx, const Tensor& x,
                          const std::vector<int64_t>& widths) {
  std::vector<Tensor> parts;
  int64_t begin = 0;
  for (const int64_t width : widths) {
    parts.push_back(Tensor::Empty({x.dim(0), width}, x.dtype(), x.device()));
    CopyColumns(ctx, x, &parts.back(), begin, width, /*join=*/false);
    begin += width;
  }
  return parts;
}

Tensor Dots(Context& ctx, const Tensor& x, const Tensor& g,
            std::span<const int32_t> rows) {
  const int64_t count = static_cast<int64_t>(rows.size());
  Tensor out = Tensor::Empty({count}, DType::kF32, x.device());
  if (count == 0) return out;
  const Tensor index = Tensor::From(rows, {count}).To(x.device(), ctx.stream);
  DotRows<<<cuda::Blocks(count * 32, 256), 256, 0, cuda::StreamOf(ctx)>>>(
      x.data<float>(), g.data<float>(), index.data<int32_t>(),
      out.mutable_data<float>(), count, x.dim(1));
  cuda::CheckLaunch("rows");
  return out;
}

}  // namespace intarsia::rows_cuda
