// Retention, forward and backward: results and gradients against the
// recurrence in fp64, then times.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <thread>

#include "bench/kernels/gpu/driver.h"
#include "intarsia/mixers/retention/sm90_retention_backward.h"
#include "intarsia/mixers/retention/sm90_retention_forward.h"

namespace intarsia::bench {
namespace {

struct Shape {
  std::string name;
  std::vector<int> lengths;
  int heads, key_dim, value_dim;
  bool fast = false;    // decays from 0.3 up, else those of the paper
  bool states = false;  // in and out
  bool fused = false;   // q, k, v are slices of one [T, H, 2 K + V]
};

std::vector<Shape> CheckShapes(bool quick) {
  const std::vector<int> ragged = {1, 63, 0, 64, 65, 200};
  std::vector<Shape> shapes = {
      {"one chunk", {64}, 1, 256, 512},
      {"two chunks", {128}, 1, 256, 512, false, true},
      {"ragged", ragged, 2, 256, 512, false, true},
      {"ragged fast", ragged, 2, 128, 128, true, true},
  };
  if (quick) return shapes;
  const std::vector<Shape> more = {
      {"ragged fast wide", ragged, 3, 256, 512, true, true},
      {"no states", {130, 70}, 2, 256, 256, true},
      {"narrow", ragged, 3, 64, 64, false, true},
      {"odd panels", ragged, 2, 192, 320, false, true, true},
      {"wide keys", ragged, 2, 512, 448, true, true, true},
      {"long", {4096}, 1, 256, 512, false, true},
      {"long narrow, fast", {4096, 100, 1500}, 2, 128, 128, true, true},
      {"many short", std::vector<int>(150, 70), 2, 128, 192, false, true},
  };
  shapes.insert(shapes.end(), more.begin(), more.end());
  return shapes;
}

// All tensors of a problem, on the device.
struct Problem {
  Problem(const Shape& s, uint64_t seed) : shape(s) {
    Sm90RetentionForwardArgs& a = backward.forward;
    for (const int length : s.lengths) {
      cu.push_back(cu.back() + length);
      a.max_seqlen = std::max(a.max_seqlen, length);
    }
    const int64_t rows = cu.back(), h = s.heads, k = s.key_dim, v = s.value_dim;
    const int64_t columns = s.fused ? 2 * k + v : k;
    // NaN behind the last row, where a kernel must not look for numbers.
    q = DeviceBuffer<__nv_bfloat16>((rows + 64) * h * columns);
    FillNormal(q.data(), rows * h * columns, seed * 5);
    a.q = q.data();
    a.q_row_stride = a.k_row_stride = a.v_row_stride = h * columns;
    a.q_head_stride = a.k_head_stride = a.v_head_stride = columns;
    if (s.fused) {
      a.k = a.q + k;
      a.v = a.q + 2 * k;
    } else {
      this->k = DeviceBuffer<__nv_bfloat16>(rows * h * k);
      this->v = DeviceBuffer<__nv_bfloat16>(rows * h * v);
      FillNormal(this->k.data(), rows * h * k, seed * 5 + 1);
      FillNormal(this->v.data(), rows * h * v, seed * 5 + 2);
      a.k = this->k.data();
      a.v = this->v.data();
      a.v_row_stride = h * v;
      a.v_head_stride = v;
    }
    out = DeviceBuffer<__nv_bfloat16>(rows * h * v);
    dout = DeviceBuffer<__nv_bfloat16>(rows * h * v);
    FillNormal(dout.data(), rows * h * v, seed * 5 + 3);
    dq = DeviceBuffer<__nv_bfloat16>(rows * h * k);
    dk = DeviceBuffer<__nv_bfloat16>(rows * h * k);
    dv = DeviceBuffer<__nv_bfloat16>(rows * h * v);
    cu_device = DeviceBuffer<int32_t>(cu);
    std::vector<float> decays;
    for (int i = 0; i < s.heads; ++i) {
      decays.push_back(s.fast ? std::log(0.3f + 0.3f * i)
                              : std::log1p(-std::exp2(-5.0f - i)));
    }
    if (s.fast && s.heads > 2) decays[2] = -INFINITY;
    log_decay = DeviceBuffer<float>(decays);
    if (s.states) {
      const int64_t count = s.lengths.size() * h * k * v;
      initial = DeviceBuffer<float>(RandomNormal(count, seed * 5 + 4));
      dfinal = DeviceBuffer<float>(RandomNormal(count, seed * 5 + 5));
      final_state = DeviceBuffer<float>(count);
      dinitial = DeviceBuffer<float>(count);
      a.initial_state = initial.data();
      a.final_state = final_state.data();
      backward.dfinal_state = dfinal.data();
      backward.dinitial_state = dinitial.data();
    }
    a.out = out.data();
    a.out_row_stride = h * v;
    a.out_head_stride = v;
    a.log_decay = log_decay.data();
    a.cu_seqlens = cu_device.data();
    a.sequences = static_cast<int>(s.lengths.size());
    a.total = rows;
    a.heads = s.heads;
    a.key_dim = s.key_dim;
    a.value_dim = s.value_dim;
    a.scale = 1 / std::sqrt(static_cast<float>(k));
    workspace = DeviceBuffer<char>(Sm90RetentionWorkspace(a));
    a.workspace = workspace.data();
    backward.dout = dout.data();
    backward.dq = dq.data();
    backward.dk = dk.data();
    backward.dv = dv.data();
    backward.dout_row_stride = backward.dv_row_stride = h * v;
    backward.dout_head_stride = backward.dv_head_stride = v;
    backward.dq_row_stride = backward.dk_row_stride = h * k;
    backward.dq_head_stride = backward.dk_head_stride = k;
  }
  Shape shape;
  Sm90RetentionBackwardArgs backward;
  std::vector<int32_t> cu{0};
  DeviceBuffer<__nv_bfloat16> q, k, v, out, dout, dq, dk, dv;
  DeviceBuffer<float> log_decay, initial, final_state, dfinal, dinitial;
  DeviceBuffer<int32_t> cu_device;
  DeviceBuffer<char> workspace;
};

// Rows of `columns` numbers on the host, wherever they lie on the device.
std::vector<float> Gather(const __nv_bfloat16* from, int64_t rows, int heads,
                          int columns, int64_t row_stride,
                          int64_t head_stride) {
  std::vector<__nv_bfloat16> host(rows * row_stride);
  if (rows == 0) return {};
  const int64_t last = (rows - 1) * row_stride + (heads - 1) * head_stride;
  INTARSIA_BENCH_CUDA(cudaMemcpy(host.data(), from, (last + columns) * 2,
                                 cudaMemcpyDeviceToHost));
  std::vector<float> out;
  for (int64_t r = 0; r < rows; ++r) {
    for (int h = 0; h < heads; ++h) {
      for (int c = 0; c < columns; ++c) {
        out.push_back(
            __bfloat162float(host[r * row_stride + h * head_stride + c]));
      }
    }
  }
  return out;
}

struct Truth {
  std::vector<double> out, final_state, dq, dk, dv, dinitial;
};

// The recurrence, one head of one sequence at a time.
class Reference {
 public:
  explicit Reference(const Problem& p) : p_(p), s_(p.shape) {
    const Sm90RetentionForwardArgs& a = p.backward.forward;
    q_ = Gather(a.q, a.total, a.heads, a.key_dim, a.q_row_stride,
                a.q_head_stride);
    k_ = Gather(a.k, a.total, a.heads, a.key_dim, a.k_row_stride,
                a.k_head_stride);
    v_ = Gather(a.v, a.total, a.heads, a.value_dim, a.v_row_stride,
                a.v_head_stride);
    dout_ = ToFloat(p.dout.Download());
    log_decay_ = p.log_decay.Download();
    const size_t states =
        s_.states ? s_.lengths.size() * s_.heads * s_.key_dim * s_.value_dim
                  : 0;
    if (s_.states) {
      initial_ = p.initial.Download();
      dfinal_ = p.dfinal.Download();
    }
    t_ = {std::vector<double>(v_.size()), std::vector<double>(states),
          std::vector<double>(q_.size()), std::vector<double>(q_.size()),
          std::vector<double>(v_.size()), std::vector<double>(states)};
    std::atomic<int> next = 0;
    const int tasks = static_cast<int>(s_.lengths.size()) * s_.heads;
    std::vector<std::thread> threads;
    for (unsigned i = 0; i < std::thread::hardware_concurrency(); ++i) {
      threads.emplace_back([&] {
        for (int task; (task = next++) < tasks;) {
          Forward(task / s_.heads, task % s_.heads);
          Backward(task / s_.heads, task % s_.heads);
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
  }
  const Truth& truth() const { return t_; }

 private:
  std::vector<double> Start(const std::vector<float>& from, int b,
                            int h) const {
    const size_t size = size_t(s_.key_dim) * s_.value_dim;
    if (from.empty()) return std::vector<double>(size);
    const auto begin = from.begin() + (b * s_.heads + h) * size;
    return std::vector<double>(begin, begin + size);
  }
  void Finish(const std::vector<double>& state, int b, int h,
              std::vector<double>* to) const {
    if (!to->empty()) {
      std::copy(state.begin(), state.end(),
                to->begin() + (b * s_.heads + h) * state.size());
    }
  }
  double scale() const { return p_.backward.forward.scale; }

  void Forward(int b, int h) {
    const int kd = s_.key_dim, vd = s_.value_dim;
    const double decay = std::exp(double{log_decay_[h]});
    std::vector<double> state = Start(initial_, b, h), out(vd);
    for (int t = p_.cu[b]; t < p_.cu[b + 1]; ++t) {
      const int64_t row = int64_t{t} * s_.heads + h;
      const float* v = &v_[row * vd];
      const float* dout = &dout_[row * vd];
      std::fill(out.begin(), out.end(), 0);
      for (int i = 0; i < kd; ++i) {
        double* s = &state[size_t(i) * vd];
        const double k = k_[row * kd + i], q = q_[row * kd + i];
        double dq = 0;
        for (int j = 0; j < vd; ++j) {
          s[j] = decay * s[j] + k * v[j];
          out[j] += q * s[j];
        }
        for (int j = 0; j < vd; ++j) dq += s[j] * dout[j];
        t_.dq[row * kd + i] = scale() * dq;
      }
      for (int j = 0; j < vd; ++j) t_.out[row * vd + j] = scale() * out[j];
    }
    Finish(state, b, h, &t_.final_state);
  }

  void Backward(int b, int h) {
    const int kd = s_.key_dim, vd = s_.value_dim;
    const double decay = std::exp(double{log_decay_[h]});
    std::vector<double> state = Start(dfinal_, b, h), dv(vd);
    for (int t = p_.cu[b + 1] - 1; t >= p_.cu[b]; --t) {
      const int64_t row = int64_t{t} * s_.heads + h;
      const float* v = &v_[row * vd];
      const float* dout = &dout_[row * vd];
      std::fill(dv.begin(), dv.end(), 0);
      for (int i = 0; i < kd; ++i) {
        double* s = &state[size_t(i) * vd];
        const double k = k_[row * kd + i], q = scale() * q_[row * kd + i];
        double dk = 0;
        for (int j = 0; j < vd; ++j) {
          s[j] += q * dout[j];
          dv[j] += k * s[j];
        }
        for (int j = 0; j < vd; ++j) dk += s[j] * v[j];
        for (int j = 0; j < vd; ++j) s[j] *= decay;
        t_.dk[row * kd + i] = dk;
      }
      for (int j = 0; j < vd; ++j) t_.dv[row * vd + j] = dv[j];
    }
    Finish(state, b, h, &t_.dinitial);
  }

  const Problem& p_;
  const Shape& s_;
  std::vector<float> q_, k_, v_, dout_, log_decay_, initial_, dfinal_;
  Truth t_;
};

// Where a wrong tensor is wrong: its error by 64 tokens and 64 columns.
void PrintMap(const char* name, const std::vector<float>& ours,
              const std::vector<double>& truth, int heads, int columns) {
  const int64_t rows = truth.size() / heads / columns;
  std::printf("  %s, head 0, tokens / 64 down, columns / 64 across:\n", name);
  for (int64_t r = 0; r < std::min<int64_t>(rows, 512); r += 64) {
    for (int c = 0; c < columns; c += 64) {
      double error = 0, norm = 0;
      for (int64_t i = r; i < std::min(rows, r + 64); ++i) {
        for (int j = c; j < c + 64; ++j) {
          const int64_t at = i * heads * columns + j;
          error += (ours[at] - truth[at]) * (ours[at] - truth[at]);
          norm += truth[at] * truth[at];
        }
      }
      std::printf(" %9.2g", std::sqrt(error / norm));
    }
    std::printf("\n");
  }
}

void Check(const Shape& s, const Options& options, Report* report) {
  const Problem p(s, options.seed);
  const Truth truth = Reference(p).truth();
  INTARSIA_BENCH_CUDA(Sm90RetentionForward(p.backward.forward, nullptr));
  INTARSIA_BENCH_CUDA(cudaDeviceSynchronize());
  const std::vector<float> out = ToFloat(p.out.Download());
  INTARSIA_BENCH_CUDA(Sm90RetentionBackward(p.backward, nullptr));
  INTARSIA_BENCH_CUDA(cudaDeviceSynchronize());
  const std::vector<float> dq = ToFloat(p.dq.Download());
  const std::vector<float> dk = ToFloat(p.dk.Download());
  const std::vector<float> dv = ToFloat(p.dv.Download());
  struct Tensor {
    const char* name;
    std::vector<float> ours;
    const std::vector<double>& truth;
    int columns;
  };
  const std::vector<Tensor> tensors = {
      {"out", out, truth.out, s.value_dim},
      {"final", s.states ? p.final_state.Download() : std::vector<float>(),
       truth.final_state, 0},
      {"dq", dq, truth.dq, s.key_dim},
      {"dk", dk, truth.dk, s.key_dim},
      {"dv", dv, truth.dv, s.value_dim},
      {"dinitial", s.states ? p.dinitial.Download() : std::vector<float>(),
       truth.dinitial, 0}};
  std::vector<Report::Field> fields = {
      Report::Str("check", "ok"), Report::Str("shape", s.name),
      Report::Num("key_dim", s.key_dim), Report::Num("value_dim", s.value_dim)};
  bool ok = true;
  for (const Tensor& t : tensors) {
    // bf16 rounds the states and scores that go through the tensor cores, and
    // the results.
    const double error = Compare(t.ours, t.truth).relative;
    ok &= error < 1e-2;
    fields.push_back(Report::Num(t.name, error));
    if (!(error < 1e-2) && t.columns > 0) {
      PrintMap(t.name, t.ours, t.truth, s.heads, t.columns);
    }
  }
  if (!ok) {
    report->Fail();
    fields[0] = Report::Str("check", "WRONG");
  }
  report->Line(fields);
}

std::vector<Shape> TimeShapes(bool quick) {
  const auto rows = [](int batch, int length) {
    return std::vector<int>(batch, length);
  };
  std::vector<Shape> shapes = {{"b8 t4096", rows(8, 4096), 8, 256, 512}};
  if (quick) return shapes;
  shapes.push_back({"b1 t32768", rows(1, 32768), 8, 256, 512});
  shapes.push_back({"b8 t4096 narrow", rows(8, 4096), 16, 128, 128});
  shapes.push_back(
      {"ragged", {9000, 100, 3000, 17, 12000, 900, 7751}, 8, 256, 512});
  return shapes;
}

void Time(const Shape& s, const Options& options, Report* report) {
  const Problem p(s, options.seed);
  const std::vector<Candidate> candidates = {
      {"forward",
       [&](cudaStream_t stream, int) {
         INTARSIA_BENCH_CUDA(Sm90RetentionForward(p.backward.forward, stream));
       }},
      {"backward", [&](cudaStream_t stream, int) {
         INTARSIA_BENCH_CUDA(Sm90RetentionBackward(p.backward, stream));
       }}};
  TimingOptions timing;
  timing.rounds = options.rounds;
  const std::vector<Timing> times = TimeInterleaved(candidates, timing);
  for (size_t i = 0; i < times.size(); ++i) {
    // What no way of computing it in chunks can avoid: the state is read and
    // updated (4 K V a token and walk), each tensor moves once.
    const double walks = i == 0 ? 1 : 3;
    const double flops =
        4.0 * walks * p.cu.back() * s.heads * s.key_dim * s.value_dim;
    const double bytes = (i == 0 ? 4.0 * (s.key_dim + s.value_dim)
                                 : 8.0 * s.key_dim + 6.0 * s.value_dim) *
                         p.cu.back() * s.heads;
    report->Line({Report::Str("time", s.name),
                  Report::Str("pass", candidates[i].name),
                  Report::Num("us", times[i].median_us),
                  Report::Num("min_us", times[i].min_us),
                  Report::Num("p90_us", times[i].p90_us),
                  Report::Num("tflops", flops / times[i].median_us * 1e-6),
                  Report::Num("gb_s", bytes / times[i].median_us * 1e-3)});
  }
}

}  // namespace

void RetentionFamily(const Options& options, Report* report) {
  if (options.check) {
    for (const Shape& shape : CheckShapes(options.quick)) {
      if (shape.name.find(options.only) == std::string::npos) continue;
      Check(shape, options, report);
    }
  }
  if (!options.time) return;
  for (const Shape& shape : TimeShapes(options.quick)) {
    if (shape.name.find(options.shape) == std::string::npos) continue;
    if (SecondsSinceStart() > options.budget_s) return;
    Time(shape, options, report);
  }
}

}  // namespace intarsia::bench
