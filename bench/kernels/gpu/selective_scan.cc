// The selective scan of Mamba-1, forward; beside another implementation, if the
// variable INTARSIA_SCAN_PEER names a shared library that exports it as
// SelectiveScanPeer with the type PeerFn below.
#include "intarsia/mixers/mamba/sm90_selective_scan.h"

#include <dlfcn.h>

#include <cmath>
#include <cstdlib>
#include <string>
#include <vector>

#include "bench/kernels/gpu/memory_bound.h"

namespace intarsia::bench {
namespace {

constexpr int kStateDim = 16;

struct Shape {
  std::vector<int> lengths;
  int channels;
  bool z, state;
};

struct Inputs {
  std::vector<float> x, dt, b, c, z, a, d, bias, state;
  std::vector<int32_t> cu, slots;
};

// dt around softplus^-1 of 0.01 to 1, A of both slow and fast decays.
Inputs MakeInputs(const Shape& s, uint64_t seed) {
  Inputs in;
  in.cu = {0};
  for (const int length : s.lengths) in.cu.push_back(in.cu.back() + length);
  const int sequences = static_cast<int>(s.lengths.size());
  for (int i = 0; i < sequences; ++i) in.slots.push_back(sequences - 1 - i);
  const size_t n = size_t(in.cu.back()) * s.channels;
  const size_t nbc = size_t(in.cu.back()) * kStateDim;
  in.x = RandomBf16(n, seed);
  in.dt = RandomBf16(n, seed + 1, 1.5f);
  in.z = RandomBf16(n, seed + 2);
  in.b = RandomBf16(nbc, seed + 3);
  in.c = RandomBf16(nbc, seed + 4);
  in.a = RandomNormal(size_t(s.channels) * kStateDim, seed + 5);
  for (float& value : in.a) value = -std::exp(1.5f * value);
  in.d = RandomNormal(s.channels, seed + 6);
  in.bias = RandomNormal(s.channels, seed + 7);
  for (float& value : in.bias) value -= 2;
  in.state = RandomNormal(size_t(sequences) * s.channels * kStateDim, seed + 8);
  return in;
}

void Reference(const Shape& s, const Inputs& in, std::vector<double>* out,
               std::vector<double>* state) {
  out->assign(in.x.size(), 0);
  *state = ToDouble(in.state);
  for (size_t q = 0; q < s.lengths.size(); ++q) {
    for (int c = 0; c < s.channels; ++c) {
      double h[kStateDim];
      const size_t slot = (size_t(in.slots[q]) * s.channels + c) * kStateDim;
      for (int n = 0; n < kStateDim; ++n) {
        h[n] = s.state ? (*state)[slot + n] : 0;
      }
      for (int t = in.cu[q]; t < in.cu[q + 1]; ++t) {
        const size_t at = size_t(t) * s.channels + c;
        const double step = SoftplusReference(double(in.dt[at]) + in.bias[c]);
        double y = double(in.d[c]) * in.x[at];
        for (int n = 0; n < kStateDim; ++n) {
          h[n] = std::exp(step * in.a[c * kStateDim + n]) * h[n] +
                 step * in.b[size_t(t) * kStateDim + n] * in.x[at];
          y += in.c[size_t(t) * kStateDim + n] * h[n];
        }
        (*out)[at] = s.z ? y * SiluReference(in.z[at]) : y;
      }
      for (int n = 0; s.state && n < kStateDim; ++n) (*state)[slot + n] = h[n];
    }
  }
}

// Everything on the device, and the arguments that point there.
struct Device {
  DeviceBuffer<__nv_bfloat16> x, dt, b, c, z, out;
  DeviceBuffer<float> a, d, bias, state;
  DeviceBuffer<int32_t> cu, slots;
  Sm90SelectiveScanArgs args;
};

void SetArgs(Device* dev, int sequences, int tokens, int channels) {
  Sm90SelectiveScanArgs& args = dev->args;
  args.x = dev->x.data();
  args.dt = dev->dt.data();
  args.b = dev->b.data();
  args.c = dev->c.data();
  args.z = dev->z.data();
  args.a = dev->a.data();
  args.d = dev->d.data();
  args.dt_bias = dev->bias.data();
  args.out = dev->out.data();
  args.cu_seqlens = dev->cu.data();
  args.sequences = sequences;
  args.tokens = tokens;
  args.channels = channels;
  args.state_dim = kStateDim;
  args.x_stride = args.dt_stride = args.z_stride = args.out_stride = channels;
  args.b_stride = args.c_stride = kStateDim;
  args.slot_stride = int64_t{channels} * kStateDim;
}

void Check(const Options& options, Report* report, const Shape& s) {
  const Inputs in = MakeInputs(s, options.seed);
  const std::string name = std::to_string(in.cu.back()) + " tokens " +
                           std::to_string(s.lengths.size()) + " sequences " +
                           std::to_string(s.channels) + " channels" +
                           (s.z ? " z" : "") + (s.state ? " state" : "");
  if (!Wanted(options, name)) return;
  Device dev;
  dev.x = DeviceBuffer<__nv_bfloat16>(ToBf16(in.x));
  dev.dt = DeviceBuffer<__nv_bfloat16>(ToBf16(in.dt));
  dev.z = DeviceBuffer<__nv_bfloat16>(ToBf16(in.z));
  dev.b = DeviceBuffer<__nv_bfloat16>(ToBf16(in.b));
  dev.c = DeviceBuffer<__nv_bfloat16>(ToBf16(in.c));
  dev.out = DeviceBuffer<__nv_bfloat16>(in.x.size());
  dev.a = DeviceBuffer<float>(in.a);
  dev.d = DeviceBuffer<float>(in.d);
  dev.bias = DeviceBuffer<float>(in.bias);
  dev.state = DeviceBuffer<float>(in.state);
  dev.cu = DeviceBuffer<int32_t>(in.cu);
  dev.slots = DeviceBuffer<int32_t>(in.slots);
  SetArgs(&dev, static_cast<int>(s.lengths.size()), in.cu.back(), s.channels);
  dev.args.slots = dev.slots.data();
  if (s.state) dev.args.state = dev.state.data();
  if (!s.z) dev.args.z = nullptr;
  INTARSIA_BENCH_CUDA(LaunchSm90SelectiveScan(dev.args, nullptr));
  std::vector<double> out, state;
  Reference(s, in, &out, &state);
  CheckClose(report, "selective_scan", name, ToFloat(dev.out.Download()), out,
             3e-3);
  CheckClose(report, "selective_scan", name + " state", dev.state.Download(),
             state, 1e-5);
}

// A peer behind one C function; returns a cudaError_t. u, dt, z, out, out_z:
// [batch, dim, length] bf16; b, c: [batch, 16, length] bf16; a [dim, 16], d,
// bias [dim] fp32; z and out_z may be null; carry: batch · dim · 32 floats for
// every 2048 tokens.
using PeerFn = int (*)(int batch, int dim, int length, const void* u,
                       const void* dt, const float* a, const void* b,
                       const void* c, const float* d, const float* bias,
                       const void* z, void* out, void* out_z, void* carry,
                       cudaStream_t stream);

PeerFn LoadPeer() {
  const char* path = std::getenv("INTARSIA_SCAN_PEER");
  void* library = path == nullptr ? nullptr : dlopen(path, RTLD_NOW);
  if (library == nullptr) return nullptr;
  return reinterpret_cast<PeerFn>(dlsym(library, "SelectiveScanPeer"));
}

// Ours and the peer's, in turn, each on its own layout of the same numbers.
void TimeBesidePeer(const Options& options, Report* report, PeerFn peer,
                    const Device& dev, const std::string& name, int sequences,
                    int length, int channels) {
  DeviceBuffer<__nv_bfloat16> out(dev.x.size()), out_z(dev.x.size());
  DeviceBuffer<float> carry(size_t(sequences) * channels * 32 *
                            ((length + 2047) / 2048));
  std::vector<Candidate> candidates;
  for (const bool z : {true, false}) {
    Sm90SelectiveScanArgs args = dev.args;
    if (!z) args.z = nullptr;
    candidates.push_back({"ours", [=](cudaStream_t stream, int) {
                            INTARSIA_BENCH_CUDA(
                                LaunchSm90SelectiveScan(args, stream));
                          }});
    candidates.push_back(
        {"peer", [&, z](cudaStream_t stream, int) {
           INTARSIA_BENCH_CUDA(static_cast<cudaError_t>(
               peer(sequences, channels, length, dev.x.data(), dev.dt.data(),
                    dev.a.data(), dev.b.data(), dev.c.data(), dev.d.data(),
                    dev.bias.data(), z ? dev.z.data() : nullptr, out.data(),
                    z ? out_z.data() : nullptr, carry.data(), stream)));
         }});
  }
  TimingOptions timing;
  timing.rounds = options.rounds;
  timing.flush_l2 = false;
  const std::vector<Timing> times = TimeInterleaved(candidates, timing);
  for (const int i : {0, 2}) {
    report->Line(
        {Report::Str("time", "selective_scan"),
         Report::Str("case", name + (i == 0 ? " z" : "")),
         Report::Num("us", times[i].median_us),
         Report::Num("mamba_ssm_us", times[i + 1].median_us),
         Report::Num("ratio", times[i + 1].median_us / times[i].median_us)});
  }
}

void Time(const Options& options, Report* report, int sequences, int length,
          int channels) {
  Device dev;
  const int tokens = sequences * length;
  const size_t n = size_t(tokens) * channels;
  for (auto* buffer : {&dev.x, &dev.dt, &dev.z, &dev.out}) {
    *buffer = DeviceBuffer<__nv_bfloat16>(n);
    FillNormal(buffer->data(), n, buffer - &dev.x);
  }
  for (auto* buffer : {&dev.b, &dev.c}) {
    *buffer = DeviceBuffer<__nv_bfloat16>(size_t(tokens) * kStateDim);
    FillNormal(buffer->data(), buffer->size(), 7);
  }
  std::vector<float> a(size_t(channels) * kStateDim);
  for (size_t i = 0; i < a.size(); ++i) a[i] = -1.0f - i % kStateDim;
  dev.a = DeviceBuffer<float>(a);
  dev.d = DeviceBuffer<float>(std::vector<float>(channels, 1.0f));
  dev.bias = DeviceBuffer<float>(std::vector<float>(channels, -2.0f));
  std::vector<int32_t> cu;
  for (int i = 0; i <= sequences; ++i) cu.push_back(i * length);
  dev.cu = DeviceBuffer<int32_t>(cu);
  SetArgs(&dev, sequences, tokens, channels);
  Sm90SelectiveScanArgs with_z = dev.args;
  Sm90SelectiveScanArgs without_z = dev.args;
  without_z.z = nullptr;
  const std::string name = "B" + std::to_string(sequences) + " T" +
                           std::to_string(length) + " D" +
                           std::to_string(channels);
  TimeBesideCopy(
      options, report, "selective_scan",
      {{name + " z", 8.0 * n,
        [=](cudaStream_t stream) {
          INTARSIA_BENCH_CUDA(LaunchSm90SelectiveScan(with_z, stream));
        }},
       {name, 6.0 * n, [=](cudaStream_t stream) {
          INTARSIA_BENCH_CUDA(LaunchSm90SelectiveScan(without_z, stream));
        }}});
  if (const PeerFn peer = LoadPeer()) {
    TimeBesidePeer(options, report, peer, dev, name, sequences, length,
                   channels);
  }
}

}  // namespace

void SelectiveScanFamily(const Options& options, Report* report) {
  if (options.check) {
    Check(options, report, {{1}, 2, true, true});
    Check(options, report, {{1, 0, 63, 64, 65, 500}, 72, true, true});
    Check(options, report, {{17, 200}, 130, false, true});
    Check(options, report, {{1500}, 64, true, false});
    Check(options, report, {std::vector<int>(70, 3), 256, true, true});
  }
  if (!options.time) return;
  Time(options, report, 8, 4096, 4096);
  if (!options.quick) Time(options, report, 1, 32768, 4096);
}

}  // namespace intarsia::bench
