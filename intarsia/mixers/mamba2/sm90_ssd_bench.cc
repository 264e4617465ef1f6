// The SSD of Mamba-2, forward and backward, against the recurrence in double.
// bench/peers/mamba_ssm_ssd.py times it beside mamba-ssm.
#include "intarsia/mixers/mamba2/sm90_ssd_bench.h"

#include <algorithm>
#include <memory>

namespace intarsia::bench {
namespace {

constexpr double kTolerance = 1e-2;
// Sums over all tokens, whose terms largely cancel.
constexpr double kSumTolerance = 3e-2;

// Small problems are compared as a whole, of others a few heads.
bool IsComplete(const SsdShape& s) { return s.tokens() * s.heads < 40000; }

// The recurrence of all heads of all sequences, or of four.
std::vector<SsdHead> References(const SsdProblem& p, bool gradients) {
  const int64_t items =
      static_cast<int64_t>(p.shape.lengths.size()) * p.shape.heads;
  std::vector<SsdHead> heads;
  for (const int64_t item : Sample(items, IsComplete(p.shape) ? items : 4)) {
    const int sequence = static_cast<int>(item / p.shape.heads);
    if (p.shape.poisoned && sequence == 1) continue;
    heads.emplace_back(p, sequence, static_cast<int>(item % p.shape.heads));
  }
  InParallel(heads.size(), [&](int64_t i) { heads[i].Run(gradients); });
  return heads;
}

void LaunchForward(const SsdProblem& p, cudaStream_t stream) {
  Ensure(Sm90SsdForward(p.args, stream), "SSD forward");
}

std::vector<OutputError> CompareForward(const SsdProblem& p) {
  LaunchForward(p, nullptr);
  ErrorNorm y, state;
  for (const SsdHead& head : References(p, false)) {
    y.Add(head.Narrow(p.y), head.y);
    if (p.shape.state) state.Add(head.State(p.final_state), head.final_state);
  }
  std::vector<OutputError> errors = {y.Relative("y", kTolerance)};
  if (p.shape.state) errors.push_back(state.Relative("state", kTolerance));
  return errors;
}

// A problem with its gradients.
struct BackwardProblem {
  BackwardProblem(const SsdShape& s, uint64_t seed)
      : base(s, seed),
        dx(base.x.size()),
        db(base.b.size()),
        dc(base.c.size()),
        ddt(base.dt.size()),
        da(s.heads),
        dd(s.heads),
        dbias(s.heads),
        dstate(base.initial.size()) {
    args.forward = base.args;
    args.dy = base.dy.data();
    args.final_gradient = s.state ? base.dstate.data() : nullptr;
    args.dx = dx.data();
    args.db = db.data();
    args.dc = dc.data();
    args.ddt = ddt.data();
    args.da = da.data();
    args.dd = dd.data();
    args.ddt_bias = dbias.data();
    args.initial_gradient = dstate.data();
    args.dy_stride = args.dx_stride = base.args.x_stride;
    args.db_stride = args.dc_stride = base.args.b_stride;
    args.ddt_stride = s.heads;
    workspace = DeviceBuffer<uint8_t>(Sm90SsdBackwardWorkspace(args));
    args.workspace = workspace.data();
  }
  void Launch(cudaStream_t stream) const {
    Ensure(Sm90SsdBackward(args, stream), "SSD backward");
  }
  uint64_t Bits() const {
    return Fingerprint(dx) + Fingerprint(db) + Fingerprint(dc) +
           Fingerprint(ddt) + Fingerprint(da) + Fingerprint(dstate);
  }
  SsdProblem base;
  Bf16Buffer dx, db, dc;
  FloatBuffer ddt, da, dd, dbias, dstate;
  DeviceBuffer<uint8_t> workspace;
  Sm90SsdBackwardArgs args;
};

// Sums over heads and over tokens, where all heads were computed.
void CompareSums(const BackwardProblem& p, const std::vector<SsdHead>& heads,
                 std::vector<OutputError>* errors) {
  const SsdShape& s = p.base.shape;
  const size_t n = s.state_dim;
  ErrorNorm db_error, dc_error;
  std::vector<double> da(s.heads), dd(s.heads), dbias(s.heads);
  std::vector<double> db, dc;
  for (size_t i = 0; i < heads.size(); ++i) {
    const SsdHead& head = heads[i];
    da[head.head] += head.da;
    dd[head.head] += head.dd;
    dbias[head.head] += head.dbias;
    // Heads of one sequence and group follow one another.
    db.resize(head.length * n);
    dc.resize(head.length * n);
    std::transform(db.begin(), db.end(), head.db.begin(), db.begin(),
                   std::plus<>());
    std::transform(dc.begin(), dc.end(), head.dc.begin(), dc.begin(),
                   std::plus<>());
    if ((head.head + 1) % (s.heads / s.groups) != 0) continue;
    db_error.Add(head.Wide(p.db), db);
    dc_error.Add(head.Wide(p.dc), dc);
    db.clear();
    dc.clear();
  }
  errors->push_back(db_error.Relative("dB", kTolerance));
  errors->push_back(dc_error.Relative("dC", kTolerance));
  if (s.poisoned) return;  // sums over all sequences
  const auto sum = [&](const char* what, const FloatBuffer& got,
                       const std::vector<double>& want) {
    ErrorNorm error;
    error.Add(got.Download(), want);
    errors->push_back(error.Relative(what, kSumTolerance));
  };
  sum("dA", p.da, da);
  sum("dD", p.dd, dd);
  sum("d bias", p.dbias, dbias);
}

std::vector<OutputError> CompareBackward(const BackwardProblem& p) {
  p.Launch(nullptr);
  const std::vector<SsdHead> heads = References(p.base, true);
  ErrorNorm dx, ddt, dstate;
  for (const SsdHead& head : heads) {
    dx.Add(head.Narrow(p.dx), head.dx);
    ddt.Add(head.Steps(p.ddt), head.ddt);
    dstate.Add(head.State(p.dstate), head.dstate);
  }
  std::vector<OutputError> errors = {
      dx.Relative("dx", kTolerance), ddt.Relative("ddt", kTolerance),
      dstate.Relative("initial state", kTolerance)};
  if (IsComplete(p.base.shape)) CompareSums(p, heads, &errors);
  const uint64_t once = p.Bits();
  p.dx.Poison();
  p.ddt.Poison();
  p.da.Poison();
  p.Launch(nullptr);
  errors.push_back(Holds("the same bits again", p.Bits() == once));
  return errors;
}

std::vector<SsdShape> Shapes(bool quick) {
  using Use = GpuCase::Use;
  const std::vector<int> ragged = {1, 0, 63, 64, 65, 200};
  std::vector<SsdShape> shapes = {
      {{64}, 2, 1, 128, 1, 16, false, false},
      {{128}, 2, 1, 128, 1, 16, false, false},
      {{65, 130}, 3},
      {ragged, 4},
      {{100, 70, 90}, 4, 2, 128, 1, 16, true, true, true},
      {{100, 200}, 4, 2, 64},
  };
  SsdShape timed;
  timed.use = Use::kTable;
  if (quick) {
    timed.heads = 8;
    timed.lengths.assign(2, 1024);
    shapes.push_back(timed);
    return shapes;
  }
  shapes.push_back({{1000}, 4, 1, 128, 0.01f, 1, true, false});      // slow
  shapes.push_back({{1000, 65}, 4, 1, 128, 100, 2000, true, true});  // fast
  shapes.push_back({{4160, 300}, 2, 1, 128, 0.1f, 16, true, true});
  shapes.push_back({{2500}, 1, 1, 64, 0.1f, 16, true, true});
  shapes.push_back({std::vector<int>(40, 33), 8, 8, 128, 1, 16, true, false});
  timed.heads = 64;
  timed.lengths.assign(8, 4096);
  shapes.push_back(timed);
  timed.lengths.assign(1, 32768);
  shapes.push_back(timed);
  return shapes;
}

}  // namespace

std::vector<GpuCase> sm90_ssd(bool quick) {
  std::vector<GpuCase> forward, backward;
  for (const SsdShape& s : Shapes(quick)) {
    const double tokens = static_cast<double>(s.tokens());
    const double wide = tokens * s.groups * s.state_dim;
    const double narrow = tokens * s.heads * SsdProblem::kHeadDim;
    GpuCase c;
    c.name = "mamba2.sm90.ssd_forward";
    c.shape = s.Name();
    c.use = s.use;
    c.bytes = 4 * narrow + 4 * wide + 4 * tokens * s.heads;
    // What no way of computing it in chunks can avoid: the state is read and
    // updated.
    c.flops = 4 * narrow * s.state_dim;
    c.prepare = [s](uint64_t seed) {
      const auto p = std::make_shared<const SsdProblem>(s, seed);
      return GpuCase::Ready{
          [p](cudaStream_t stream) { LaunchForward(*p, stream); },
          [p] { return CompareForward(*p); }};
    };
    forward.push_back(c);
    c.name = "mamba2.sm90.ssd_backward";
    c.bytes = 6 * narrow + 8 * wide + 8 * tokens * s.heads;
    c.flops *= 3;  // and so is its gradient
    c.prepare = [s](uint64_t seed) {
      const auto p = std::make_shared<const BackwardProblem>(s, seed);
      return GpuCase::Ready{[p](cudaStream_t stream) { p->Launch(stream); },
                            [p] { return CompareBackward(*p); }};
    };
    backward.push_back(c);
  }
  forward.insert(forward.end(), backward.begin(), backward.end());
  return forward;
}

}  // namespace intarsia::bench
