// Products with few rows against sums in double, in every format that the
// kernel decodes.
#include <algorithm>

#include "intarsia/cuda/bench/device_data.h"
#include "intarsia/formats/registry.h"
#include "intarsia/ops/matmul/sm90_thin_gemm.h"

namespace intarsia::bench {
namespace {

struct Shape {
  int rows, in;
  std::vector<int> outs;
  const char* format = "bf16";
  GpuCase::Use use = GpuCase::Use::kChecked;
  bool f32 = false, bias = false;
};

ThinFormat Named(const std::string& name) {
  return name == "f32"    ? ThinFormat::kF32
         : name == "f16"  ? ThinFormat::kF16
         : name == "q8_0" ? ThinFormat::kQ8_0
         : name == "q4_0" ? ThinFormat::kQ4_0
         : name == "q4_1" ? ThinFormat::kQ4_1
                          : ThinFormat::kBF16;
}

// Rounded to bf16, as the kernel does.
float Rounded(float x) { return ToFloat(ToBF16(x)); }

struct Problem {
  Problem(const Shape& s, uint64_t seed) : shape(s) {
    const Format& format = *FindFormat(s.format);
    const auto row_bytes = format.row_bytes(s.in);
    x = NormalBuffer<__nv_bfloat16>(size_t(s.rows) * s.in, seed * 20);
    args.x = x.data();
    args.x_stride = s.in;
    args.w_row_bytes = static_cast<int64_t>(row_bytes);
    args.format = Named(s.format);
    args.y_f32 = s.f32;
    args.rows = s.rows;
    args.in = s.in;
    for (const int out : s.outs) {
      const size_t count = size_t(out) * s.in;
      seed += 1;
      if (args.format == ThinFormat::kBF16) {
        plain.push_back(NormalBuffer<__nv_bfloat16>(count, seed * 20 + 1));
      } else {
        const std::vector<float> values = RandomNormal(count, seed * 20 + 1);
        std::vector<uint8_t> stored(row_bytes * out);
        std::vector<float>& known = decoded.emplace_back(count);
        for (int r = 0; r < out; ++r) {
          auto* row =
              reinterpret_cast<std::byte*>(stored.data()) + r * row_bytes;
          format.QuantizeRow(values.data() + size_t(r) * s.in, row, s.in);
          format.DequantizeRow(row, known.data() + size_t(r) * s.in, s.in);
        }
        for (float& value : known) value = Rounded(value);
        blocks.emplace_back(stored);
      }
      biases.push_back(NormalBuffer<float>(out, seed * 20 + 2));
      // bf16 or, as pairs of them, fp32.
      outputs.emplace_back(size_t(s.rows) * out * (s.f32 ? 2 : 1));
      args.matrices[args.count++] = {
          plain.empty() ? static_cast<const void*>(blocks.back().data())
                        : plain.back().data(),
          s.bias ? biases.back().data() : nullptr, outputs.back().data(), out};
    }
  }
  void Launch(cudaStream_t stream) const {
    Ensure(LaunchSm90ThinGemm(args, stream), "thin product");
  }
  std::vector<float> Row(int matrix, int64_t r) const {
    if (!plain.empty()) {
      return Rows(plain[matrix].data() + r * shape.in, 1, 0, shape.in);
    }
    const float* row = decoded[matrix].data() + r * shape.in;
    return {row, row + shape.in};
  }
  std::vector<float> Output(int matrix) const {
    const int64_t count = int64_t{shape.rows} * shape.outs[matrix];
    const __nv_bfloat16* y = outputs[matrix].data();
    return shape.f32 ? Rows(reinterpret_cast<const float*>(y), 1, 0, count)
                     : Rows(y, 1, 0, count);
  }

  Shape shape;
  Bf16Buffer x;
  std::vector<Bf16Buffer> plain, outputs;
  std::vector<DeviceBuffer<uint8_t>> blocks;
  std::vector<std::vector<float>> decoded;
  std::vector<FloatBuffer> biases;
  Sm90ThinGemmArgs args;
};

std::vector<OutputError> Compare(const Problem& p) {
  p.Launch(nullptr);
  const Shape& s = p.shape;
  ErrorNorm error;
  const std::vector<float> x = Rows(p.x.data(), 1, 0, int64_t{s.rows} * s.in);
  for (size_t m = 0; m < s.outs.size(); ++m) {
    const int out = s.outs[m];
    const std::vector<float> y = p.Output(static_cast<int>(m));
    const std::vector<float> bias = Rows(p.biases[m].data(), 1, 0, out);
    for (const int64_t c : Sample(out, 200)) {
      const std::vector<float> w = p.Row(static_cast<int>(m), c);
      for (int r = 0; r < s.rows; ++r) {
        double sum = s.bias ? bias[c] : 0.0;
        for (int i = 0; i < s.in; ++i) sum += double{x[r * s.in + i]} * w[i];
        error.Add(y[size_t(r) * out + c], sum);
      }
    }
  }
  return {error.Relative("y", s.f32 ? 1e-5 : 4e-3)};
}

GpuCase MakeCase(const Shape& s) {
  GpuCase c;
  int64_t out = 0;
  std::string outs;
  for (const int n : s.outs) {
    out += n;
    outs += (outs.empty() ? "" : "+") + std::to_string(n);
  }
  c.name = "matmul.sm90.thin_gemm";
  c.shape = std::to_string(s.rows) + " rows, " + std::to_string(s.in) + " to " +
            outs + " " + s.format + (s.f32 ? ", f32 out" : "") +
            (s.bias ? ", bias" : "");
  c.bytes = double(FindFormat(s.format)->row_bytes(s.in)) * out +
            2.0 * s.rows * s.in + (s.f32 ? 4.0 : 2.0) * s.rows * out;
  c.use = s.use;
  c.prepare = PrepareWith<Problem>(s, &Compare);
  return c;
}

}  // namespace

std::vector<GpuCase> sm90_thin_gemm(bool quick) {
  using Use = GpuCase::Use;
  std::vector<Shape> shapes;
  for (const char* format : {"bf16", "f16", "f32", "q8_0", "q4_0", "q4_1"}) {
    shapes.push_back({3, 288, {40, 8, 19}, format});
    shapes.push_back({17, 1056, {72}, format, Use::kChecked, true, true});
  }
  for (const int rows : {1, 8, 9, 16, 32, 33, 64}) {
    shapes.push_back({rows, 64, {33}, "bf16", Use::kChecked, true});
  }
  if (quick) {
    shapes.push_back({1, 4096, {4096}, "bf16", Use::kTable});
  } else {
    for (const int rows : {1, 16, 64}) {
      shapes.push_back({rows, 4096, {14336, 14336}, "bf16", Use::kTable});
      shapes.push_back({rows, 14336, {4096}, "bf16", Use::kTable});
    }
    shapes.push_back({1, 576, {49152}, "bf16", Use::kTable, true});
    shapes.push_back({1, 576, {1536, 1536}, "bf16", Use::kTable});
    shapes.push_back({1, 1536, {576}, "bf16", Use::kTable});
    shapes.push_back({1, 4096, {4096}, "q4_0", Use::kTable});
    shapes.push_back({1, 4096, {4096}, "q8_0", Use::kTable});
  }
  std::vector<GpuCase> cases;
  for (const Shape& s : shapes) cases.push_back(MakeCase(s));
  return cases;
}

}  // namespace intarsia::bench
