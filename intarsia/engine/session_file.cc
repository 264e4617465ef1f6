// ModelRunner::Save and Restore, and what lies between them.
#include "intarsia/engine/session_file.h"

#include <algorithm>
#include <charconv>

#include "intarsia/checkpoint/checked.h"
#include "intarsia/checkpoint/write.h"
#include "intarsia/core/counted.h"
#include "intarsia/core/in_file.h"
#include "intarsia/engine/model_identity.h"
#include "intarsia/engine/model_runner.h"
#include "intarsia/model/state_specs.h"

namespace intarsia {
namespace {

constexpr char kVersion[] = "2";
constexpr int64_t kMostTokens = 1 << 24;
constexpr char kTokens[] = "tokens";

// The states that a file should hold, in the format that its own entries have.
Result<StateLayout> LayoutOf(const Checkpoint& file, const Model& model) {
  const bool scaled =
      std::ranges::any_of(file.tensors(), [](const StoredTensor& tensor) {
        return tensor.name.ends_with(".scale");
      });
  return StateLayout::Make(StateSpecs(model),
                           {.token_dtype = scaled ? DType::kI8 : DType::kBF16});
}

// "llama (3f2a90c1)": models of one architecture often share their name.
std::string Described(const std::string& name, const std::string& identity) {
  return "\"" + Printable(name) + "\" (weights " +
         Printable(identity.substr(0, 8)) + ")";
}

Result<std::string> Field(const Checkpoint& file, const char* key) {
  const auto it = file.metadata().find(key);
  if (it != file.metadata().end()) return it->second;
  return DataLoss("[engine] " + file.path() + ": the field \"" + key +
                  "\" of a saved state is missing");
}

Status CheckVersion(const Checkpoint& file) {
  const auto it = file.metadata().find("intarsia_state");
  if (it == file.metadata().end()) {
    return InvalidArgument("[engine] " + file.path() + ": not a saved state");
  }
  if (it->second == kVersion) return Status::Ok();
  if (it->second == "1") {
    return Unsupported("[engine] " + file.path() +
                       ": the state was saved by an earlier version, which "
                       "did not record whose weights it belongs to; run the "
                       "prompt and save it again");
  }
  return Unsupported("[engine] " + file.path() + ": a saved state of version " +
                     Printable(it->second) + ", this program knows " +
                     kVersion);
}

Result<int64_t> ReadLength(const Checkpoint& file, const char* key) {
  ASSIGN_OR_RETURN(const std::string text, Field(file, key));
  int64_t length = -1;
  const auto parsed =
      std::from_chars(text.data(), text.data() + text.size(), length);
  if (parsed.ec == std::errc() && parsed.ptr == text.data() + text.size() &&
      length >= 0 && length <= kMostTokens) {
    return length;
  }
  return InvalidArgument("[engine] " + file.path() + ": the " + key + " \"" +
                         Printable(text) + "\" is not a number from 0 to " +
                         std::to_string(kMostTokens));
}

// The tokens that the state has seen, of a model that may run them again.
Result<std::vector<int32_t>> ReadTokens(const Checkpoint& file,
                                        const Model& model, int64_t length) {
  const StoredTensor* stored = file.Find(kTokens);
  const std::string where = "[engine] " + file.path() + ": ";
  if (stored == nullptr) {
    return DataLoss(where + "the tokens that the state has seen are missing");
  }
  ASSIGN_OR_RETURN(const Tensor tensor, stored->AsTensor());
  if (tensor.dtype() != DType::kI32 || tensor.numel() != length) {
    return DataLoss(where + "the tokens are not " + std::to_string(length) +
                    " whole numbers");
  }
  std::vector<int32_t> tokens = tensor.ToVector<int32_t>();
  for (const int32_t token : tokens) {
    if (token >= 0 && token < model.config().vocab_size) continue;
    return InvalidArgument(where + "token " + std::to_string(token) +
                           " is outside the vocabulary");
  }
  return tokens;
}

}  // namespace

Result<SavedSequence> SavedSequence::Open(const std::string& path,
                                          const Model& model, int threads) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Checkpoint> file,
                   Checkpoint::OpenRecord(path, "engine", "a saved state"));
  RETURN_IF_ERROR(CheckVersion(*file));
  ASSIGN_OR_RETURN(const std::string name, Field(*file, "model"));
  ASSIGN_OR_RETURN(const std::string weights, Field(*file, "weights"));
  SavedSequence saved;
  saved.path_ = path;
  saved.model_ = &model;
  {
    ThreadPool pool(threads);
    saved.identity_ = ModelIdentity(model, pool);
  }
  if (weights != saved.identity_) {
    return InvalidArgument("[engine] " + path +
                           ": the state belongs to another model, " +
                           Described(name, weights) + "; this one is " +
                           Described(model.config().name, saved.identity_));
  }
  ASSIGN_OR_RETURN(saved.length_, ReadLength(*file, "length"));
  saved.total_ = saved.length_;
  const bool ends = !model.state_ends().empty();
  if (ends) {
    ASSIGN_OR_RETURN(saved.total_, ReadLength(*file, "total"));
    ASSIGN_OR_RETURN(saved.tokens_, ReadTokens(*file, model, saved.length_));
  }
  ASSIGN_OR_RETURN(const StateLayout layout, LayoutOf(*file, model));
  for (const StateLayout::Part& part : layout.Parts(saved.length_)) {
    const StoredTensor* stored = file->Find(part.name);
    if (stored == nullptr) {
      return DataLoss("[engine] " + path + ": the state " + part.name +
                      " is missing");
    }
    if (!(stored->shape == part.shape) && !(stored->shape == part.whole)) {
      return DataLoss("[engine] " + path + ": the state " + part.name +
                      " has " + stored->shape.ToString() + ", it should have " +
                      part.shape.ToString());
    }
    ASSIGN_OR_RETURN(Tensor values, stored->AsTensor());
    saved.parts_.push_back({part.name, std::move(values)});
  }
  const size_t tensors = saved.parts_.size() + (ends ? 1 : 0);
  if (tensors != file->tensors().size()) {
    return DataLoss(
        "[engine] " + path + ": holds " +
        Counted(static_cast<int64_t>(file->tensors().size()), "tensor") +
        ", the state of this model has " + std::to_string(tensors));
  }
  return saved;
}

const std::string& ModelRunner::Identity() {
  if (identity_.empty()) identity_ = ModelIdentity(model_, threads_);
  return identity_;
}

Status ModelRunner::Save(int slot, const std::string& path) {
  std::vector<NamedTensor> tensors;
  for (StatePool::Saved& part : pool_.Save(slot)) {
    tensors.push_back({part.name, std::move(part.values)});
  }
  SafetensorsMetadata metadata = {
      {"intarsia_state", kVersion},
      {"model", ToUtf8(model_.config().name)},
      {"weights", Identity()},
      {"length", std::to_string(pool_.length(slot))}};
  if (!model_.state_ends().empty()) {
    const Kept& sequence = kept_.at(slot);
    metadata["total"] = std::to_string(sequence.total);
    tensors.push_back(
        {kTokens, Tensor::From(sequence.tokens, {static_cast<int64_t>(
                                                    sequence.tokens.size())})});
  }
  return WriteSafetensors(path, tensors, metadata);
}

Status ModelRunner::Restore(int slot, const std::string& path) {
  ASSIGN_OR_RETURN(const SavedSequence saved,
                   SavedSequence::Open(path, model_, options_.threads));
  return Restore(slot, saved);
}

Status ModelRunner::Restore(int slot, const SavedSequence& saved) {
  CHECK(&saved.model() == &model_) << saved.path() << " is of another model";
  identity_ = saved.identity();
  const std::string where = "[engine] " + saved.path() + ": ";
  if (saved.length() > options_.context) {
    return InvalidArgument(
        where + "the state has seen " + std::to_string(saved.length()) +
        " tokens, the context holds " + std::to_string(options_.context) +
        "; raise it with --ctx");
  }
  const std::vector<StateLayout::Part> wanted =
      pool_.layout().Parts(saved.length());
  for (size_t i = 0; i < std::min(wanted.size(), saved.parts().size()); ++i) {
    const DType dtype = saved.parts()[i].values.dtype();
    if (dtype == wanted[i].dtype) continue;
    return InvalidArgument(where + "the state " + wanted[i].name + " is " +
                           std::string(Name(dtype)) + ", it should be " +
                           std::string(Name(wanted[i].dtype)) +
                           (wanted[i].token ? "; see --state-dtype" : ""));
  }
  RETURN_IF_ERROR(
      InFile(pool_.Restore(slot, saved.parts(), saved.length()), saved.path()));
  kept_.at(slot) = {.total = saved.total(),
                    .tokens = saved.tokens(),
                    .reserved = saved.length()};
  return Status::Ok();
}

}  // namespace intarsia
