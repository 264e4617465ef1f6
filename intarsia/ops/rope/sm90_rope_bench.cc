// Rotary embedding of queries and keys in place.
#include "intarsia/ops/rope/sm90_rope.h"

#include <cmath>

#include "intarsia/cuda/bench/device_data.h"

namespace intarsia::bench {
namespace {

struct Shape {
  int tokens, query_heads, kv_heads, head_dim, rotary_dim;
  bool interleaved, inverse;
  GpuCase::Use use = GpuCase::Use::kChecked;

  // Odd shapes are one projection [q heads, k heads, one unused head].
  bool fused() const { return use == GpuCase::Use::kChecked; }
  int positions() const { return fused() ? 500 : 8192; }
};

std::vector<float> Table(int rows, int rotary_dim) {
  std::vector<float> table(size_t(rows) * rotary_dim);
  const int half = rotary_dim / 2;
  for (int p = 0; p < rows; ++p) {
    for (int i = 0; i < half; ++i) {
      const double angle = p * std::pow(10000.0, -double(i) / half);
      table[size_t(p) * rotary_dim + i] = float(std::cos(angle));
      table[size_t(p) * rotary_dim + half + i] = float(std::sin(angle));
    }
  }
  return table;
}

struct Problem {
  Problem(const Shape& s, uint64_t seed)
      : shape(s), table(Table(s.positions(), s.rotary_dim)) {
    const int64_t nq = s.query_heads * s.head_dim, nk = s.kv_heads * s.head_dim;
    const int64_t stride = nq + nk + s.head_dim;
    args.q_token_stride = s.fused() ? stride : nq;
    args.k_token_stride = s.fused() ? stride : nk;
    q = NormalBuffer<__nv_bfloat16>(s.tokens * args.q_token_stride, seed * 2);
    args.q = q.data();
    if (!s.fused()) {
      k = NormalBuffer<__nv_bfloat16>(s.tokens * nk, seed * 2 + 1);
      args.k = k.data();
    } else if (s.kv_heads > 0) {
      args.k = q.data() + nq;
    }
    for (int t = 0; t < s.tokens; ++t) {
      positions.push_back(s.fused() ? (t * 37 + 11) % s.positions()
                                    : t % s.positions());
    }
    table_device = FloatBuffer(table);
    positions_device = DeviceBuffer<int32_t>(positions);
    args.positions = positions_device.data();
    args.cos_sin = table_device.data();
    args.tokens = s.tokens;
    args.query_heads = s.query_heads;
    args.kv_heads = s.kv_heads;
    args.head_dim = s.head_dim;
    args.rotary_dim = s.rotary_dim;
    args.interleaved = s.interleaved;
    args.inverse = s.inverse;
  }
  void Launch(cudaStream_t stream) const {
    Ensure(LaunchSm90Rope(args, stream), "rope");
  }
  // q, then k, and in a fused row what must stay as it is.
  std::vector<float> Token(int64_t t) const {
    std::vector<float> token =
        Rows(args.q + t * args.q_token_stride, 1, 0, args.q_token_stride);
    if (!shape.fused()) {
      const std::vector<float> keys =
          Rows(args.k + t * args.k_token_stride, 1, 0, args.k_token_stride);
      token.insert(token.end(), keys.begin(), keys.end());
    }
    return token;
  }
  Shape shape;
  Sm90RopeArgs args;
  std::vector<float> table;
  std::vector<int32_t> positions;
  Bf16Buffer q, k;
  FloatBuffer table_device;
  DeviceBuffer<int32_t> positions_device;
};

std::vector<OutputError> Compare(const Problem& p) {
  const Shape& s = p.shape;
  const int half = s.rotary_dim / 2;
  const std::vector<int64_t> tokens = Sample(s.tokens, 512);
  std::vector<std::vector<double>> want;
  for (const int64_t t : tokens) {
    const std::vector<float> before = p.Token(t);
    want.emplace_back(before.begin(), before.end());
    const float* row = &p.table[size_t(p.positions[t]) * s.rotary_dim];
    for (int h = 0; h < s.query_heads + s.kv_heads; ++h) {
      double* head = &want.back()[h * s.head_dim];
      for (int i = 0; i < half; ++i) {
        const double c = row[i];
        const double sine = s.inverse ? -row[half + i] : row[half + i];
        double& a = head[s.interleaved ? 2 * i : i];
        double& b = head[s.interleaved ? 2 * i + 1 : half + i];
        const double turned = a * c - b * sine;
        b = b * c + a * sine;
        a = turned;
      }
    }
  }
  p.Launch(nullptr);
  ErrorNorm error;
  for (size_t i = 0; i < tokens.size(); ++i) {
    error.Add(p.Token(tokens[i]), want[i]);
  }
  return {error.Relative("q and k", 3e-3)};
}

}  // namespace

std::vector<GpuCase> sm90_rope(bool quick) {
  using Use = GpuCase::Use;
  std::vector<Shape> shapes = {
      {1, 1, 0, 64, 64, false, false},    {77, 32, 8, 128, 128, false, false},
      {77, 32, 8, 128, 128, true, false}, {13, 5, 3, 80, 32, false, true},
      {130, 7, 1, 96, 96, true, true},    {5, 4, 4, 256, 64, true, false}};
  if (quick) {
    shapes.push_back({2048, 32, 8, 128, 128, false, false, Use::kTable});
  } else {
    for (const int dim : {128, 64}) {
      const Use use = dim == 128 ? Use::kTable : Use::kTimed;
      shapes.push_back({32768, 32, 8, dim, dim, false, false, use});
      shapes.push_back({32768, 32, 8, dim, dim, true, false, Use::kTimed});
    }
  }
  std::vector<GpuCase> cases;
  for (const Shape& s : shapes) {
    GpuCase c;
    c.name = "rope.sm90.rope";
    c.shape = std::to_string(s.tokens) + " tokens " +
              std::to_string(s.query_heads) + ":" + std::to_string(s.kv_heads) +
              " dim " + std::to_string(s.head_dim);
    if (s.rotary_dim != s.head_dim) {
      c.shape += "/" + std::to_string(s.rotary_dim);
    }
    if (s.interleaved) c.shape += " interleaved";
    if (s.inverse) c.shape += " inverse";
    c.bytes = 4.0 * s.tokens * (s.query_heads + s.kv_heads) * s.rotary_dim;
    c.use = s.use;
    c.prepare = PrepareWith<Problem>(s, &Compare);
    cases.push_back(std::move(c));
  }
  return cases;
}

}  // namespace intarsia::bench
