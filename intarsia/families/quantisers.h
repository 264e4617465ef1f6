// Checkpoints of other quantisers, which are refused by name.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "intarsia/checkpoint/checkpoint.h"
#include "intarsia/core/status.h"

namespace intarsia {

// Unsupported where a configuration, which stands in `file`, or the names of
// tensors say that the weights are in the form of a quantiser that this build
// does not read. FP8 in blocks of 128 × 128 (fp8_blocks.h) is read.
Status RefuseOtherQuantisers(const nlohmann::json& config,
                             const std::string& file);
Status RefuseOtherQuantisers(const Checkpoint& checkpoint);

}  // namespace intarsia
