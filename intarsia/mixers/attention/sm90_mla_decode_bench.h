// The problem of MLA decoding's checks and timings, shared with the driver's
// peer.
#pragma once

#include <string>
#include <vector>

#include "intarsia/cuda/bench/device_data.h"
#include "intarsia/mixers/attention/sm90_mla_decode.h"

namespace intarsia::bench {

struct MlaShape {
  std::vector<int> lengths;
  int heads = 128;
  int page_size = 64;
  int query_tokens = 1;
  int spare = 0;  // channels between one latent and the next
  GpuCase::Use use = GpuCase::Use::kChecked;

  static std::vector<MlaShape> All(bool quick);
  std::string Name() const;
  // A case of this shape without `prepare`.
  GpuCase Case(std::string name) const;
};

// Pages lie in random order. What no sequence may read holds NaN, and -1 stands
// in the page table where nobody may look.
struct MlaProblem {
  MlaProblem(const MlaShape& s, uint64_t seed);
  void Launch(cudaStream_t stream) const;

  MlaShape shape;
  std::vector<int32_t> host_table;
  Sm90MlaDecodeArgs args;
  Bf16Buffer q, pages, out;
  FloatBuffer lse;
  DeviceBuffer<int32_t> table, lengths;
  DeviceBuffer<char> workspace, plan;
};

// Of the outputs that a launch has left in the problem's buffers.
std::vector<OutputError> CompareMla(const MlaProblem& p);

}  // namespace intarsia::bench
