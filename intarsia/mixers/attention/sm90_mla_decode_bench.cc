// Absorbed MLA decoding over pages, against the definition in double.
#include "intarsia/mixers/attention/sm90_mla_decode_bench.h"

namespace intarsia::bench {
namespace {

std::vector<OutputError> Compare(const MlaProblem& p) {
  p.Launch(nullptr);
  std::vector<OutputError> errors = CompareMla(p);
  const uint64_t once = Fingerprint(p.out);
  p.out.Poison();
  p.Launch(nullptr);
  errors.push_back(Holds("the same bits again", Fingerprint(p.out) == once));
  return errors;
}

}  // namespace

std::vector<GpuCase> sm90_mla_decode(bool quick) {
  std::vector<GpuCase> cases;
  for (const MlaShape& s : MlaShape::All(quick)) {
    cases.push_back(s.Case("attention.sm90.mla_decode"));
    cases.back().prepare = PrepareWith<MlaProblem>(s, &Compare);
  }
  return cases;
}

}  // namespace intarsia::bench
