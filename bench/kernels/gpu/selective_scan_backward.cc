// The gradients of Mamba-1's selective scan; beside another implementation, if
// the variable INTARSIA_SCAN_PEER names a shared library that exports it as
// SelectiveScanBackwardPeer with the type PeerFn below.
#include "intarsia/mixers/mamba/sm90_selective_scan_backward.h"

#include <dlfcn.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <string>
#include <vector>

#include "bench/kernels/gpu/memory_bound.h"

namespace intarsia::bench {
namespace {

constexpr int kN = 16;
constexpr char kFamily[] = "selective_scan_backward";

struct Shape {
  std::vector<int> lengths;
  int channels;
  bool z, state, softplus;
};

struct Inputs {
  std::vector<float> x, dt, z, dout, b, c, a, d, bias, state, dfinal;
  std::vector<int32_t> cu;
};

struct Gradients {
  std::vector<double> dx, ddt, dz, db, dc, da, dd, dbias, dstate;
};

// Steps from 0.001 to 1 and more, A of both slow and fast decays.
Inputs MakeInputs(const Shape& s, uint64_t seed) {
  Inputs in;
  in.cu = {0};
  for (const int length : s.lengths) in.cu.push_back(in.cu.back() + length);
  const size_t n = size_t(in.cu.back()) * s.channels;
  const size_t nbc = size_t(in.cu.back()) * kN;
  const size_t states = s.lengths.size() * s.channels * kN;
  in.x = RandomBf16(n, seed);
  in.dt = RandomBf16(n, seed + 1, s.softplus ? 1.5f : 0.2f);
  if (!s.softplus) {
    for (float& value : in.dt) value = std::fabs(value);
  }
  in.z = RandomBf16(n, seed + 2);
  in.dout = RandomBf16(n, seed + 3);
  in.b = RandomBf16(nbc, seed + 4);
  in.c = RandomBf16(nbc, seed + 5);
  in.a = RandomNormal(size_t(s.channels) * kN, seed + 6);
  for (float& value : in.a) value = -std::exp(1.5f * value);
  in.d = RandomNormal(s.channels, seed + 7);
  in.bias = RandomNormal(s.channels, seed + 8);
  for (float& value : in.bias) value = s.softplus ? value - 2 : 0.01f;
  in.state = RandomNormal(states, seed + 9);
  in.dfinal = RandomNormal(states, seed + 10);
  return in;
}

// One channel of one sequence, forward and then back, by the chain rule.
void ReferenceChannel(const Shape& s, const Inputs& in, size_t q, int c,
                      Gradients* g) {
  const int begin = in.cu[q], end = in.cu[q + 1];
  const size_t own = (q * s.channels + c) * kN;
  std::vector<double> h(size_t(end - begin + 1) * kN, 0.0);
  const auto step = [&](int t) {
    const double v = double(in.dt[size_t(t) * s.channels + c]) + in.bias[c];
    return s.softplus ? SoftplusReference(v) : v;
  };
  for (int n = 0; s.state && n < kN; ++n) h[n] = in.state[own + n];
  for (int t = begin; t < end; ++t) {
    const double d = step(t), x = in.x[size_t(t) * s.channels + c];
    for (int n = 0; n < kN; ++n) {
      const size_t at = size_t(t - begin) * kN + n;
      h[at + kN] = std::exp(d * in.a[c * kN + n]) * h[at] +
                   d * in.b[size_t(t) * kN + n] * x;
    }
  }
  double dh[kN] = {};
  for (int n = 0; s.state && n < kN; ++n) dh[n] = in.dfinal[own + n];
  for (int t = end - 1; t >= begin; --t) {
    const size_t at = size_t(t) * s.channels + c;
    const double d = step(t), x = in.x[at], z = in.z[at];
    const double sigmoid = 1 / (1 + std::exp(-z));
    const double dy = in.dout[at] * (s.z ? z * sigmoid : 1.0);
    double y = in.d[c] * x, dd = 0, dx = dy * in.d[c];
    for (int n = 0; n < kN; ++n) {
      const double a = in.a[c * kN + n], e = std::exp(d * a);
      const double b = in.b[size_t(t) * kN + n];
      const double* now = &h[size_t(t - begin + 1) * kN + n];
      y += in.c[size_t(t) * kN + n] * *now;
      g->dc[size_t(t) * kN + n] += dy * *now;
      dh[n] += dy * in.c[size_t(t) * kN + n];
      g->db[size_t(t) * kN + n] += dh[n] * d * x;
      dx += dh[n] * d * b;
      dd += dh[n] * (b * x + a * e * now[-kN]);
      g->da[c * kN + n] += dh[n] * d * e * now[-kN];
      dh[n] *= e;
    }
    const double v = double(in.dt[at]) + in.bias[c];
    const double ddt = s.softplus ? dd / (1 + std::exp(-v)) : dd;
    g->dx[at] = dx;
    g->ddt[at] = ddt;
    g->dbias[c] += ddt;
    g->dd[c] += dy * x;
    g->dz[at] = in.dout[at] * y * sigmoid * (1 + z * (1 - sigmoid));
  }
  for (int n = 0; n < kN; ++n) g->dstate[own + n] = dh[n];
}

Gradients Reference(const Shape& s, const Inputs& in) {
  Gradients g;
  g.dx.assign(in.x.size(), 0);
  g.ddt = g.dz = g.dx;
  g.db.assign(in.b.size(), 0);
  g.dc = g.db;
  g.da.assign(in.a.size(), 0);
  g.dd.assign(s.channels, 0);
  g.dbias = g.dd;
  g.dstate.assign(in.state.size(), 0);
  for (size_t q = 0; q < s.lengths.size(); ++q) {
    for (int c = 0; c < s.channels; ++c) ReferenceChannel(s, in, q, c, &g);
  }
  return g;
}

using Bf16Buffer = DeviceBuffer<__nv_bfloat16>;
using FloatBuffer = DeviceBuffer<float>;

// Everything on the device, and the arguments that point there.
struct Device {
  Bf16Buffer x, dt, z, dout, b, c, dx, ddt, dz, db, dc;
  FloatBuffer a, d, bias, state, dfinal, da, dd, dbias, dstate;
  DeviceBuffer<int32_t> cu;
  DeviceBuffer<char> workspace;
  Sm90SelectiveScanBackwardArgs args;
};

// The gradients' buffers, and arguments without states.
void Finish(Device* dev, int sequences, int tokens, int channels) {
  const size_t n = size_t(tokens) * channels, nbc = size_t(tokens) * kN;
  for (auto* buffer : {&dev->dx, &dev->ddt, &dev->dz}) *buffer = Bf16Buffer(n);
  for (auto* buffer : {&dev->db, &dev->dc}) *buffer = Bf16Buffer(nbc);
  dev->da = FloatBuffer(size_t(channels) * kN);
  dev->dd = FloatBuffer(channels);
  dev->dbias = FloatBuffer(channels);
  Sm90SelectiveScanBackwardArgs& args = dev->args;
  args.x = dev->x.data();
  args.dt = dev->dt.data();
  args.z = dev->z.data();
  args.dout = dev->dout.data();
  args.b = dev->b.data();
  args.c = dev->c.data();
  args.a = dev->a.data();
  args.d = dev->d.data();
  args.dt_bias = dev->bias.data();
  args.dx = dev->dx.data();
  args.ddt = dev->ddt.data();
  args.dz = dev->dz.data();
  args.db = dev->db.data();
  args.dc = dev->dc.data();
  args.da = dev->da.data();
  args.dd = dev->dd.data();
  args.ddt_bias = dev->dbias.data();
  args.cu_seqlens = dev->cu.data();
  args.sequences = sequences;
  args.tokens = tokens;
  args.channels = channels;
  args.state_dim = kN;
  args.x_stride = args.dt_stride = args.z_stride = args.dout_stride = channels;
  args.dx_stride = args.ddt_stride = args.dz_stride = channels;
  args.b_stride = args.c_stride = args.db_stride = args.dc_stride = kN;
  dev->workspace = DeviceBuffer<char>(Sm90SelectiveScanBackwardWorkspace(args));
  args.workspace = dev->workspace.data();
}

constexpr Sm90ScanBackwardPath kPaths[] = {Sm90ScanBackwardPath::kChunks,
                                           Sm90ScanBackwardPath::kWalk};

void Check(const Options& options, Report* report, const Shape& s,
           Sm90ScanBackwardPath path) {
  const Inputs in = MakeInputs(s, options.seed);
  const int sequences = static_cast<int>(s.lengths.size());
  const std::string name =
      std::to_string(in.cu.back()) + " tokens " + std::to_string(sequences) +
      " sequences " + std::to_string(s.channels) + " channels" +
      (s.z ? " z" : "") + (s.state ? " state" : "") +
      (s.softplus ? "" : " no softplus") +
      (path == Sm90ScanBackwardPath::kWalk ? ", walk" : "");
  if (!Wanted(options, name)) return;
  Device dev;
  dev.x = Bf16Buffer(ToBf16(in.x));
  dev.dt = Bf16Buffer(ToBf16(in.dt));
  dev.z = Bf16Buffer(ToBf16(in.z));
  dev.dout = Bf16Buffer(ToBf16(in.dout));
  dev.b = Bf16Buffer(ToBf16(in.b));
  dev.c = Bf16Buffer(ToBf16(in.c));
  dev.a = FloatBuffer(in.a);
  dev.d = FloatBuffer(in.d);
  dev.bias = FloatBuffer(in.bias);
  dev.state = FloatBuffer(in.state);
  dev.dfinal = FloatBuffer(in.dfinal);
  dev.dstate = FloatBuffer(in.state.size());
  dev.cu = DeviceBuffer<int32_t>(in.cu);
  Finish(&dev, sequences, in.cu.back(), s.channels);
  Sm90SelectiveScanBackwardArgs& args = dev.args;
  if (s.state) {
    args.state = dev.state.data();
    args.dfinal_state = dev.dfinal.data();
    args.dstate = dev.dstate.data();
  }
  if (!s.z) args.z = nullptr;
  if (sequences == 1) args.cu_seqlens = nullptr;
  args.softplus = s.softplus;
  args.path = path;
  INTARSIA_BENCH_CUDA(LaunchSm90SelectiveScanBackward(args, nullptr));
  const Gradients want = Reference(s, in);
  const auto check = [&](const char* what, const std::vector<float>& got,
                         const std::vector<double>& reference,
                         double tolerance) {
    CheckClose(report, kFamily, name + ": " + what, got, reference, tolerance);
  };
  // bf16 results round by 1.7e-3; fp32 ones see the arithmetic alone.
  const std::vector<__nv_bfloat16> dx = dev.dx.Download();
  check("dx", ToFloat(dx), want.dx, 3e-3);
  check("ddt", ToFloat(dev.ddt.Download()), want.ddt, 3e-3);
  if (s.z) check("dz", ToFloat(dev.dz.Download()), want.dz, 3e-3);
  check("dB", ToFloat(dev.db.Download()), want.db, 4e-3);
  check("dC", ToFloat(dev.dc.Download()), want.dc, 4e-3);
  check("dA", dev.da.Download(), want.da, 1e-4);
  check("dD", dev.dd.Download(), want.dd, 1e-5);
  check("dbias", dev.dbias.Download(), want.dbias, 1e-4);
  if (s.state) check("dstate", dev.dstate.Download(), want.dstate, 1e-5);
  // Once more, in a workspace that now holds other numbers.
  const std::vector<float> da = dev.da.Download();
  const std::vector<float> db = ToFloat(dev.db.Download());
  for (auto* buffer : {&dev.dx, &dev.db}) buffer->Poison();
  dev.da.Poison();
  INTARSIA_BENCH_CUDA(LaunchSm90SelectiveScanBackward(args, nullptr));
  CheckTrue(report, kFamily, name + ": the same bits again",
            dev.da.Download() == da && ToFloat(dev.db.Download()) == db &&
                ToFloat(dev.dx.Download()) == ToFloat(dx));
}

// A peer behind C functions; both return a cudaError_t. u, dt, z, dout, out,
// du, ddt, dz: [batch, dim, length] bf16; b, c: [batch, 16, length] bf16; a
// [dim, 16], d, bias [dim] fp32; out is the forward pass's result before the
// gate and carry what it left there. da [dim, 16], db, dc [batch, 16, length],
// dd, dbias [dim] are fp32, and the peer adds to them.
using PeerFn = int (*)(int batch, int dim, int length, const void* u,
                       const void* dt, const float* a, const void* b,
                       const void* c, const float* d, const float* bias,
                       const void* z, const void* out, const void* carry,
                       const void* dout, void* du, void* ddt, void* dz,
                       float* da, float* db, float* dc, float* dd, float* dbias,
                       cudaStream_t stream);
using ForwardPeerFn = int (*)(int batch, int dim, int length, const void* u,
                              const void* dt, const float* a, const void* b,
                              const void* c, const float* d, const float* bias,
                              const void* z, void* out, void* out_z,
                              void* carry, cudaStream_t stream);

template <typename Fn>
Fn LoadPeer(const char* symbol) {
  const char* path = std::getenv("INTARSIA_SCAN_PEER");
  void* library = path == nullptr ? nullptr : dlopen(path, RTLD_NOW);
  if (library == nullptr) return nullptr;
  return reinterpret_cast<Fn>(dlsym(library, symbol));
}

void Time(const Options& options, Report* report, int sequences, int length,
          int channels) {
  const std::string name = "B" + std::to_string(sequences) + " T" +
                           std::to_string(length) + " D" +
                           std::to_string(channels);
  if (!Wanted(options, name)) return;
  Device dev;
  const int tokens = sequences * length;
  const size_t n = size_t(tokens) * channels;
  uint64_t seed = 0;
  for (auto* buffer : {&dev.x, &dev.dt, &dev.z, &dev.dout}) {
    *buffer = Bf16Buffer(n);
    FillNormal(buffer->data(), n, ++seed);
  }
  for (auto* buffer : {&dev.b, &dev.c}) {
    *buffer = Bf16Buffer(size_t(tokens) * kN);
    FillNormal(buffer->data(), buffer->size(), ++seed);
  }
  std::vector<float> a(size_t(channels) * kN);
  for (size_t i = 0; i < a.size(); ++i) a[i] = -1.0f - i % kN;
  dev.a = FloatBuffer(a);
  dev.d = FloatBuffer(std::vector<float>(channels, 1.0f));
  dev.bias = FloatBuffer(std::vector<float>(channels, -2.0f));
  std::vector<int32_t> cu;
  for (int i = 0; i <= sequences; ++i) cu.push_back(i * length);
  dev.cu = DeviceBuffer<int32_t>(cu);
  Finish(&dev, sequences, tokens, channels);
  dev.args.max_seqlen = length;
  std::vector<Candidate> candidates;
  for (const Sm90ScanBackwardPath path :
       {Sm90ScanBackwardPath::kChoose, kPaths[0], kPaths[1]}) {
    Sm90SelectiveScanBackwardArgs args = dev.args;
    args.path = path;
    candidates.push_back({"ours", [args](cudaStream_t stream, int) {
                            INTARSIA_BENCH_CUDA(
                                LaunchSm90SelectiveScanBackward(args, stream));
                          }});
  }
  const auto forward = LoadPeer<ForwardPeerFn>("SelectiveScanPeer");
  const auto peer = LoadPeer<PeerFn>("SelectiveScanBackwardPeer");
  Bf16Buffer out, out_z;
  FloatBuffer carry, db, dc;
  if (forward != nullptr && peer != nullptr) {
    out = Bf16Buffer(n);
    out_z = Bf16Buffer(n);
    carry = FloatBuffer(size_t(sequences) * channels * 32 *
                        ((length + 2047) / 2048));
    db = FloatBuffer(size_t(tokens) * kN);
    dc = FloatBuffer(size_t(tokens) * kN);
    INTARSIA_BENCH_CUDA(static_cast<cudaError_t>(forward(
        sequences, channels, length, dev.x.data(), dev.dt.data(), dev.a.data(),
        dev.b.data(), dev.c.data(), dev.d.data(), dev.bias.data(), dev.z.data(),
        out.data(), out_z.data(), carry.data(), nullptr)));
    candidates.push_back(
        {"peer", [&](cudaStream_t stream, int) {
           INTARSIA_BENCH_CUDA(static_cast<cudaError_t>(
               peer(sequences, channels, length, dev.x.data(), dev.dt.data(),
                    dev.a.data(), dev.b.data(), dev.c.data(), dev.d.data(),
                    dev.bias.data(), dev.z.data(), out.data(), carry.data(),
                    dev.dout.data(), dev.dx.data(), dev.ddt.data(),
                    dev.dz.data(), dev.da.data(), db.data(), dc.data(),
                    dev.dd.data(), dev.dbias.data(), stream)));
         }});
  }
  TimingOptions timing;
  timing.rounds = options.rounds;
  timing.flush_l2 = false;  // every case is larger than the cache
  const std::vector<Timing> times = TimeInterleaved(candidates, timing);
  std::vector<Report::Field> line = {
      Report::Str("time", kFamily),
      Report::Str("case", name),
      Report::Num("us", times[0].median_us),
      Report::Num("min_us", times[0].min_us),
      Report::Num("chunks_us", times[1].median_us),
      Report::Num("walk_us", times[2].median_us),
      Report::Num("workspace_mb", 1e-6 * dev.workspace.size())};
  if (times.size() > 3) {
    line.push_back(Report::Num("mamba_ssm_us", times[3].median_us));
    line.push_back(
        Report::Num("ratio", times[3].median_us / times[0].median_us));
  }
  report->Line(line);
}

}  // namespace

void SelectiveScanBackwardFamily(const Options& options, Report* report) {
  if (options.check) {
    std::vector<Shape> shapes = {
        {{1}, 2, true, true, true},
        {{9}, 64, true, false, true},
        {{1, 0, 63, 64, 65, 300}, 72, true, true, true},
        {{17, 200}, 130, false, true, true},
    };
    if (!options.quick) {
      shapes.push_back({{1500}, 64, true, false, true});
      shapes.push_back({{700, 300}, 192, true, true, false});
      shapes.push_back({std::vector<int>(70, 3), 256, true, true, true});
    }
    for (const Shape& shape : shapes) {
      for (const Sm90ScanBackwardPath path : kPaths) {
        Check(options, report, shape, path);
      }
    }
  }
  if (!options.time) return;
  Time(options, report, 8, 4096, 4096);
  if (!options.quick) Time(options, report, 1, 32768, 4096);
}

}  // namespace intarsia::bench
