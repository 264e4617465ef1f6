// Attention forward: every head dimension against the fp64 definition on
// ragged, odd, grouped, windowed and strided cases, then times.
#include <algorithm>
#include <cmath>
#include <limits>

#include "bench/kernels/gpu/attention_forward_variants.h"
#include "bench/kernels/gpu/attention_problem.h"
#include "bench/kernels/gpu/driver.h"
#include "intarsia/mixers/attention/sm90_attention_forward.h"

namespace intarsia::bench {
namespace {

// The definition, in fp64, for some rows.
struct Reference {
  std::vector<int> row, head;    // packed row
  std::vector<double> out, lse;  // [rows][D], [rows]
};

Reference MakeReference(const AttentionShape& s, const AttentionProblem& p,
                        int most_rows) {
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

void Check(const AttentionShape& s, const AttentionProblem& p,
           const Reference& reference, const ForwardVariant& variant,
           Report* report) {
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
      for (const AttentionShape& shape :
           AttentionCheckShapes(d, options.quick)) {
        const AttentionProblem problem(shape, options.seed);
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
    for (const AttentionShape& shape : AttentionTimeShapes(d, options.quick)) {
      if (shape.name.find(options.shape) == std::string::npos) continue;
      if (SecondsSinceStart() > options.budget_s) return;
      const AttentionProblem problem(shape, options.seed);
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
      const double flops = 4 * VisiblePairs(shape) * shape.heads * d;
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
