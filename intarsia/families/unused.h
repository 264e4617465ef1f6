// What of a checkpoint a model does not use: what belongs to the model, which
// is an error, what belongs to another part, and what never mattered.
#pragma once

#include <map>
#include <nlohmann/json_fwd.hpp>
#include <set>
#include <string>
#include <vector>

#include "intarsia/families/family.h"

namespace intarsia {

struct Unused {
  std::vector<std::string> tensors;   // of the model's own namespace
  std::vector<std::string> fields;    // that change what is computed
  std::vector<std::string> warnings;  // a line a kind
};

// Whose tensor it is by its name.
struct TensorNamespace {
  std::string family;
  int blocks = 0;
  // First parts of names without prefixes: "layers", "embed_tokens", "lm_head".
  std::set<std::string> own;
};

// `names`: tensors that nobody uses, as the file has them, and without what
// wrappers and the base model put in front.
void SortTensors(const std::map<std::string, std::string>& names,
                 const TensorNamespace& space, Unused* unused);

// `names`: fields of `config` that nobody reads. `declared`: those that the
// reference library's configuration class has. `prefix`: of their keys.
void SortFields(const std::vector<std::string>& names,
                const nlohmann::json& config, const std::string& prefix,
                const std::vector<DeclaredField>& declared, Unused* unused);

// Fields that every class of transformers 5.24 has, and keys of an architecture
// that llama.cpp reads whatever that is.
const std::vector<DeclaredField>& CommonFields();
const std::vector<DeclaredField>& CommonGgufFields();

}  // namespace intarsia
