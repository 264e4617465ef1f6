// mamba-ssm's selective scan, or whatever else has these functions, on the
// problems of the rooms' benchmarks; its layout is [batch, channel, time] of
// the same numbers.
#include <dlfcn.h>

#include <cstdlib>
#include <memory>

#include "bench/kernels/gpu/more_cases.h"
#include "intarsia/mixers/mamba/sm90_selective_scan_bench.h"

namespace intarsia::bench {
namespace {

// SelectiveScanPeer of the library; a cudaError_t. u, dt, z, out, out_z:
// [batch, dim, length] bf16; b, c: [batch, 16, length] bf16; a [dim, 16], d,
// bias [dim] fp32; z and out_z may be null; carry: batch · dim · 32 floats for
// every 2048 tokens.
using ForwardFn = int (*)(int batch, int dim, int length, const void* u,
                          const void* dt, const float* a, const void* b,
                          const void* c, const float* d, const float* bias,
                          const void* z, void* out, void* out_z, void* carry,
                          cudaStream_t stream);
// SelectiveScanBackwardPeer. out is the forward pass's result before the gate
// and carry what it left there. da [dim, 16], db, dc [batch, 16, length], dd,
// dbias [dim] are fp32, and the peer adds to them.
using BackwardFn = int (*)(int batch, int dim, int length, const void* u,
                           const void* dt, const float* a, const void* b,
                           const void* c, const float* d, const float* bias,
                           const void* z, const void* out, const void* carry,
                           const void* dout, void* du, void* ddt, void* dz,
                           float* da, float* db, float* dc, float* dd,
                           float* dbias, cudaStream_t stream);

struct Peer {
  ForwardFn forward = nullptr;
  BackwardFn backward = nullptr;
};

Peer Load() {
  const char* path = std::getenv("INTARSIA_SCAN_PEER");
  void* library = path == nullptr ? nullptr : dlopen(path, RTLD_NOW);
  if (library == nullptr) return {};
  return {reinterpret_cast<ForwardFn>(dlsym(library, "SelectiveScanPeer")),
          reinterpret_cast<BackwardFn>(
              dlsym(library, "SelectiveScanBackwardPeer"))};
}

struct Problem {
  Problem(const ScanShape& s, uint64_t seed, bool backward) : base(s, seed) {
    const size_t n = base.x.size(), nbc = base.b.size();
    sequences = static_cast<int>(s.lengths.size());
    length = s.lengths[0];
    out = Bf16Buffer(n);
    out_z = Bf16Buffer(n);
    carry = FloatBuffer(size_t(sequences) * s.channels * 32 *
                        ((length + 2047) / 2048));
    if (!backward) return;
    dout = NormalBuffer<__nv_bfloat16>(n, seed + 1);
    for (auto* buffer : {&du, &ddt, &dz}) *buffer = Bf16Buffer(n);
    da = FloatBuffer(base.a.size());
    for (auto* buffer : {&db, &dc}) *buffer = FloatBuffer(nbc);
    for (auto* buffer : {&dd, &dbias}) *buffer = FloatBuffer(s.channels);
  }
  void Forward(const Peer& peer, cudaStream_t stream) const {
    const bool z = base.shape.z;
    Ensure(static_cast<cudaError_t>(peer.forward(
               sequences, base.shape.channels, length, base.x.data(),
               base.dt.data(), base.a.data(), base.b.data(), base.c.data(),
               base.d.data(), base.bias.data(), z ? base.z.data() : nullptr,
               out.data(), z ? out_z.data() : nullptr, carry.data(), stream)),
           "the peer's scan");
  }
  void Backward(const Peer& peer, cudaStream_t stream) const {
    Ensure(
        static_cast<cudaError_t>(peer.backward(
            sequences, base.shape.channels, length, base.x.data(),
            base.dt.data(), base.a.data(), base.b.data(), base.c.data(),
            base.d.data(), base.bias.data(), base.z.data(), out.data(),
            carry.data(), dout.data(), du.data(), ddt.data(), dz.data(),
            da.data(), db.data(), dc.data(), dd.data(), dbias.data(), stream)),
        "the peer's scan backward");
  }
  ScanProblem base;
  int sequences, length;
  Bf16Buffer out, out_z, dout, du, ddt, dz;
  FloatBuffer carry, da, db, dc, dd, dbias;
};

}  // namespace

std::vector<GpuCase> ScanPeer() {
  const Peer peer = Load();
  std::vector<GpuCase> cases;
  for (const bool backward : {false, true}) {
    if (backward ? peer.backward == nullptr : peer.forward == nullptr) break;
    for (const ScanShape& s : ScanShape::All(false)) {
      if (s.use == GpuCase::Use::kChecked || (backward && !s.z)) continue;
      GpuCase c;
      c.name = backward ? "mamba.sm90.selective_scan_backward.peer"
                        : "mamba.sm90.selective_scan.peer";
      c.shape = s.Name();
      c.use = GpuCase::Use::kTimed;
      c.bytes = (backward ? 14.0
                 : s.z    ? 8.0
                          : 6.0) *
                static_cast<double>(s.tokens()) * s.channels;
      c.prepare = [s, peer, backward](uint64_t seed) {
        const auto p = std::make_shared<const Problem>(s, seed, backward);
        p->Forward(peer, nullptr);
        return GpuCase::Ready{[p, peer, backward](cudaStream_t stream) {
                                backward ? p->Backward(peer, stream)
                                         : p->Forward(peer, stream);
                              },
                              nullptr};
      };
      cases.push_back(std::move(c));
    }
  }
  return cases;
}

}  // namespace intarsia::bench
