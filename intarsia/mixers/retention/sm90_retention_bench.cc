// Retention, forward and backward: results and gradients against the
// recurrence in double. bench/peers/fla_retention.py times them beside
// flash-linear-attention.
#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>

#include "intarsia/cuda/bench/device_data.h"
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
  GpuCase::Use use = GpuCase::Use::kChecked;

  double rows() const {
    double tokens = 0;
    for (const int length : lengths) tokens += length;
    return tokens * heads;
  }
};

std::vector<Shape> Shapes(bool quick) {
  using Use = GpuCase::Use;
  const std::vector<int> ragged = {1, 63, 0, 64, 65, 200};
  std::vector<Shape> shapes = {
      {"one chunk", {64}, 1, 256, 512},
      {"two chunks", {128}, 1, 256, 512, false, true},
      {"ragged", ragged, 2, 256, 512, false, true},
      {"ragged fast", ragged, 2, 128, 128, true, true},
  };
  const auto timed = [&](const char* name, std::vector<int> lengths, int heads,
                         int key_dim, int value_dim, Use use) {
    shapes.push_back({name, std::move(lengths), heads, key_dim, value_dim,
                      false, false, false, use});
  };
  if (quick) {
    timed("B2 T1024", {1024, 1024}, 4, 256, 512, Use::kTable);
    return shapes;
  }
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
  timed("B8 T4096", std::vector<int>(8, 4096), 8, 256, 512, Use::kTable);
  timed("B1 T32768", {32768}, 8, 256, 512, Use::kTable);
  timed("B8 T4096", std::vector<int>(8, 4096), 16, 128, 128, Use::kTimed);
  timed("ragged, 32768 tokens", {9000, 100, 3000, 17, 12000, 900, 7751}, 8, 256,
        512, Use::kTimed);
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
    const int64_t rows = cu.back(), h = s.heads, kd = s.key_dim,
                  vd = s.value_dim;
    const int64_t columns = s.fused ? 2 * kd + vd : kd;
    seed *= 8;
    // NaN behind the last row, where a kernel must not look for numbers.
    q = Bf16Buffer((rows + 64) * h * columns);
    FillNormal(q.data(), rows * h * columns, seed);
    a.q = q.data();
    a.q_row_stride = a.k_row_stride = a.v_row_stride = h * columns;
    a.q_head_stride = a.k_head_stride = a.v_head_stride = columns;
    if (s.fused) {
      a.k = a.q + kd;
      a.v = a.q + 2 * kd;
    } else {
      k = NormalBuffer<__nv_bfloat16>(rows * h * kd, seed + 1);
      v = NormalBuffer<__nv_bfloat16>(rows * h * vd, seed + 2);
      a.k = k.data();
      a.v = v.data();
      a.v_row_stride = h * vd;
      a.v_head_stride = vd;
    }
    dout = NormalBuffer<__nv_bfloat16>(rows * h * vd, seed + 3);
    out = Bf16Buffer(rows * h * vd);
    dq = Bf16Buffer(rows * h * kd);
    dk = Bf16Buffer(rows * h * kd);
    dv = Bf16Buffer(rows * h * vd);
    cu_device = DeviceBuffer<int32_t>(cu);
    for (int i = 0; i < s.heads; ++i) {
      log_decays.push_back(s.fast ? std::log(0.3f + 0.3f * i)
                                  : std::log1p(-std::exp2(-5.0f - i)));
    }
    if (s.fast && s.heads > 2) {
      log_decays[2] = -std::numeric_limits<float>::infinity();
    }
    log_decay = FloatBuffer(log_decays);
    if (s.states) {
      const int64_t count = s.lengths.size() * h * kd * vd;
      initial = NormalBuffer<float>(count, seed + 4);
      dfinal = NormalBuffer<float>(count, seed + 5);
      final_state = FloatBuffer(count);
      dinitial = FloatBuffer(count);
      a.initial_state = initial.data();
      a.final_state = final_state.data();
      backward.dfinal_state = dfinal.data();
      backward.dinitial_state = dinitial.data();
    }
    a.out = out.data();
    a.out_row_stride = h * vd;
    a.out_head_stride = vd;
    a.log_decay = log_decay.data();
    a.cu_seqlens = cu_device.data();
    a.sequences = static_cast<int>(s.lengths.size());
    a.total = cu.back();
    a.heads = s.heads;
    a.key_dim = s.key_dim;
    a.value_dim = s.value_dim;
    a.scale = 1 / std::sqrt(static_cast<float>(kd));
    workspace = DeviceBuffer<char>(Sm90RetentionWorkspace(a));
    a.workspace = workspace.data();
    backward.dout = dout.data();
    backward.dq = dq.data();
    backward.dk = dk.data();
    backward.dv = dv.data();
    backward.dout_row_stride = backward.dv_row_stride = h * vd;
    backward.dout_head_stride = backward.dv_head_stride = vd;
    backward.dq_row_stride = backward.dk_row_stride = h * kd;
    backward.dq_head_stride = backward.dk_head_stride = kd;
  }
  void LaunchForward(cudaStream_t stream) const {
    Ensure(Sm90RetentionForward(backward.forward, stream), "retention forward");
  }
  void LaunchBackward(cudaStream_t stream) const {
    Ensure(Sm90RetentionBackward(backward, stream), "retention backward");
  }
  Shape shape;
  Sm90RetentionBackwardArgs backward;
  std::vector<int32_t> cu{0};
  std::vector<float> log_decays;
  Bf16Buffer q, k, v, out, dout, dq, dk, dv;
  FloatBuffer log_decay, initial, final_state, dfinal, dinitial;
  DeviceBuffer<int32_t> cu_device;
  DeviceBuffer<char> workspace;
};

// Some adjacent rows and columns of the state of one head of one sequence. A
// column of the state depends on a column of v (or dout) alone, a row on a
// column of k (or q): what sums over all rows can be computed for few columns,
// and the other way round.
struct Block {
  int sequence, head, row, rows, column, columns;
};

// All blocks of small problems. Of others, for three heads, eight columns over
// all rows and four rows over all columns.
std::vector<Block> Blocks(const Shape& s) {
  const int64_t items = static_cast<int64_t>(s.lengths.size()) * s.heads;
  std::vector<Block> blocks;
  const bool all = s.use == GpuCase::Use::kChecked;
  for (const int64_t item : Sample(items, all ? items : 3)) {
    const int b = static_cast<int>(item / s.heads);
    const int h = static_cast<int>(item % s.heads);
    if (all) {
      blocks.push_back({b, h, 0, s.key_dim, 0, s.value_dim});
    } else {
      const int at = static_cast<int>(item * 37);
      blocks.push_back({b, h, 0, s.key_dim, at % (s.value_dim - 8), 8});
      blocks.push_back({b, h, at % (s.key_dim - 4), 4, 0, s.value_dim});
    }
  }
  return blocks;
}

// Part of a tensor [total, heads, dim]: one head of one sequence.
std::vector<float> Slice(const Problem& p, const Block& b,
                         const __nv_bfloat16* from, int64_t row_stride,
                         int64_t head_stride, int first, int count) {
  return Rows(
      from + p.cu[b.sequence] * row_stride + b.head * head_stride + first,
      p.cu[b.sequence + 1] - p.cu[b.sequence], row_stride, count);
}

std::vector<float> StateSlice(const Problem& p, const Block& b,
                              const FloatBuffer& states) {
  const int64_t k = p.shape.key_dim, v = p.shape.value_dim;
  const int64_t index = int64_t{b.sequence} * p.shape.heads + b.head;
  return Rows(states.data() + (index * k + b.row) * v + b.column, b.rows, v,
              b.columns);
}

// What one walk over the tokens of a block gives.
struct Walked {
  std::vector<double> by_column;  // [T][columns]: out, or dv backward
  std::vector<double> by_row;     // [T][rows]: dq, or dk backward
  std::vector<double> state;      // at the end; or the initial one's gradient
};

// S = g S + k^T v from the first token to the last, or, in reverse, the
// gradient of S with q and dout in the places of k and v.
Walked Walk(const Problem& p, const Block& b, bool reverse) {
  const Sm90RetentionForwardArgs& a = p.backward.forward;
  const std::vector<float> q =
      Slice(p, b, a.q, a.q_row_stride, a.q_head_stride, b.row, b.rows);
  const std::vector<float> k =
      Slice(p, b, a.k, a.k_row_stride, a.k_head_stride, b.row, b.rows);
  const std::vector<float> v =
      Slice(p, b, a.v, a.v_row_stride, a.v_head_stride, b.column, b.columns);
  const std::vector<float> dout =
      Slice(p, b, p.backward.dout, p.backward.dout_row_stride,
            p.backward.dout_head_stride, b.column, b.columns);
  const int length = p.cu[b.sequence + 1] - p.cu[b.sequence];
  const double decay = std::exp(double{p.log_decays[b.head]});
  const double scale = a.scale, out_scale = reverse ? 1 : scale;
  Walked w;
  w.by_column.resize(size_t(length) * b.columns);
  w.by_row.resize(size_t(length) * b.rows);
  w.state.resize(size_t(b.rows) * b.columns);
  if (p.shape.states) {
    const std::vector<float> given =
        StateSlice(p, b, reverse ? p.dfinal : p.initial);
    w.state.assign(given.begin(), given.end());
  }
  for (int step = 0; step < length; ++step) {
    const int t = reverse ? length - 1 - step : step;
    const float* right = &(reverse ? dout : v)[size_t(t) * b.columns];
    const float* other = &(reverse ? v : dout)[size_t(t) * b.columns];
    double* column = &w.by_column[size_t(t) * b.columns];
    for (int i = 0; i < b.rows; ++i) {
      const size_t at = size_t(t) * b.rows + i;
      const double left = reverse ? scale * q[at] : k[at];
      const double read = reverse ? k[at] : q[at];
      double* s = &w.state[size_t(i) * b.columns];
      double sum = 0;
      for (int j = 0; j < b.columns; ++j) {
        s[j] = (reverse ? s[j] : decay * s[j]) + left * right[j];
        column[j] += out_scale * read * s[j];
        sum += s[j] * other[j];
        if (reverse) s[j] *= decay;
      }
      w.by_row[at] = out_scale * sum;
    }
  }
  return w;
}

std::vector<OutputError> Compare(const Problem& p, bool gradients) {
  p.LaunchForward(nullptr);
  if (gradients) p.LaunchBackward(nullptr);
  const std::vector<Block> blocks = Blocks(p.shape);
  std::vector<Walked> forward(blocks.size()), reverse(blocks.size());
  InParallel(blocks.size(), [&](int64_t i) {
    forward[i] = Walk(p, blocks[i], false);
    if (gradients) reverse[i] = Walk(p, blocks[i], true);
  });
  const int64_t kd = p.shape.key_dim, vd = p.shape.value_dim;
  const auto narrow = [&](const Block& b, const Bf16Buffer& tensor) {
    return Slice(p, b, tensor.data(), p.shape.heads * kd, kd, b.row, b.rows);
  };
  const auto wide = [&](const Block& b, const Bf16Buffer& tensor) {
    return Slice(p, b, tensor.data(), p.shape.heads * vd, vd, b.column,
                 b.columns);
  };
  ErrorNorm out, final_state, dq, dk, dv, dinitial;
  for (size_t i = 0; i < blocks.size(); ++i) {
    const Block& b = blocks[i];
    const bool columns = b.rows == kd, rows = b.columns == vd;
    if (!gradients) {
      if (columns) out.Add(wide(b, p.out), forward[i].by_column);
      if (p.shape.states) {
        final_state.Add(StateSlice(p, b, p.final_state), forward[i].state);
      }
      continue;
    }
    if (rows) dq.Add(narrow(b, p.dq), forward[i].by_row);
    if (rows) dk.Add(narrow(b, p.dk), reverse[i].by_row);
    if (columns) dv.Add(wide(b, p.dv), reverse[i].by_column);
    if (p.shape.states) {
      dinitial.Add(StateSlice(p, b, p.dinitial), reverse[i].state);
    }
  }
  // bf16 rounds the states and scores that go through the tensor cores, and
  // the results.
  constexpr double kTolerance = 1e-2;
  std::vector<OutputError> errors;
  if (!gradients) {
    errors = {out.Relative("out", kTolerance)};
    if (p.shape.states) {
      errors.push_back(final_state.Relative("final state", kTolerance));
    }
    return errors;
  }
  errors = {dq.Relative("dq", kTolerance), dk.Relative("dk", kTolerance),
            dv.Relative("dv", kTolerance)};
  if (p.shape.states) {
    errors.push_back(dinitial.Relative("initial state", kTolerance));
  }
  return errors;
}

GpuCase MakeCase(const Shape& s, bool backward) {
  GpuCase c;
  c.name = backward ? "retention.sm90.backward" : "retention.sm90.forward";
  c.shape = s.name + " H" + std::to_string(s.heads) + " K" +
            std::to_string(s.key_dim) + " V" + std::to_string(s.value_dim);
  c.use = s.use;
  // What no way of computing it in chunks can avoid: the state is read and
  // updated (4 K V a token and walk), each tensor moves once.
  c.flops = (backward ? 12.0 : 4.0) * s.rows() * s.key_dim * s.value_dim;
  c.bytes = s.rows() * (backward ? 8.0 * s.key_dim + 6.0 * s.value_dim
                                 : 4.0 * s.key_dim + 4.0 * s.value_dim);
  c.prepare = [s, backward](uint64_t seed) {
    const auto p = std::make_shared<const Problem>(s, seed);
    return GpuCase::Ready{[p, backward](cudaStream_t stream) {
                            backward ? p->LaunchBackward(stream)
                                     : p->LaunchForward(stream);
                          },
                          [p, backward] { return Compare(*p, backward); }};
  };
  return c;
}

}  // namespace

std::vector<GpuCase> sm90_retention(bool quick) {
  std::vector<GpuCase> cases;
  for (const bool backward : {false, true}) {
    for (const Shape& s : Shapes(quick)) {
      cases.push_back(MakeCase(s, backward));
    }
  }
  return cases;
}

}  // namespace intarsia::bench
