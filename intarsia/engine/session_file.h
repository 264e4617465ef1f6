// A sequence's state in a file: safetensors, one tensor a state, with the
// length and the model's name and identity beside it (model_identity.h).
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "intarsia/cache/pool.h"
#include "intarsia/checkpoint/checkpoint.h"
#include "intarsia/core/status.h"
#include "intarsia/model/model.h"

namespace intarsia {

class SavedSequence {
 public:
  // Maps and checks a file, which may hold anything: that it belongs to
  // `model` (hashed on so many threads; 0: all), has each of its states in the
  // right shape for the length and nothing else. Messages name the file.
  static Result<SavedSequence> Open(const std::string& path, const Model& model,
                                    int threads = 0);

  int64_t length() const { return length_; }  // tokens that it has seen
  const std::string& path() const { return path_; }
  const Model& model() const { return *model_; }
  const std::string& identity() const { return identity_; }  // the model's
  const std::vector<StatePool::Saved>& parts() const { return parts_; }
  // How long a sequence it was computed for (Batch::lengths), and the tokens,
  // which a model whose state may end (Model::state_ends) goes on from.
  int64_t total() const { return total_; }
  const std::vector<int32_t>& tokens() const { return tokens_; }

 private:
  SavedSequence() = default;
  std::string path_, identity_;
  const Model* model_ = nullptr;
  int64_t length_ = 0, total_ = 0;
  std::vector<int32_t> tokens_;
  std::vector<StatePool::Saved> parts_;
};

}  // namespace intarsia
