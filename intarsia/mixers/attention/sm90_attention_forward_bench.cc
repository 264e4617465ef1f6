// Attention forward: rows against the definition in double.
#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>

#include "intarsia/mixers/attention/sm90_attention_bench.h"

namespace intarsia::bench {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// One row of one head.
struct Row {
  std::vector<double> out;
  double lse = -kInfinity;
};

Row Reference(const AttentionProblem& p, const AttentionInputs& in, int64_t row,
              int head) {
  const int d = p.args.head_dim, b = p.SequenceOf(p.cu_q, row);
  const int g = head / (p.args.heads / p.args.kv_heads);
  const auto [low, high] =
      p.Visible(static_cast<int>(row) - p.cu_q[b], p.shape.lengths[b]);
  std::vector<double> scores;
  for (int j = low; j < high; ++j) {
    scores.push_back(Dot(in.Q(row, head), in.K(p.cu_k[b] + j, g), d) *
                     p.args.scale);
  }
  Row r;
  r.out.assign(d, 0.0);
  if (scores.empty()) return r;
  const double largest = *std::max_element(scores.begin(), scores.end());
  double sum = 0;
  for (const double score : scores) sum += std::exp(score - largest);
  r.lse = largest + std::log(sum);
  for (int j = low; j < high; ++j) {
    const double weight = std::exp(scores[j - low] - r.lse);
    const float* v = in.V(p.cu_k[b] + j, g);
    for (int c = 0; c < d; ++c) r.out[c] += weight * v[c];
  }
  return r;
}

std::vector<OutputError> Compare(const AttentionProblem& p) {
  const auto& a = p.args;
  const AttentionInputs in(p);
  const std::vector<int64_t> items =
      Sample(int64_t{a.total_q} * a.heads,
             std::clamp<int64_t>(
                 int64_t{300000000} / (int64_t{a.head_dim} * a.max_seqlen_k),
                 100, 3000));
  std::vector<Row> rows(items.size());
  InParallel(items.size(), [&](int64_t i) {
    rows[i] = Reference(p, in, items[i] / a.heads,
                        static_cast<int>(items[i] % a.heads));
  });
  const std::vector<float> lse = p.lse.Download();
  ErrorNorm out_error, lse_error;
  for (size_t i = 0; i < items.size(); ++i) {
    const int64_t row = items[i] / a.heads, head = items[i] % a.heads;
    if (p.SequenceOf(p.cu_q, row) == p.shape.broken_sequence) continue;
    out_error.Add(
        Rows(a.out + row * a.out_row_stride + head * a.out_head_stride, 1, 0,
             a.head_dim),
        rows[i].out);
    lse_error.Add(lse[head * a.total_q + row], rows[i].lse);
  }
  // bf16 rounds the probabilities and the result to 2^-9 of their size.
  return {
      out_error.Relative("out", 5e-3), lse_error.Largest("log-sum-exp", 3e-4),
      Holds("the tile counter is zero again", p.counter.Download()[0] == 0)};
}

}  // namespace

GpuCase AttentionForwardCase(const AttentionShape& s,
                             const ForwardVariant& variant) {
  GpuCase c;
  c.name = "attention.sm90.forward" +
           (variant.name.empty() ? "" : "." + variant.name);
  c.shape = "hd" + std::to_string(s.head_dim) + " " + s.name;
  c.use = s.use;
  double rows_q = 0, rows_k = 0;
  for (const auto& [m, n] : s.lengths) {
    rows_q += m;
    rows_k += n;
  }
  c.bytes = 4.0 * s.head_dim * (rows_q * s.heads + rows_k * s.kv_heads) +
            4.0 * rows_q * s.heads;
  c.flops = 4 * VisiblePairs(s) * s.heads * s.head_dim;
  c.prepare = [s, run = variant.launch](uint64_t seed) {
    const auto p = std::make_shared<const AttentionProblem>(s, seed);
    const auto launch = [p, run](cudaStream_t stream) {
      Ensure(run(p->args, stream), "attention forward");
    };
    return GpuCase::Ready{launch, [p, launch] {
                            launch(nullptr);
                            return Compare(*p);
                          }};
  };
  return c;
}

std::vector<GpuCase> AttentionForwardCases(const ForwardVariant& variant,
                                           bool quick) {
  std::vector<GpuCase> cases;
  for (const AttentionShape& shape : AttentionShapes(variant.head_dim, quick)) {
    if (shape.window >= 0 && !variant.window) continue;
    cases.push_back(AttentionForwardCase(shape, variant));
  }
  return cases;
}

std::vector<GpuCase> sm90_attention_forward(bool quick) {
  std::vector<GpuCase> cases;
  for (const int d : {128, 64, 256}) {
    for (GpuCase& c :
         AttentionForwardCases({"", d, true, Sm90AttentionForward}, quick)) {
      cases.push_back(std::move(c));
    }
  }
  return cases;
}

}  // namespace intarsia::bench
