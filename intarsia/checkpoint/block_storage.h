// Block-quantised weights in safetensors, which has no types for them: such a
// tensor is stored as U8 [..., bytes a row], and its encoding in __metadata__
// under "intarsia.encoding.<tensor name>".
#pragma once

#include <map>
#include <string>

#include "intarsia/checkpoint/checkpoint.h"
#include "intarsia/core/status.h"

namespace intarsia {

inline constexpr char kBlockEncodingPrefix[] = "intarsia.encoding.";

// Gives a tensor read as u8 its encoding and shape, if the metadata names one.
// Messages name the fault only.
Status RestoreBlocks(const std::map<std::string, std::string>& metadata,
                     StoredTensor* tensor);

}  // namespace intarsia
