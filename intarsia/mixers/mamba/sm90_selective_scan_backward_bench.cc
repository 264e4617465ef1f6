// The gradients of Mamba-1's selective scan, against the chain rule in double.
#include "intarsia/mixers/mamba/sm90_selective_scan_backward.h"

#include <cmath>
#include <memory>

#include "intarsia/mixers/mamba/sm90_selective_scan_bench.h"

namespace intarsia::bench {
namespace {

constexpr int kN = kScanStateDim;

struct Problem {
  Problem(const ScanShape& s, Sm90ScanBackwardPath path, uint64_t seed)
      : base(s, seed) {
    const size_t n = base.x.size(), nbc = base.b.size();
    dout = NormalBuffer<__nv_bfloat16>(n, seed * 16 + 9);
    dfinal = NormalBuffer<float>(base.state.size(), seed * 16 + 10);
    for (auto* buffer : {&dx, &ddt, &dz}) *buffer = Bf16Buffer(n);
    for (auto* buffer : {&db, &dc}) *buffer = Bf16Buffer(nbc);
    da = FloatBuffer(base.a.size());
    dd = FloatBuffer(s.channels);
    dbias = FloatBuffer(s.channels);
    dstate = FloatBuffer(base.state.size());
    base.SetInputs(&args);
    args.dout = dout.data();
    args.dx = dx.data();
    args.ddt = ddt.data();
    args.dz = dz.data();
    args.db = db.data();
    args.dc = dc.data();
    args.da = da.data();
    args.dd = dd.data();
    args.ddt_bias = dbias.data();
    if (s.state) {
      args.state = base.state.data();
      args.dfinal_state = dfinal.data();
      args.dstate = dstate.data();
    }
    args.dout_stride = args.dx_stride = args.ddt_stride = args.dz_stride =
        s.channels;
    args.db_stride = args.dc_stride = kN;
    args.max_seqlen = static_cast<int>(s.longest());
    args.path = path;
    workspace = DeviceBuffer<char>(Sm90SelectiveScanBackwardWorkspace(args));
    args.workspace = workspace.data();
  }
  void Launch(cudaStream_t stream) const {
    Ensure(LaunchSm90SelectiveScanBackward(args, stream),
           "selective scan backward");
  }
  ScanProblem base;
  Sm90SelectiveScanBackwardArgs args;
  Bf16Buffer dout, dx, ddt, dz, db, dc;
  FloatBuffer dfinal, da, dd, dbias, dstate;
  DeviceBuffer<char> workspace;
};

// Sums over channels or tokens, of the whole problem.
struct Sums {
  explicit Sums(const Problem& p)
      : db(p.db.size()),
        dc(p.dc.size()),
        da(p.da.size()),
        dd(p.dd.size()),
        dbias(p.dbias.size()) {}
  std::vector<double> db, dc, da, dd, dbias;
};

struct Errors {
  ErrorNorm dx, ddt, dz, dstate;
};

// One channel of one sequence, forward and then back, by the chain rule.
class Channel {
 public:
  Channel(const Problem& p, const ScanPart& part)
      : p_(p),
        part_(part),
        dout_(part.Gather(p.dout)),
        dx_(part.Gather(p.dx)),
        ddt_(part.Gather(p.ddt)),
        dz_(part.Gather(p.dz)),
        dfinal_(part.GatherState(p.dfinal)),
        dstate_(part.GatherState(p.dstate)) {}

  void Compare(int i, Errors* errors, Sums* sums) const {
    const ScanShape& s = p_.base.shape;
    const std::vector<double> h = part_.States(i);
    const int channel = part_.first + i;
    double dh[kN] = {};
    for (int n = 0; s.state && n < kN; ++n) dh[n] = dfinal_[i * kN + n];
    for (int t = part_.length - 1; t >= 0; --t) {
      const size_t at = size_t(t) * part_.channels + i;
      const size_t row = size_t(part_.begin + t) * kN;
      const double d = part_.Step(t, i), x = part_.x[at], z = part_.z[at];
      const double sigmoid = 1 / (1 + std::exp(-z));
      const double dy = dout_[at] * (s.z ? z * sigmoid : 1.0);
      double dd = 0, dx = dy * part_.d[i];
      for (int n = 0; n < kN; ++n) {
        const double a = part_.a[i * kN + n], e = std::exp(d * a);
        const double b = part_.b[size_t(t) * kN + n];
        const double before = h[size_t(t) * kN + n];
        sums->dc[row + n] += dy * h[size_t(t + 1) * kN + n];
        dh[n] += dy * part_.c[size_t(t) * kN + n];
        sums->db[row + n] += dh[n] * d * x;
        dx += dh[n] * d * b;
        dd += dh[n] * (b * x + a * e * before);
        sums->da[channel * kN + n] += dh[n] * d * e * before;
        dh[n] *= e;
      }
      const double v = double{part_.dt[at]} + part_.bias[i];
      const double ddt = s.softplus ? dd / (1 + std::exp(-v)) : dd;
      errors->dx.Add(dx_[at], dx);
      errors->ddt.Add(ddt_[at], ddt);
      sums->dbias[channel] += ddt;
      sums->dd[channel] += dy * x;
      if (!s.z) continue;
      errors->dz.Add(dz_[at], dout_[at] * part_.Output(t, i, h) * sigmoid *
                                  (1 + z * (1 - sigmoid)));
    }
    for (int n = 0; s.state && n < kN; ++n) {
      errors->dstate.Add(dstate_[i * kN + n], dh[n]);
    }
  }

 private:
  const Problem& p_;
  const ScanPart& part_;
  std::vector<float> dout_, dx_, ddt_, dz_, dfinal_, dstate_;
};

std::vector<OutputError> Compare(const Problem& p) {
  p.Launch(nullptr);
  const ScanShape& s = p.base.shape;
  Errors errors;
  Sums sums(p);
  for (const ScanPart& part : ScanParts(p.base)) {
    const Channel channel(p, part);
    for (int i = 0; i < part.channels; ++i) channel.Compare(i, &errors, &sums);
  }
  // bf16 results round by 1.7e-3; fp32 ones see the arithmetic alone.
  std::vector<OutputError> all = {errors.dx.Relative("dx", 3e-3),
                                  errors.ddt.Relative("ddt", 3e-3)};
  if (s.z) all.push_back(errors.dz.Relative("dz", 3e-3));
  if (s.state) all.push_back(errors.dstate.Relative("dstate", 1e-5));
  if (IsComplete(s)) {
    const auto sum = [&](const char* what, const std::vector<float>& got,
                         const std::vector<double>& want, double tolerance) {
      ErrorNorm error;
      error.Add(got, want);
      all.push_back(error.Relative(what, tolerance));
    };
    sum("dB", Rows(p.db.data(), 1, 0, p.db.size()), sums.db, 4e-3);
    sum("dC", Rows(p.dc.data(), 1, 0, p.dc.size()), sums.dc, 4e-3);
    sum("dA", p.da.Download(), sums.da, 1e-4);
    sum("dD", p.dd.Download(), sums.dd, 1e-5);
    sum("dbias", p.dbias.Download(), sums.dbias, 1e-4);
  }
  // Once more, in a workspace that now holds other numbers.
  const auto bits = [&] {
    return Fingerprint(p.da) + Fingerprint(p.db) + Fingerprint(p.dx);
  };
  const uint64_t once = bits();
  for (const Bf16Buffer* buffer : {&p.dx, &p.db}) buffer->Poison();
  p.da.Poison();
  p.Launch(nullptr);
  all.push_back(Holds("the same bits again", bits() == once));
  return all;
}

GpuCase MakeCase(const ScanShape& s, Sm90ScanBackwardPath path) {
  GpuCase c;
  c.name = "mamba.sm90.selective_scan_backward";
  if (path == Sm90ScanBackwardPath::kChunks) c.name += ".chunks";
  if (path == Sm90ScanBackwardPath::kWalk) c.name += ".walk";
  c.shape = s.Name();
  // x, dt, dout and their gradients; z and its.
  c.bytes = (s.z ? 14.0 : 10.0) * static_cast<double>(s.tokens()) * s.channels;
  c.use = s.use;
  if (path != Sm90ScanBackwardPath::kChoose && c.use == GpuCase::Use::kTable) {
    c.use = GpuCase::Use::kTimed;
  }
  c.prepare = [s, path](uint64_t seed) {
    const auto p = std::make_shared<const Problem>(s, path, seed);
    return GpuCase::Ready{[p](cudaStream_t stream) { p->Launch(stream); },
                          [p] { return Compare(*p); }};
  };
  return c;
}

}  // namespace

std::vector<GpuCase> sm90_selective_scan_backward(bool quick) {
  std::vector<GpuCase> cases;
  for (const ScanShape& s : ScanShape::All(quick)) {
    const bool timed = s.use != GpuCase::Use::kChecked;
    if (timed && !s.z) continue;
    if (timed) cases.push_back(MakeCase(s, Sm90ScanBackwardPath::kChoose));
    cases.push_back(MakeCase(s, Sm90ScanBackwardPath::kChunks));
    cases.push_back(MakeCase(s, Sm90ScanBackwardPath::kWalk));
  }
  return cases;
}

}  // namespace intarsia::bench
