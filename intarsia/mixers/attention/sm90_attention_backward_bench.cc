// Attention backward: rows of the gradients against the definition in double.
// The forward kernel's results are inputs of this pass, and are taken as such.
#include <algorithm>
#include <cmath>
#include <memory>

#include "intarsia/mixers/attention/sm90_attention_bench.h"

namespace intarsia::bench {
namespace {

// A problem with its gradients; out and lse come from the forward kernel.
struct BackwardProblem {
  BackwardProblem(const AttentionShape& s, uint64_t seed) : base(s, seed) {
    const Sm90AttentionForwardArgs& f = base.args;
    const int64_t d = f.head_dim;
    dout = NormalBuffer<__nv_bfloat16>(f.total_q * f.heads * d, seed * 7 + 5);
    dq = Bf16Buffer(f.total_q * f.heads * d);
    dk = Bf16Buffer(f.total_k * f.kv_heads * d);
    dv = Bf16Buffer(f.total_k * f.kv_heads * d);
    workspace = DeviceBuffer<char>(Sm90AttentionBackwardWorkspace(f));
    args.forward = f;
    args.dout = dout.data();
    args.dq = dq.data();
    args.dk = dk.data();
    args.dv = dv.data();
    args.dout_row_stride = args.dq_row_stride = f.heads * d;
    args.dk_row_stride = args.dv_row_stride = f.kv_heads * d;
    args.dout_head_stride = args.dq_head_stride = args.dk_head_stride =
        args.dv_head_stride = d;
    args.workspace = workspace.data();
    Ensure(Sm90AttentionForward(f, nullptr), "attention forward");
  }
  AttentionProblem base;
  Sm90AttentionBackwardArgs args;
  Bf16Buffer dout, dq, dk, dv;
  DeviceBuffer<char> workspace;
};

// By the definition: with P = exp(scale S - lse) and dP = dout V^T,
//   dS = P (dP - delta) scale, delta the sum of dout and out over channels;
//   dQ = dS K, dK = dS^T Q, dV = P^T dout.
class Reference {
 public:
  explicit Reference(const BackwardProblem& problem)
      : p_(problem.base),
        in_(problem.base),
        d_(problem.base.args.head_dim),
        lse_(p_.lse.Download()) {
    const int64_t width = int64_t{p_.args.heads} * d_;
    const std::vector<float> out =
        Rows(p_.args.out, p_.args.total_q, width, width);
    dout_ = Rows(problem.args.dout, p_.args.total_q, width, width);
    for (size_t i = 0; i < out.size(); i += d_) {
      delta_.push_back(Dot(&out[i], &dout_[i], d_));
    }
  }

  // Adds the gradient of one pair's score to whichever is asked for.
  void Pair(int64_t row, int head, int64_t key, double* dq, double* dk,
            double* dv) const {
    const int g = head / (p_.args.heads / p_.args.kv_heads);
    const float *q = in_.Q(row, head), *k = in_.K(key, g);
    const size_t at = row * p_.args.heads + head;
    const float* dout = &dout_[at * d_];
    const double weight = std::exp(Dot(q, k, d_) * p_.args.scale -
                                   lse_[int64_t{head} * p_.args.total_q + row]);
    const double ds =
        weight * p_.args.scale * (Dot(dout, in_.V(key, g), d_) - delta_[at]);
    for (int c = 0; c < d_; ++c) {
      if (dq != nullptr) dq[c] += ds * k[c];
      if (dk != nullptr) dk[c] += ds * q[c];
      if (dv != nullptr) dv[c] += weight * dout[c];
    }
  }
  std::vector<double> Query(int64_t row, int head) const {
    std::vector<double> dq(d_);
    const int b = p_.SequenceOf(p_.cu_q, row);
    const auto [low, high] =
        p_.Visible(static_cast<int>(row) - p_.cu_q[b], p_.shape.lengths[b]);
    for (int j = low; j < high; ++j) {
      Pair(row, head, p_.cu_k[b] + j, dq.data(), nullptr, nullptr);
    }
    return dq;
  }
  // dk, then dv.
  std::vector<double> Key(int64_t row, int kv_head) const {
    std::vector<double> both(2 * d_);
    const int b = p_.SequenceOf(p_.cu_k, row);
    const int group = p_.args.heads / p_.args.kv_heads;
    const int key = static_cast<int>(row) - p_.cu_k[b];
    for (int i = 0; i < p_.shape.lengths[b].first; ++i) {
      const auto [low, high] = p_.Visible(i, p_.shape.lengths[b]);
      if (key < low || key >= high) continue;
      for (int h = kv_head * group; h < (kv_head + 1) * group; ++h) {
        Pair(p_.cu_q[b] + i, h, row, nullptr, both.data(), both.data() + d_);
      }
    }
    return both;
  }

 private:
  const AttentionProblem& p_;
  AttentionInputs in_;
  const int d_;
  std::vector<float> lse_, dout_;
  std::vector<double> delta_;
};

std::vector<OutputError> Compare(const BackwardProblem& problem) {
  const AttentionProblem& p = problem.base;
  const Sm90AttentionForwardArgs& a = p.args;
  const Reference reference(problem);
  const int64_t most = std::clamp<int64_t>(
      int64_t{400000000} /
          (int64_t{a.head_dim} * std::max(a.max_seqlen_q, a.max_seqlen_k)),
      64, 4000);
  ErrorNorm dq, dk, dv;
  const std::vector<int64_t> queries =
      Sample(int64_t{a.total_q} * a.heads, most);
  const std::vector<int64_t> keys =
      Sample(int64_t{a.total_k} * a.kv_heads, most * a.kv_heads / a.heads);
  std::vector<std::vector<double>> want(queries.size() + keys.size());
  InParallel(want.size(), [&](int64_t i) {
    const int64_t n = queries.size();
    want[i] = i < n ? reference.Query(queries[i] / a.heads,
                                      static_cast<int>(queries[i] % a.heads))
                    : reference.Key(keys[i - n] / a.kv_heads,
                                    static_cast<int>(keys[i - n] % a.kv_heads));
  });
  const int d = a.head_dim;
  for (size_t i = 0; i < queries.size(); ++i) {
    if (p.SequenceOf(p.cu_q, queries[i] / a.heads) == p.shape.broken_sequence) {
      continue;
    }
    dq.Add(Rows(problem.args.dq + queries[i] * d, 1, 0, d), want[i]);
  }
  for (size_t i = 0; i < keys.size(); ++i) {
    if (p.SequenceOf(p.cu_k, keys[i] / a.kv_heads) == p.shape.broken_sequence) {
      continue;
    }
    const std::vector<double>& both = want[queries.size() + i];
    dk.Add(Rows(problem.args.dk + keys[i] * d, 1, 0, d),
           {both.begin(), both.begin() + d});
    dv.Add(Rows(problem.args.dv + keys[i] * d, 1, 0, d),
           {both.begin() + d, both.end()});
  }
  // bf16 rounds P, dS, the forward pass's result and the gradients.
  return {
      dq.Relative("dq", 1e-2), dk.Relative("dk", 1e-2), dv.Relative("dv", 1e-2),
      Holds("the tile counter is zero again", p.counter.Download()[0] == 0)};
}

GpuCase MakeCase(const AttentionShape& s, const BackwardVariant& variant) {
  GpuCase c = AttentionForwardCase(s, {"", s.head_dim, true, nullptr});
  c.name = "attention.sm90.backward" +
           (variant.name.empty() ? "" : "." + variant.name);
  c.bytes *= 2;  // q, k, v, out, dout and four gradients
  c.flops *= 2.5;
  c.prepare = [s, run = variant.launch](uint64_t seed) {
    const auto p = std::make_shared<const BackwardProblem>(s, seed);
    const auto launch = [p, run](cudaStream_t stream) {
      Ensure(run(p->args, stream), "attention backward");
    };
    return GpuCase::Ready{launch, [p, launch] {
                            launch(nullptr);
                            return Compare(*p);
                          }};
  };
  return c;
}

}  // namespace

std::vector<GpuCase> AttentionBackwardCases(const BackwardVariant& variant,
                                            bool quick) {
  std::vector<GpuCase> cases;
  for (const AttentionShape& shape : AttentionShapes(variant.head_dim, quick)) {
    if (shape.window >= 0 && !variant.window) continue;
    cases.push_back(MakeCase(shape, variant));
  }
  return cases;
}

std::vector<GpuCase> sm90_attention_backward(bool quick) {
  std::vector<GpuCase> cases;
  for (const int d : {128, 64}) {
    for (GpuCase& c :
         AttentionBackwardCases({"", d, true, Sm90AttentionBackward}, quick)) {
      cases.push_back(std::move(c));
    }
  }
  return cases;
}

}  // namespace intarsia::bench
