// Cases that the driver has beside the rooms': nothing for the users of the
// library.
#pragma once

#include <vector>

#include "intarsia/cuda/bench/kernel_case.h"

namespace intarsia::bench {

// The example of intarsia/cuda/README.md: attention forward from the plainest
// kernel to one that is nearly the one in use.
std::vector<GpuCase> AttentionSteps();

// Another implementation of the selective scan on the timed shapes, from the
// shared library that INTARSIA_SCAN_PEER names; none without it.
std::vector<GpuCase> ScanPeer();

// The same for MLA decoding, from INTARSIA_MLA_PEER.
std::vector<GpuCase> MlaPeer();

}  // namespace intarsia::bench
