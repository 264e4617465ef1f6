// What formats do beside the products that ops/matmul times: conversion both
// ways and the transposed product of gradients. Host code, whatever the device.
#include "intarsia/core/kernel_bench.h"
#include "intarsia/formats/format.h"

namespace intarsia::bench {
namespace {

std::vector<double> Wide(const Tensor& x) {
  return {x.data<float>(), x.data<float>() + x.numel()};
}

// W [N, K] as `format` stores it, and X [M, N].
struct Problem {
  Problem(const Context& ctx, const Format& of, const Shape& sizes)
      : format(&of),
        pool(ctx.pool),
        values(BenchValues({sizes[1], sizes[2]}, 1)),
        x(BenchValues({sizes[0], sizes[1]}, 2)),
        w(of.Quantize(*ctx.pool, values)) {
    if (!ctx.device.is_cpu()) throw EngineError("[formats] run on the CPU");
  }

  Tensor Dequantized() const {
    return format->Dequantize(*pool, w, values.dim(1));
  }
  // X W [M, K].
  Tensor Transposed() const {
    const int64_t m = x.dim(0), n = x.dim(1), k = values.dim(1);
    Tensor y = Tensor::Empty({m, k});
    format->MatmulT(*pool, {.x = x.data<float>(),
                            .x_stride = n,
                            .w = w.raw(),
                            .y = y.mutable_data<float>(),
                            .y_stride = k,
                            .m = m,
                            .n = n,
                            .k = k,
                            .bias = nullptr});
    return y;
  }
  // Its first row.
  std::vector<double> TransposedReference() const {
    const Tensor exact = Dequantized();
    const int64_t k = exact.dim(1);
    std::vector<double> y(k, 0.0);
    for (int64_t n = 0; n < exact.dim(0); ++n) {
      for (int64_t c = 0; c < k; ++c) {
        y[c] += double{x.data<float>()[n]} * exact.data<float>()[n * k + c];
      }
    }
    return y;
  }
  std::vector<double> DequantizedByRows() const {
    const int64_t k = values.dim(1);
    std::vector<float> row(k);
    std::vector<double> all;
    for (int64_t n = 0; n < values.dim(0); ++n) {
      format->DequantizeRow(w.raw() + n * format->row_bytes(k), row.data(), k);
      all.insert(all.end(), row.begin(), row.end());
    }
    return all;
  }

  const Format* format;
  ThreadPool* pool;
  Tensor values, x, w;
};

}  // namespace

std::vector<KernelBench> format(bool quick) {
  std::vector<KernelBench> all;
  for (const Format* of : AllFormats()) {
    const Shape sizes = quick ? Shape({3, 36, of->WholeBlocks(96)})
                              : Shape({512, 1536, of->WholeBlocks(576)});
    const double m = double(sizes[0]), n = double(sizes[1]);
    const double k = double(sizes[2]);
    const std::string name = "format." + std::string(of->name());
    const double stored = n * double(of->row_bytes(sizes[2]));
    const std::string matrix = Shape({sizes[1], sizes[2]}).ToString();
    all.push_back({.name = name + ".quantize",
                   .shape = matrix,
                   .bytes = stored + 4 * n * k,
                   .tolerance = 1.2,  // half a step of q2_k over the deviation
                   .prepare = [=](const Context& ctx) {
                     const Problem p(ctx, *of, sizes);
                     return KernelBench::Ready{
                         .run = [p] { p.format->Quantize(*p.pool, p.values); },
                         .check =
                             [p] {
                               return LargestError(p.Dequantized(),
                                                   Wide(p.values));
                             }};
                   }});
    all.push_back({.name = name + ".dequantize",
                   .shape = matrix,
                   .bytes = stored + 4 * n * k,
                   .tolerance = 0,
                   .prepare = [=](const Context& ctx) {
                     const Problem p(ctx, *of, sizes);
                     return CheckedRun([p] { return p.Dequantized(); },
                                       [p] { return p.DequantizedByRows(); });
                   }});
    all.push_back({.name = name + ".transposed",
                   .shape = sizes.ToString(),
                   .bytes = stored + 4 * m * (n + k),
                   .flops = 2 * m * n * k,
                   .prepare = [=](const Context& ctx) {
                     const Problem p(ctx, *of, sizes);
                     return CheckedRun([p] { return p.Transposed(); },
                                       [p] { return p.TransposedReference(); });
                   }});
  }
  return all;
}

}  // namespace intarsia::bench
