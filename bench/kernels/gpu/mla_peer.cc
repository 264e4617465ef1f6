// FlashMLA, or whatever else has this function, on the problems of the room's
// benchmark.
#include <dlfcn.h>

#include <cstdlib>
#include <memory>

#include "bench/kernels/gpu/more_cases.h"
#include "intarsia/mixers/attention/sm90_mla_decode_bench.h"

namespace intarsia::bench {
namespace {

// MlaDecodePeer of the library; a cudaError_t. q [batch, heads, 576], pages
// [page_count, 64, 576], table [batch, table_stride], out [batch, heads, 512],
// lse [batch, heads]. `workspace` holds (batch + 264) x (heads + 128) x 513
// floats. `plan` asks for what depends on the lengths alone, and comes first.
using DecodeFn = int (*)(int plan, int batch, int heads, int page_count,
                         int table_stride, float scale, const void* q,
                         const void* pages, const int32_t* table,
                         const int32_t* lengths, void* out, float* lse,
                         void* workspace, cudaStream_t stream);

DecodeFn Load() {
  const char* path = std::getenv("INTARSIA_MLA_PEER");
  void* library = path == nullptr ? nullptr : dlopen(path, RTLD_NOW);
  return library == nullptr
             ? nullptr
             : reinterpret_cast<DecodeFn>(dlsym(library, "MlaDecodePeer"));
}

struct Problem {
  Problem(const MlaShape& s, uint64_t seed, DecodeFn decode)
      : base(s, seed),
        decode(decode),
        workspace((s.lengths.size() + 264) * (s.heads + 128) * 513 + 1024) {
    Run(true, nullptr);
  }
  void Run(bool plan, cudaStream_t stream) const {
    const Sm90MlaDecodeArgs& a = base.args;
    Ensure(static_cast<cudaError_t>(
               decode(plan, a.batch, a.heads, a.page_count, a.page_table_stride,
                      a.scale, a.q, a.pages, a.page_table, a.kv_lengths, a.out,
                      a.lse, workspace.data(), stream)),
           "the peer's MLA decode");
  }
  MlaProblem base;
  DecodeFn decode;
  FloatBuffer workspace;
};

}  // namespace

std::vector<GpuCase> MlaPeer() {
  std::vector<GpuCase> cases;
  const DecodeFn decode = Load();
  if (decode == nullptr) return cases;
  for (const MlaShape& s : MlaShape::All(false)) {
    if (s.use == GpuCase::Use::kChecked || s.page_size != 64 ||
        s.query_tokens != 1) {
      continue;
    }
    cases.push_back(s.Case("attention.sm90.mla_decode.peer"));
    GpuCase& c = cases.back();
    c.use = GpuCase::Use::kTimed;
    c.prepare = [s, decode](uint64_t seed) {
      const auto p = std::make_shared<const Problem>(s, seed, decode);
      return GpuCase::Ready{[p](cudaStream_t stream) { p->Run(false, stream); },
                            [p] {
                              p->Run(false, nullptr);
                              return CompareMla(p->base);
                            }};
    };
  }
  return cases;
}

}  // namespace intarsia::bench
