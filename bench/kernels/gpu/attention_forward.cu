// Attention forward: every head dimension against the fp64 definition on
// ragged, odd, grouped, windowed and strided cases, then times.
#include <algorithm>
#include <cmath>
#include <limits>

#include "bench/kernels/gpu/attention_forward_variants.h"
#include "bench/kernels/gpu/driver.h"
#include "intarsia/mixers/attention/sm90_attention_forward.h"

namespace intarsia::bench {
namespace {

struct Shape {
  std::string name;
  std::vector<std::pair<int, int>> lengths;  // queries, keys of each sequence
  int heads = 1, kv_heads = 1, head_dim = 128;
  bool causal = false;
  int window = -1;
  int broken_sequence = -1;  // its keys and values are NaN; it is not checked
  bool fused = false;        // q, k, v are slices of one [T, H + 2 G, D]
};

// Visible pairs of query and key, over all sequences.
double Pairs(const Shape& s) {
  double pairs = 0;
  for (const auto& [m, n] : s.lengths) {
    if (s.causal && s.window < 0 && m == n) {
      pairs += 0.5 * m * n;  // the convention of every published figure
      continue;
    }
    for (int i = 0; i < m; ++i) {
      const int position = i + n - m;
      const int high = s.causal ? std::min(n, position + 1) : n;
      const int low = s.window >= 0 ? std::max(0, position - s.window) : 0;
      pairs += std::max(0, high - low);
    }
  }
  return pairs;
}

// Inputs and outputs of a shape on the device, and its arguments.
struct Problem {
  explicit Problem(const Shape& s, uint64_t seed);
  Sm90AttentionForwardArgs args;
  std::vector<int32_t> cu_q{0}, cu_k{0};
  DeviceBuffer<__nv_bfloat16> q, k, v, out;
  DeviceBuffer<float> lse;
  DeviceBuffer<int32_t> cu_q_device, cu_k_device, counter;
};

Problem::Problem(const Shape& s, uint64_t seed) {
  for (const auto& [m, n] : s.lengths) {
    cu_q.push_back(cu_q.back() + m);
    cu_k.push_back(cu_k.back() + n);
    args.max_seqlen_q = std::max(args.max_seqlen_q, m);
    args.max_seqlen_k = std::max(args.max_seqlen_k, n);
  }
  args.sequences = static_cast<int>(s.lengths.size());
  args.total_q = cu_q.back();
  args.total_k = cu_k.back();
  args.heads = s.heads;
  args.kv_heads = s.kv_heads;
  args.head_dim = s.head_dim;
  args.scale = 1 / std::sqrt(static_cast<float>(s.head_dim));
  args.causal = s.causal;
  args.window_left = s.window;
  const int64_t d = s.head_dim;
  const int64_t q_row = (s.heads + (s.fused ? 2 * s.kv_heads : 0)) * d;
  const int64_t kv_row = s.fused ? q_row : s.kv_heads * d;
  args.q_row_stride = q_row;
  args.k_row_stride = args.v_row_stride = kv_row;
  args.out_row_stride = s.heads * d;
  args.q_head_stride = args.k_head_stride = args.v_head_stride =
      args.out_head_stride = d;
  q = DeviceBuffer<__nv_bfloat16>(args.total_q * q_row);
  FillNormal(q.data(), q.size(), seed * 3);
  args.q = q.data();
  if (s.fused) {
    args.k = q.data() + s.heads * d;
    args.v = q.data() + (s.heads + s.kv_heads) * d;
  } else {
    k = DeviceBuffer<__nv_bfloat16>(args.total_k * kv_row);
    v = DeviceBuffer<__nv_bfloat16>(args.total_k * kv_row);
    FillNormal(k.data(), k.size(), seed * 3 + 1);
    FillNormal(v.data(), v.size(), seed * 3 + 2);
    args.k = k.data();
    args.v = v.data();
    if (s.broken_sequence >= 0) {
      const int64_t begin = cu_k[s.broken_sequence] * kv_row;
      const int64_t bytes = (cu_k[s.broken_sequence + 1] * kv_row - begin) * 2;
      INTARSIA_BENCH_CUDA(cudaMemset(k.data() + begin, 0xFF, bytes));
      INTARSIA_BENCH_CUDA(cudaMemset(v.data() + begin, 0xFF, bytes));
    }
  }
  out = DeviceBuffer<__nv_bfloat16>(args.total_q * args.out_row_stride);
  lse = DeviceBuffer<float>(int64_t{s.heads} * args.total_q);
  cu_q_device = DeviceBuffer<int32_t>(cu_q);
  cu_k_device = DeviceBuffer<int32_t>(cu_k);
  counter = DeviceBuffer<int32_t>(std::vector<int32_t>{0});
  args.out = out.data();
  args.lse = lse.data();
  args.cu_seqlens_q = cu_q_device.data();
  args.cu_seqlens_k = cu_k_device.data();
  args.tile_counter = counter.data();
}

// The definition, in fp64, for some rows.
struct Reference {
  std::vector<int> row, head;    // packed row
  std::vector<double> out, lse;  // [rows][D], [rows]
};

Reference MakeReference(const Shape& s, const Problem& p, int most_rows) {
  const auto download = [&](const __nv_bfloat16* from, int64_t rows,
                            int64_t row_stride, int heads) {
    std::vector<__nv_bfloat16> host((rows - 1) * row_stride +
                                    heads * s.head_dim);
    INTARSIA_BENCH_CUDA(
        cudaMemcpy(host.data(), from, host.size() * 2, cudaMemcpyDeviceToHost));
    return ToFloat(host);
  };
  const auto& a = p.args;
  const std::vector<float> q =
      download(a.q, a.total_q, a.q_row_stride, a.heads);
  const std::vector<float> k =
      download(a.k, a.total_k, a.k_row_stride, a.kv_heads);
  const std::vector<float> v =
      download(a.v, a.total_k, a.v_row_stride, a.kv_heads);
  const int64_t all = int64_t{a.total_q} * a.heads;
  // A step with no small common factor with the tile sizes.
  const int64_t step = std::max<int64_t>(1, all / most_rows) | 1;
  Reference reference;
  std::vector<double> scores(a.max_seqlen_k);
  size_t b = 0;
  for (int64_t item = 0; item < all; item += step) {
    const int row = static_cast<int>(item / a.heads);
    const int head = static_cast<int>(item % a.heads);
    while (row >= p.cu_q[b + 1]) ++b;
    if (static_cast<int>(b) == s.broken_sequence) continue;
    const int g = head / (a.heads / a.kv_heads);
    const auto [m, n] = s.lengths[b];
    const int position = row - p.cu_q[b] + n - m;
    const int high = s.causal ? std::min(n, position + 1) : n;
    const int low = s.window >= 0 ? std::max(0, position - s.window) : 0;
    double largest = -std::numeric_limits<double>::infinity();
    for (int j = low; j < high; ++j) {
      const float* x = &q[row * a.q_row_stride + head * a.q_head_stride];
      const float* y =
          &k[(p.cu_k[b] + j) * a.k_row_stride + g * a.k_head_stride];
      double dot = 0;
      for (int c = 0; c < s.head_dim; ++c) dot += double{x[c]} * y[c];
      scores[j] = dot * a.scale;
      largest = std::max(largest, scores[j]);
    }
    double sum = 0;
    std::vector<double> out(s.head_dim, 0.0);
    for (int j = low; j < high; ++j) {
      const double weight = std::exp(scores[j] - largest);
      const float* z =
          &v[(p.cu_k[b] + j) * a.v_row_stride + g * a.v_head_stride];
      sum += weight;
      for (int c = 0; c < s.head_dim; ++c) out[c] += weight * z[c];
    }
    for (double& x : out) x = sum > 0 ? x / sum : 0;
    reference.row.push_back(row);
    reference.head.push_back(head);
    reference.lse.push_back(largest + std::log(sum));
    if (sum == 0) {
      reference.lse.back() = -std::numeric_limits<double>::infinity();
    }
    reference.out.insert(reference.out.end(), out.begin(), out.end());
  }
  return reference;
}

void Check(const Shape& s, const Problem& p, const Reference& reference,
           const ForwardVariant& variant, Report* report) {
  INTARSIA_BENCH_CUDA(cudaMemset(p.out.data(), 0xFF, p.out.size() * 2));
  INTARSIA_BENCH_CUDA(cudaMemset(p.lse.data(), 0xFF, p.lse.size() * 4));
  INTARSIA_BENCH_CUDA(variant.launch(p.args, nullptr));
  INTARSIA_BENCH_CUDA(cudaDeviceSynchronize());
  const std::vector<float> out = ToFloat(p.out.Download());
  const std::vector<float> lse = p.lse.Download();
  std::vector<float> some_out, some_lse;
  for (size_t i = 0; i < reference.row.size(); ++i) {
    const auto begin = out.begin() + reference.row[i] * p.args.out_row_stride +
                       reference.head[i] * p.args.out_head_stride;
    some_out.insert(some_out.end(), begin, begin + s.head_dim);
    some_lse.push_back(
        lse[int64_t{reference.head[i]} * p.args.total_q + reference.row[i]]);
  }
  const ErrorNorms error = Compare(some_out, reference.out);
  const ErrorNorms lse_error = Compare(some_lse, reference.lse);
  // bf16 rounds the probabilities and the result to 2^-9 of their size.
  const bool counter_zero = p.counter.Download()[0] == 0;
  const bool ok =
      error.relative < 5e-3 && lse_error.max_abs < 3e-4 && counter_zero;
  if (!ok) report->Fail();
  report->Line(
      {Report::Str("check", ok ? "ok" : "WRONG"), Report::Str("shape", s.name),
       Report::Str("kernel", variant.name), Report::Num("head_dim", s.head_dim),
       Report::Num("relative", error.relative),
       Report::Num("lse_max_abs", lse_error.max_abs)});
}

std::vector<Shape> CheckShapes(int d, bool quick) {
  const std::vector<std::pair<int, int>> ragged = {
      {1, 1}, {63, 63}, {64, 64}, {65, 65}, {200, 200}, {500, 500}};
  std::vector<Shape> shapes = {
      {"full 256", {{256, 256}}, 2, 2, d},
      {"causal 384", {{384, 384}}, 2, 2, d, true},
      {"ragged causal gqa", ragged, 4, 2, d, true},
  };
  if (quick) return shapes;
  const std::vector<Shape> more = {
      {"ragged full", ragged, 3, 3, d},
      {"keys longer, causal",
       {{70, 300}, {1, 517}, {129, 1000}},
       4,
       1,
       d,
       true},
      {"queries longer, causal", {{300, 70}, {140, 3}}, 2, 1, d, true},
      {"queries longer, full", {{300, 70}, {5, 1}}, 2, 2, d},
      {"window 100 causal", {{777, 777}, {64, 500}}, 2, 2, d, true, 100},
      {"window 0 causal", {{300, 300}}, 2, 2, d, true, 0},
      {"window 300 not causal", {{777, 777}}, 2, 1, d, false, 300},
      {"broken neighbour",
       {{100, 100}, {50, 50}, {70, 70}},
       2,
       2,
       d,
       true,
       -1,
       1},
      {"broken neighbour full",
       {{130, 130}, {500, 500}, {70, 70}},
       2,
       2,
       d,
       false,
       -1,
       1},
      {"fused qkv, causal", ragged, 6, 2, d, true, -1, -1, true},
      {"no keys", {{40, 0}, {100, 100}}, 2, 2, d},
      {"many short", std::vector<std::pair<int, int>>(150, {17, 17}), 3, 3, d,
       true},
      {"long causal", {{6000, 6000}, {3000, 3000}}, 8, 8, d, true},
      {"long full", {{2048, 2048}, {2048, 2048}}, 16, 4, d},
  };
  shapes.insert(shapes.end(), more.begin(), more.end());
  return shapes;
}

std::vector<Shape> TimeShapes(int d, bool quick) {
  const int heads = 2048 / d;
  std::vector<Shape> shapes;
  for (const bool causal : {false, true}) {
    for (const int length : {2048, 4096, 8192, 16384}) {
      if (quick && length != 16384) continue;
      const std::vector<std::pair<int, int>> lengths(16384 / length,
                                                     {length, length});
      shapes.push_back({(causal ? "causal " : "full ") + std::to_string(length),
                        lengths, heads, heads, d, causal});
    }
  }
  if (quick) return shapes;
  shapes.push_back(
      {"causal 8192 gqa 32:8", {{8192, 8192}, {8192, 8192}}, 32, 8, d, true});
  shapes.push_back({"ragged causal",
                    {{8000, 8000},
                     {100, 100},
                     {3000, 3000},
                     {17, 17},
                     {5000, 5000},
                     {900, 900}},
                    heads,
                    heads,
                    d,
                    true});
  shapes.push_back({"window 1024 causal 16384",
                    {{16384, 16384}},
                    heads,
                    heads,
                    d,
                    true,
                    1024});
  return shapes;
}

std::vector<ForwardVariant> Variants(int d) {
  std::vector<ForwardVariant> variants = {
      {"intarsia", d, true, Sm90AttentionForward}};
#ifdef INTARSIA_BENCH_TUNE
  const std::vector<ForwardVariant> more = d == 64    ? ForwardVariants64()
                                           : d == 128 ? ForwardVariants128()
                                                      : ForwardVariants256();
  variants.insert(variants.end(), more.begin(), more.end());
#endif
  return variants;
}

}  // namespace

void AttentionForwardFamily(const Options& options, Report* report) {
  for (const int d : {128, 64, 256}) {
    const std::string size = " hd" + std::to_string(d);
    std::vector<ForwardVariant> variants;
    for (const ForwardVariant& v : Variants(d)) {
      if ((v.name + size).find(options.only) != std::string::npos) {
        variants.push_back(v);
      }
    }
    if (options.check) {
      for (const Shape& shape : CheckShapes(d, options.quick)) {
        const Problem problem(shape, options.seed);
        const int rows = static_cast<int>(std::clamp<int64_t>(
            int64_t{300000000} / (int64_t{d} * problem.args.max_seqlen_k), 100,
            3000));
        const Reference reference = MakeReference(shape, problem, rows);
        for (const ForwardVariant& variant : variants) {
          if (shape.window >= 0 && !variant.window) continue;
          Check(shape, problem, reference, variant, report);
        }
      }
    }
    if (!options.time) continue;
    for (const Shape& shape : TimeShapes(d, options.quick)) {
      if (SecondsSinceStart() > options.budget_s) return;
      const Problem problem(shape, options.seed);
      std::vector<Candidate> candidates;
      for (const ForwardVariant& variant : variants) {
        if (shape.window >= 0 && !variant.window) continue;
        candidates.push_back(
            {variant.name, [&problem, variant](cudaStream_t stream, int) {
               INTARSIA_BENCH_CUDA(variant.launch(problem.args, stream));
             }});
      }
      TimingOptions timing;
      timing.rounds = options.rounds;
      const std::vector<Timing> times = TimeInterleaved(candidates, timing);
      const double flops = 4 * Pairs(shape) * shape.heads * d;
      for (size_t i = 0; i < times.size(); ++i) {
        report->Line(
            {Report::Str("time", shape.name), Report::Num("head_dim", d),
             Report::Str("kernel", candidates[i].name),
             Report::Num("us", times[i].median_us),
             Report::Num("min_us", times[i].min_us),
             Report::Num("p90_us", times[i].p90_us),
             Report::Num("tflops", flops / times[i].median_us * 1e-6)});
      }
    }
  }
}

}  // namespace intarsia::bench
