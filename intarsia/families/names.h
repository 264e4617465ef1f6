// Which tensor of a file each name of a family's layout means.
//
// A checkpoint of the bare model lacks the base model's prefix ("wte.weight"
// for "transformer.wte.weight"); wrappers put names in front
// ("_orig_mod.model.", "base_model.model.model.", "model.language_model.").
// Hugging Face's library looks for each tensor on its own, with the prefix and
// without, and so do we.
#pragma once

#include <string>
#include <vector>

#include "intarsia/checkpoint/checkpoint.h"
#include "intarsia/families/family.h"

namespace intarsia {

class FileNames {
 public:
  // `base`: what stands before the names of the base model's tensors in files
  // of a whole model, "model."; "" where a file has one way to name things
  // (GGUF, this project's own).
  FileNames(const Checkpoint& file, std::string base);

  // The tensor, under the published name or another of its names; null: there
  // is none.
  const StoredTensor* Find(const std::string& published) const;

  // The file's name of the tensor; where it is missing, what the file would
  // call it, judged by its other tensors.
  std::string In(const std::string& published) const;

  // `name` of the file without what wrappers and the base model put in front:
  // "layers.0.mlp.up_proj.weight", "lm_head.weight".
  std::string Bare(const std::string& name) const;

 private:
  struct Rule {
    std::string front;
    bool bare;  // instead of the base's prefix
  };
  std::string Apply(const Rule& rule, const std::string& published) const;

  const Checkpoint& file_;
  std::string base_;
  std::vector<Rule> rules_;        // in order of preference
  mutable std::vector<int> used_;  // times each rule found a tensor
};

}  // namespace intarsia
