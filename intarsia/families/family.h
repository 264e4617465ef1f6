// A checkpoint family: how a published configuration and its tensor names
// translate into a model of ours. Families translate (names, slices,
// permutations) and compute nothing; every map works both ways, for loading,
// export, gradients and adapters.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "intarsia/core/status.h"
#include "intarsia/model/config.h"

namespace intarsia {

// Where a weight of ours lies in a foreign tensor.
struct TensorMap {
  std::string native;      // a path of Model::paths()
  std::string foreign;     // the checkpoint's name
  bool transpose = false;  // the foreign matrix is [..., in, out]
  // Rows [row_begin, row_end) of the foreign tensor (after the transpose) along
  // row_axis; -1: to its end. Fused projections have several maps. The foreign
  // rows may be several groups, of which each has these rows; ours are then one
  // group's after the other's.
  int64_t row_begin = 0;
  int64_t row_end = -1;
  int row_axis = 0;
  int64_t groups = 1;
  // ≥ 0: the foreign tensor is element `stack` along the first axis of ours.
  int64_t stack = -1;
  // The foreign shape has a 1 inserted before this axis: conv1d [C, 1, W].
  int unsqueeze = -1;
};

struct FamilyModel {
  ModelConfig config;
  std::vector<TensorMap> tensors;
  // Other names and fusions under which the same family is published; a file is
  // read by the first layout all of whose tensors it has, else by the one of
  // which it has most.
  std::vector<std::vector<TensorMap>> other_layouts = {};
  std::vector<std::string> warnings = {};
  // Fields that nobody read, without the architecture's name before GGUF's.
  std::vector<std::string> unread = {};
};

// A field that the reference library's configuration class has and a family
// does not read.
struct DeclaredField {
  const char* name;
  const char* neutral;  // a JSON list of values at which it changes nothing
};

// A field: our name, the key of config.json, and that of GGUF's metadata behind
// the architecture's name. Null: that kind of file does not have it.
struct FieldRow {
  const char* ours;
  const char* hf;
  const char* gguf = nullptr;
  // Where config.json leaves it out GGUF has the model's own: "1.hidden", of
  // the second sublayer of the first block.
  const char* native = nullptr;
  // The key of GGUF that stands for a missing one.
  const char* otherwise = nullptr;
};

// How convert takes a family to GGUF and back: numbers by the family's rows,
// tensors by both layouts, and what follows.
struct GgufForm {
  const char* class_name = "";  // of config.json's "architectures"; "": no way
  std::span<const FieldRow> rows = {};
  // Of families that share an architecture, a file is of the last one whose
  // sign it has, a key with a number above 0, else of the one without.
  const char* sign = "";
  // Fields of config.json for which GGUF has no place: a JSON list of the
  // values that they may have. The way back writes texts: the first one.
  std::vector<std::pair<const char*, const char*>> fixed = {};
  // Fields that go with "sliding_window", as JSON.
  std::vector<std::pair<const char*, const char*>> with_window = {};
  // llama.cpp reads a bias beside every matrix of this architecture.
  bool reads_biases = false;
};

struct Family {
  const char* name;  // "llama"
  // `model_type` values of config.json and `general.architecture` of GGUF,
  // which is written as the first.
  std::vector<std::string> model_types;
  std::vector<std::string> gguf_architectures;
  Result<FamilyModel> (*from_config)(const Json& config);
  // Null when GGUF files of this family are not read, or as another family's:
  // "llama" stands for Mistral's and Mixtral's too.
  Result<FamilyModel> (*from_gguf)(const Json& metadata);
  // What stands before the names of the base model's tensors in a checkpoint of
  // a whole model, and the name of its head.
  const char* base = "model.";
  const char* head = "lm_head.weight";
  // Fields of its configuration class besides CommonFields().
  std::vector<DeclaredField> declared = {};
  // Other names of fields, and those that they mean (the class's own map).
  std::vector<std::pair<const char*, const char*>> aliases = {};
  // Fields that files may leave out, where what the class takes then is its own
  // choice; values as JSON. "a?b": a, where b is true. Translate puts them in.
  std::vector<std::pair<const char*, const char*>> defaults = {};
  GgufForm gguf = {};
  // config.json may have "attention_bias" and "mlp_bias".
  bool says_biases = false;
};

const std::vector<Family>& Families();
const Family* FindFamily(const std::string& model_type);
const Family* FindGgufFamily(const std::string& architecture);

}  // namespace intarsia
