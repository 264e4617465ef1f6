// What the families that mix attention with Mamba or Mamba-2 share.
#pragma once

#include <initializer_list>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "intarsia/core/json_reader.h"
#include "intarsia/families/family.h"

namespace intarsia {

// A Mamba-2 mixer and what its published tensors depend on.
struct Mamba2Part {
  int heads = 1, head_dim = 1, state = 1, groups = 1;
  bool conv_bias = true, bias = false, norm = true;
  nlohmann::json config;  // of the mixer

  // "groups" norms of the inner channels.
  void Compose(int conv_width, double eps);
};

// From the fields mamba_n_heads, mamba_d_head, mamba_n_groups, mamba_d_state,
// mamba_d_conv, mamba_conv_bias, mamba_proj_bias, mamba_expand and
// time_step_limit. `inner`: heads × channels of a head
// where mamba_d_head is "auto".
Mamba2Part ReadMamba2Part(JsonReader* reader, int64_t inner, double eps);

// The tensors of a mixer whose names begin with `ours` ("blocks.3.0.") from
// those that begin with `theirs` ("model.layers.3.mamba.").
void MapMamba2(const Mamba2Part& part, const std::string& ours,
               const std::string& theirs, std::vector<TensorMap>* maps);

// The same of a Mamba mixer.
struct MambaPart {
  int inner = 1, state = 1, rank = 1;
  bool conv_bias = true, bias = false;
  bool norms = false;     // of the steps, B and C, with weights
  nlohmann::json config;  // of the mixer

  void Compose(int conv_width, const NormConfig& norm);
};
void MapMamba(const MambaPart& part, const std::string& ours,
              const std::string& theirs, std::vector<TensorMap>* maps);

// The rank of the steps: a number, or "auto", a sixteenth of the width.
int ReadStepRank(JsonReader* reader, const std::string& name, int dim);

// Mamba ("mamba") or Falcon Mamba ("falcon_mamba"), whose fields are the same.
Result<FamilyModel> MambaFromConfig(const char* family,
                                    const nlohmann::json& json);

// Whole tensors, `ours` and `theirs` before the names of each pair.
using NamePairs = std::initializer_list<std::pair<const char*, const char*>>;
void MapPairs(const std::string& ours, const std::string& theirs,
              const NamePairs& pairs, std::vector<TensorMap>* maps);

// As a mixer's configuration has it.
nlohmann::json NormJson(NormConfig norm);

// {"type": "none"}.
NormConfig NoNorm();

}  // namespace intarsia
