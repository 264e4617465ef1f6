// What names like Q4_K_M mean: which tensor of a model gets which format. The
// rules are those that llama.cpp's users know, so that a file of a name has the
// size and the quality that the name promises.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "intarsia/core/status.h"
#include "intarsia/core/tensor.h"

namespace intarsia {

struct QuantMix {
  const char* name;    // "Q4_K_M"
  const char* format;  // of what has no rule of its own: "q4_k"
  uint32_t file_type;  // GGUF's general.file_type
  const char* summary;
};

const std::vector<QuantMix>& QuantMixes();
// Case does not matter; Q4_K, Q5_K and Q3_K mean the medium ones. Null:
// unknown.
const QuantMix* FindQuantMix(std::string_view name);

// What the rules look at, besides the tensors.
struct MixModel {
  std::string architecture;
  int64_t queries_per_key = 1;  // attention heads that share one of keys
  int64_t experts = 0;
  bool importance = false;  // there is an importance matrix
};

struct MixOverrides {
  bool pure = false;         // every matrix in the mix's own format
  bool keep_output = false;  // the head stays as it is
  std::string output = {}, embedding = {};  // formats; empty: by the rules
  // (part of a name, format): the first that a name contains decides.
  std::vector<std::pair<std::string, std::string>> tensors = {};
};

struct MixTensor {
  std::string name;
  Shape shape;
};

struct MixChoice {
  std::string format;  // empty: the tensor stays as it is
  std::string wanted;  // what the rules asked for, where a row does not fit it
};

// A choice for each tensor, under GGUF's names. Norms, biases, routers,
// convolutions and other small tensors stay.
std::vector<MixChoice> ChooseFormats(const QuantMix& mix, const MixModel& model,
                                     const MixOverrides& overrides,
                                     std::span<const MixTensor> tensors);

// The format that takes rows of k numbers where `format` does not: q4_k → q5_0,
// q5_k → q5_1, q6_k → q8_0, the rest → iq4_nl, and f16 where 32 does not divide
// k either. `format` itself where it fits.
std::string FittingFormat(const std::string& format, int64_t k);

}  // namespace intarsia
