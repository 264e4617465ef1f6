// Rotary embedding of queries and keys in place.
#include "intarsia/ops/rope/sm90_rope.h"

#include <cmath>
#include <string>
#include <vector>

#include "bench/kernels/gpu/memory_bound.h"

namespace intarsia::bench {
namespace {

struct Shape {
  int tokens, query_heads, kv_heads, head_dim, rotary_dim;
  bool interleaved, inverse;
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

// One row of a projection [q heads, k heads, one unused head].
void Check(const Options& options, Report* report, const Shape& s) {
  const std::string name =
      std::to_string(s.tokens) + " tokens " + std::to_string(s.query_heads) +
      ":" + std::to_string(s.kv_heads) + " dim " + std::to_string(s.head_dim) +
      "/" + std::to_string(s.rotary_dim) +
      (s.interleaved ? " interleaved" : "") + (s.inverse ? " inverse" : "");
  if (!Wanted(options, name)) return;
  const int max_position = 500;
  const int stride = (s.query_heads + s.kv_heads + 1) * s.head_dim;
  const std::vector<float> x =
      RandomBf16(size_t(s.tokens) * stride, options.seed);
  const std::vector<float> table = Table(max_position, s.rotary_dim);
  std::vector<int32_t> positions(s.tokens);
  for (int t = 0; t < s.tokens; ++t) positions[t] = (t * 37 + 11) % 500;
  DeviceBuffer<__nv_bfloat16> dx(ToBf16(x));
  DeviceBuffer<float> dtable(table);
  DeviceBuffer<int32_t> dpositions(positions);
  Sm90RopeArgs args;
  args.q = dx.data();
  args.k = s.kv_heads > 0 ? dx.data() + s.query_heads * s.head_dim : nullptr;
  args.positions = dpositions.data();
  args.cos_sin = dtable.data();
  args.tokens = s.tokens;
  args.query_heads = s.query_heads;
  args.kv_heads = s.kv_heads;
  args.head_dim = s.head_dim;
  args.rotary_dim = s.rotary_dim;
  args.q_token_stride = args.k_token_stride = stride;
  args.interleaved = s.interleaved;
  args.inverse = s.inverse;
  INTARSIA_BENCH_CUDA(LaunchSm90Rope(args, nullptr));

  std::vector<double> reference = ToDouble(x);
  const int half = s.rotary_dim / 2;
  for (int t = 0; t < s.tokens; ++t) {
    for (int h = 0; h < s.query_heads + s.kv_heads; ++h) {
      double* head = &reference[size_t(t) * stride + h * s.head_dim];
      for (int i = 0; i < half; ++i) {
        const float* row = &table[size_t(positions[t]) * s.rotary_dim];
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
  CheckClose(report, "rope", name, ToFloat(dx.Download()), reference, 3e-3);
}

void Time(const Options& options, Report* report, int tokens, int query_heads,
          int kv_heads, int head_dim) {
  const int max_position = 8192;
  const size_t nq = size_t(tokens) * query_heads * head_dim;
  const size_t nk = size_t(tokens) * kv_heads * head_dim;
  DeviceBuffer<__nv_bfloat16> q(nq), k(nk);
  FillNormal(q.data(), nq, 1);
  FillNormal(k.data(), nk, 2);
  DeviceBuffer<float> table(Table(max_position, head_dim));
  std::vector<int32_t> host(tokens);
  for (int t = 0; t < tokens; ++t) host[t] = t % max_position;
  DeviceBuffer<int32_t> positions(host);
  Sm90RopeArgs args;
  args.q = q.data();
  args.k = k.data();
  args.positions = positions.data();
  args.cos_sin = table.data();
  args.tokens = tokens;
  args.query_heads = query_heads;
  args.kv_heads = kv_heads;
  args.head_dim = args.rotary_dim = head_dim;
  args.q_token_stride = query_heads * head_dim;
  args.k_token_stride = kv_heads * head_dim;
  Sm90RopeArgs interleaved = args;
  interleaved.interleaved = true;
  const std::string name =
      std::to_string(tokens) + " tokens " + std::to_string(query_heads) + ":" +
      std::to_string(kv_heads) + " dim " + std::to_string(head_dim);
  const double bytes = 4.0 * (nq + nk);
  TimeBesideCopy(options, report, "rope",
                 {{name, bytes,
                   [=](cudaStream_t stream) {
                     INTARSIA_BENCH_CUDA(LaunchSm90Rope(args, stream));
                   }},
                  {name + " interleaved", bytes, [=](cudaStream_t stream) {
                     INTARSIA_BENCH_CUDA(LaunchSm90Rope(interleaved, stream));
                   }}});
}

}  // namespace

void RopeFamily(const Options& options, Report* report) {
  if (options.check) {
    for (const Shape& s :
         std::vector<Shape>{{1, 1, 0, 64, 64, false, false},
                            {77, 32, 8, 128, 128, false, false},
                            {77, 32, 8, 128, 128, true, false},
                            {13, 5, 3, 80, 32, false, true},
                            {130, 7, 1, 96, 96, true, true},
                            {5, 4, 4, 256, 64, true, false}}) {
      Check(options, report, s);
    }
  }
  if (!options.time) return;
  Time(options, report, 32768, 32, 8, 128);
  if (!options.quick) Time(options, report, 32768, 32, 8, 64);
}

}  // namespace intarsia::bench
