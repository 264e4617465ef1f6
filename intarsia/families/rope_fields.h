// Rotary positions as published configurations and GGUF files describe them,
// as the "rope" object of an attention configuration (ops/rope/rope.h).
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "intarsia/checkpoint/checkpoint.h"
#include "intarsia/core/json_reader.h"
#include "intarsia/core/status.h"
#include "intarsia/families/family.h"

namespace intarsia {

// What a family adds to a configuration's own fields.
struct RopeDefaults {
  const char* family = "";  // for messages
  double theta = 10000.0;
  int head_dim = 0;
  int max_positions = 0;  // 0: not told
  // "partial_rotary_factor" counts without a scaling too. Not so in Llama and
  // what was made after it.
  bool partial = false;
};

// By transformers 5.24: "rope_scaling" before "rope_parameters"; the base from
// inside either, else "rope_theta" beside them, else the default; the original
// length from beside them, from inside, else max_positions. A field that is
// null counts as absent. Fields that change nothing are named in `warnings`.
// `layer_type` picks the part of parameters that are given by layer type; a
// part that is null, or a missing one, turns nothing or is an error.
nlohmann::json RopeFromConfig(JsonReader* reader, const RopeDefaults& defaults,
                              const std::string& layer_type,
                              std::vector<std::string>* warnings);

// From GGUF's "rope." keys, by llama.cpp: "scaling.attn_factor" multiplies the
// scaling's own factor of cosine and sine; "scaling.yarn_log_multiplier" is the
// mscale_all_dim beside an mscale of 1; "scaling.yarn_attn_factor" changes
// nothing, as llama.cpp reads it of other architectures only. `interleaved`:
// the file keeps the rows of queries and keys paired.
nlohmann::json RopeFromGguf(JsonReader* reader, int head_dim, bool interleaved,
                            int max_positions,
                            std::vector<std::string>* warnings);

// GGUF's tensors of one divisor a pair: "rope_freqs.weight", which llama.cpp's
// converter writes for Llama 3.1's scaling, and "rope_factors_long.weight" and
// "rope_factors_short.weight" of longrope.
bool IsGgufRopeTensor(const std::string& name);

// Puts them into the rope objects of the model's attention layers. An error
// where no layer turns pairs, or not as many.
Status AddGgufRopeTensors(const Checkpoint& file, FamilyModel* model);

}  // namespace intarsia
