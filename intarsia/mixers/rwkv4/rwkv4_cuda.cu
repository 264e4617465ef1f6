#include "intarsia/mixers/rwkv4/rwkv4_cuda.h"

#include "intarsia/cuda/room.cuh"

namespace intarsia::rwkv4_cuda {
namespace {

constexpr int kThreads = 128;

struct Args {
  const float *k, *v, *decay, *bonus;
  float *a, *b, *p;  // null: sequences start, nothing is kept
  const int32_t *cu_seqlens, *slots;
  int width;
  float* out;
};

// A thread walks one channel of one segment.
__global__ void Walk(Args x) {
  const int n = blockIdx.y;
  const int c = blockIdx.x * kThreads + threadIdx.x;
  if (c >= x.width) return;
  const int slot = x.a ? x.slots[n] : -1;
  const int64_t at = int64_t{slot} * x.width + c;
  float a = slot >= 0 ? x.a[at] : 0.0f, b = slot >= 0 ? x.b[at] : 0.0f;
  float p = slot >= 0 ? x.p[at] : -1e38f;
  const float w = -expf(x.decay[c]), u = x.bonus[c];
  for (int t = x.cu_seqlens[n]; t < x.cu_seqlens[n + 1]; ++t) {
    const float key = x.k[int64_t{t} * x.width + c];
    const float value = x.v[int64_t{t} * x.width + c];
    float top = fmaxf(p, u + key);
    float old = expf(p - top), own = expf(u + key - top);
    x.out[int64_t{t} * x.width + c] = (old * a + own * value) / (old * b + own);
    top = fmaxf(p + w, key);
    old = expf(p + w - top);
    own = expf(key - top);
    a = old * a + own * value;
    b = old * b + own;
    p = top;
  }
  if (slot < 0) return;
  x.a[at] = a;
  x.b[at] = b;
  x.p[at] = p;
}

Tensor Wkv(Context& ctx, const Tensor& k, const Tensor& v, const Weight& decay,
           const Weight& bonus, const WkvStates* states) {
  const Batch& batch = *ctx.batch;
  CHECK(batch.device.cu_seqlens.defined()) << "the batch is not uploaded";
  Tensor out = Tensor::Empty(k.shape(), DType::kF32, k.device());
  if (out.numel() == 0) return out;
  const auto data = [&](Tensor* WkvStates::*member) {
    return states ? (states->*member)->mutable_data<float>() : nullptr;
  };
  const Args args = {.k = k.data<float>(),
                     .v = v.data<float>(),
                     .decay = decay.values().data<float>(),
                     .bonus = bonus.values().data<float>(),
                     .a = data(&WkvStates::a),
                     .b = data(&WkvStates::b),
                     .p = data(&WkvStates::p),
                     .cu_seqlens = batch.device.cu_seqlens.data<int32_t>(),
                     .slots = batch.device.slots.data<int32_t>(),
                     .width = static_cast<int>(k.dim(1)),
                     .out = out.mutable_data<float>()};
  const dim3 grid(cuda::Blocks(k.dim(1), kThreads),
                  static_cast<unsigned>(batch.segments()));
  Walk<<<grid, kThreads, 0, cuda::StreamOf(ctx)>>>(args);
  cuda::CheckLaunch("rwkv4");
  return out;
}

constexpr Kernels kKernels = {.wkv = Wkv};

}  // namespace

const Kernels* kernels = &kKernels;

}  // namespace intarsia::rwkv4_cuda
