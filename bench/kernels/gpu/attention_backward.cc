// Attention backward: gradients against the fp64 definition, then times.
#include <algorithm>
#include <cmath>

#include "bench/kernels/gpu/attention_backward_variants.h"
#include "bench/kernels/gpu/attention_problem.h"
#include "bench/kernels/gpu/driver.h"
#include "intarsia/mixers/attention/sm90_attention_backward.h"

namespace intarsia::bench {
namespace {

// A problem with its gradients; out and lse come from the forward kernel.
struct BackwardProblem {
  BackwardProblem(const AttentionShape& s, uint64_t seed) : base(s, seed) {
    const Sm90AttentionForwardArgs& f = base.args;
    const int64_t d = f.head_dim;
    dout = DeviceBuffer<__nv_bfloat16>(f.total_q * f.heads * d);
    FillNormal(dout.data(), dout.size(), seed * 7 + 5);
    dq = DeviceBuffer<__nv_bfloat16>(f.total_q * f.heads * d);
    dk = DeviceBuffer<__nv_bfloat16>(f.total_k * f.kv_heads * d);
    dv = DeviceBuffer<__nv_bfloat16>(f.total_k * f.kv_heads * d);
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
    INTARSIA_BENCH_CUDA(Sm90AttentionForward(f, nullptr));
    INTARSIA_BENCH_CUDA(cudaDeviceSynchronize());
  }
  AttentionProblem base;
  Sm90AttentionBackwardArgs args;
  DeviceBuffer<__nv_bfloat16> dout, dq, dk, dv;
  DeviceBuffer<char> workspace;
};

std::vector<float> Download(const __nv_bfloat16* from, int64_t rows,
                            int64_t row_stride, int64_t columns) {
  std::vector<__nv_bfloat16> host((rows - 1) * row_stride + columns);
  INTARSIA_BENCH_CUDA(
      cudaMemcpy(host.data(), from, host.size() * 2, cudaMemcpyDeviceToHost));
  return ToFloat(host);
}

// The three gradients in fp64, packed as in BackwardProblem.
struct Gradients {
  std::vector<double> dq, dk, dv;
};

Gradients Reference(const AttentionShape& s, const BackwardProblem& p) {
  const Sm90AttentionForwardArgs& a = p.args.forward;
  const int d = a.head_dim;
  const std::vector<float> q =
      Download(a.q, a.total_q, a.q_row_stride, a.heads * d);
  const std::vector<float> k =
      Download(a.k, a.total_k, a.k_row_stride, a.kv_heads * d);
  const std::vector<float> v =
      Download(a.v, a.total_k, a.v_row_stride, a.kv_heads * d);
  const std::vector<float> dout =
      Download(p.args.dout, a.total_q, a.heads * d, a.heads * d);
  Gradients g{std::vector<double>(int64_t{a.total_q} * a.heads * d),
              std::vector<double>(int64_t{a.total_k} * a.kv_heads * d),
              std::vector<double>(int64_t{a.total_k} * a.kv_heads * d)};
  std::vector<double> weight(a.max_seqlen_k), gradient(a.max_seqlen_k);
  for (size_t b = 0; b < s.lengths.size(); ++b) {
    if (static_cast<int>(b) == s.broken_sequence) continue;
    const auto [m, n] = s.lengths[b];
    for (int i = 0; i < m; ++i) {
      const int row = p.base.cu_q[b] + i, position = i + n - m;
      const int high = s.causal ? std::min(n, position + 1) : n;
      const int low = s.window >= 0 ? std::max(0, position - s.window) : 0;
      for (int h = 0; h < a.heads; ++h) {
        const int kv = h / (a.heads / a.kv_heads);
        const float* x = &q[row * a.q_row_stride + h * d];
        const float* y = &dout[(int64_t{row} * a.heads + h) * d];
        double largest = -INFINITY, sum = 0, delta = 0;
        for (int j = low; j < high; ++j) {
          const int64_t key = p.base.cu_k[b] + j;
          double dot = 0, dp = 0;
          for (int c = 0; c < d; ++c) {
            dot += double{x[c]} * k[key * a.k_row_stride + kv * d + c];
            dp += double{y[c]} * v[key * a.v_row_stride + kv * d + c];
          }
          weight[j] = dot * a.scale;
          gradient[j] = dp;
          largest = std::max(largest, weight[j]);
        }
        for (int j = low; j < high; ++j) {
          weight[j] = std::exp(weight[j] - largest);
          sum += weight[j];
        }
        for (int j = low; j < high; ++j) {
          weight[j] /= sum;
          delta += weight[j] * gradient[j];
        }
        for (int j = low; j < high; ++j) {
          const int64_t key = p.base.cu_k[b] + j;
          const double ds = weight[j] * (gradient[j] - delta) * a.scale;
          for (int c = 0; c < d; ++c) {
            const int64_t at = (key * a.kv_heads + kv) * d + c;
            g.dq[(int64_t{row} * a.heads + h) * d + c] +=
                ds * k[key * a.k_row_stride + kv * d + c];
            g.dk[at] += ds * x[c];
            g.dv[at] += weight[j] * y[c];
          }
        }
      }
    }
  }
  return g;
}

// The part of `values` that belongs to sequences to be compared.
template <typename T>
std::vector<T> Kept(const std::vector<T>& values, const AttentionShape& s,
                    const std::vector<int32_t>& cu) {
  if (s.broken_sequence < 0) return values;
  const int64_t row = values.size() / cu.back();
  std::vector<T> kept = values;
  kept.erase(kept.begin() + cu[s.broken_sequence] * row,
             kept.begin() + cu[s.broken_sequence + 1] * row);
  return kept;
}

void Check(const AttentionShape& s, const BackwardProblem& p,
           const Gradients& reference, const BackwardVariant& variant,
           Report* report) {
  for (const auto* buffer : {&p.dq, &p.dk, &p.dv}) {
    INTARSIA_BENCH_CUDA(cudaMemset(buffer->data(), 0xFF, buffer->size() * 2));
  }
  INTARSIA_BENCH_CUDA(cudaMemset(p.workspace.data(), 0xFF, p.workspace.size()));
  INTARSIA_BENCH_CUDA(variant.launch(p.args, nullptr));
  INTARSIA_BENCH_CUDA(cudaDeviceSynchronize());
  const auto error = [&](const DeviceBuffer<__nv_bfloat16>& ours,
                         const std::vector<double>& truth,
                         const std::vector<int32_t>& cu) {
    return Compare(Kept(ToFloat(ours.Download()), s, cu), Kept(truth, s, cu))
        .relative;
  };
  const double dq = error(p.dq, reference.dq, p.base.cu_q);
  const double dk = error(p.dk, reference.dk, p.base.cu_k);
  const double dv = error(p.dv, reference.dv, p.base.cu_k);
  // bf16 rounds P, dS, the forward pass's result and the gradients.
  const bool ok =
      dq < 1e-2 && dk < 1e-2 && dv < 1e-2 && p.base.counter.Download()[0] == 0;
  if (!ok) report->Fail();
  report->Line(
      {Report::Str("check", ok ? "ok" : "WRONG"), Report::Str("shape", s.name),
       Report::Str("kernel", variant.name), Report::Num("head_dim", s.head_dim),
       Report::Num("dq", dq), Report::Num("dk", dk), Report::Num("dv", dv)});
}

std::vector<BackwardVariant> Variants(int d) {
  std::vector<BackwardVariant> variants = {
      {"intarsia", d, Sm90AttentionBackward}};
#ifdef INTARSIA_BENCH_TUNE
  const std::vector<BackwardVariant> more =
      d == 64 ? BackwardVariants64() : BackwardVariants128();
  variants.insert(variants.end(), more.begin(), more.end());
#endif
  return variants;
}

}  // namespace

void AttentionBackwardFamily(const Options& options, Report* report) {
  for (const int d : {128, 64}) {
    const std::string size = " hd" + std::to_string(d);
    std::vector<BackwardVariant> variants;
    for (const BackwardVariant& v : Variants(d)) {
      if ((v.name + size).find(options.only) != std::string::npos) {
        variants.push_back(v);
      }
    }
    if (options.check) {
      for (const AttentionShape& shape :
           AttentionCheckShapes(d, options.quick)) {
        // The reference visits every pair; scripts in bench/peers compare long
        // sequences with a peer.
        if (VisiblePairs(shape) * shape.heads > 4e6) continue;
        const BackwardProblem problem(shape, options.seed);
        const Gradients reference = Reference(shape, problem);
        for (const BackwardVariant& variant : variants) {
          Check(shape, problem, reference, variant, report);
        }
      }
    }
    if (!options.time) continue;
    for (const AttentionShape& shape : AttentionTimeShapes(d, options.quick)) {
      if (shape.name.find(options.shape) == std::string::npos) continue;
      if (SecondsSinceStart() > options.budget_s) return;
      const BackwardProblem problem(shape, options.seed);
      std::vector<Candidate> candidates;
      for (const BackwardVariant& variant : variants) {
        candidates.push_back(
            {variant.name, [&problem, variant](cudaStream_t stream, int) {
               INTARSIA_BENCH_CUDA(variant.launch(problem.args, stream));
             }});
      }
      TimingOptions timing;
      timing.rounds = options.rounds;
      const std::vector<Timing> times = TimeInterleaved(candidates, timing);
      const double flops = 10 * VisiblePairs(shape) * shape.heads * d;
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
