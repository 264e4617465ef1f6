// One product for each weight format, the same here and in what records
// llama.cpp's error on it (record_products.py).
#pragma once

#include <cmath>
#include <string_view>
#include <vector>

#include "intarsia/core/random.h"
#include "intarsia/formats/format.h"
#include "intarsia/formats/packing.h"

namespace intarsia {

struct ProductProblem {
  static constexpr int64_t kM = 8, kN = 96, kK = 1024;

  explicit ProductProblem(const Format& format) : of(format) {
    ThreadPool pool(1);
    w = of.Quantize(pool, Normal({kN, kK}, 2));
    x = Normal({kM, kK}, 1);
  }

  std::vector<float> Product() const {
    ThreadPool pool(1);
    std::vector<float> y(kM * kN);
    of.Matmul(pool, Args(w.raw(), &y));
    return y;
  }

  // Whether this CPU packs the format's weights, and the product of those.
  bool packs() const { return PackedMatrices::Bytes(of, 1, kN, kK) != 0; }
  std::vector<float> PackedProduct() const {
    ThreadPool pool(1);
    const PackedMatrices packed(pool, of, w.raw(), 1, kN, kK);
    std::vector<float> y(kM * kN);
    const MatmulArgs args = Args(packed.raw(), &y);
    const int32_t offsets[] = {0, kM};
    PackedMatmuls(pool, *packed.kernels(), {&args, 1}, offsets);
    return y;
  }

  // Root mean square of `y` minus the product of x and the dequantised
  // weights in double, over that of the latter.
  double RelativeError(const std::vector<float>& y) const {
    ThreadPool pool(1);
    const Tensor dense = of.Dequantize(pool, w, kK);
    double errors = 0, squares = 0;
    for (int64_t m = 0; m < kM; ++m) {
      for (int64_t n = 0; n < kN; ++n) {
        double sum = 0;
        for (int64_t k = 0; k < kK; ++k) {
          sum += double{x.data<float>()[m * kK + k]} *
                 dense.data<float>()[n * kK + k];
        }
        errors += std::pow(y[m * kN + n] - sum, 2);
        squares += sum * sum;
      }
    }
    return std::sqrt(errors / squares);
  }

  static Tensor Normal(const Shape& shape, uint64_t seed) {
    Tensor t = Tensor::Empty(shape);
    Random random(seed);
    float* p = t.mutable_data<float>();
    for (int64_t i = 0; i < t.numel(); ++i) p[i] = random.NextNormal();
    return t;
  }

  const Format& of;
  Tensor w, x;

 private:
  MatmulArgs Args(const std::byte* weights, std::vector<float>* y) const {
    MatmulArgs args;
    args.x = x.data<float>(), args.x_stride = kK;
    args.w = weights, args.y = y->data(), args.y_stride = kN;
    args.m = kM, args.n = kN, args.k = kK;
    return args;
  }
};

}  // namespace intarsia
