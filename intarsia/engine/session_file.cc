// ModelRunner::Save and Restore: a sequence's state as safetensors, one tensor
// a state, with the model's name and the length beside it.
#include <charconv>

#include "intarsia/checkpoint/checkpoint.h"
#include "intarsia/checkpoint/write.h"
#include "intarsia/core/in_file.h"
#include "intarsia/engine/model_runner.h"

namespace intarsia {

Status ModelRunner::Save(int slot, const std::string& path) const {
  std::vector<NamedTensor> tensors;
  for (StatePool::Saved& part : pool_.Save(slot)) {
    tensors.push_back({part.name, std::move(part.values)});
  }
  return WriteSafetensors(path, tensors,
                          {{"intarsia_state", "1"},
                           {"model", model_.config().name},
                           {"length", std::to_string(pool_.length(slot))}});
}

Status ModelRunner::Restore(int slot, const std::string& path) {
  ASSIGN_OR_RETURN(std::unique_ptr<Checkpoint> file, Checkpoint::Open(path));
  const auto& metadata = file->metadata();
  auto field = [&](const char* key) {
    auto it = metadata.find(key);
    return it == metadata.end() ? std::string() : it->second;
  };
  if (field("intarsia_state") != "1") {
    return InvalidArgument("[engine] " + path + " is not a saved state");
  }
  if (field("model") != model_.config().name) {
    return InvalidArgument("[engine] " + path + " belongs to model \"" +
                           field("model") + "\", this is \"" +
                           model_.config().name + "\"");
  }
  const std::string text = field("length");
  int64_t length = -1;
  const auto parsed =
      std::from_chars(text.data(), text.data() + text.size(), length);
  if (parsed.ec != std::errc() || parsed.ptr != text.data() + text.size() ||
      length < 0 || length > options_.context) {
    return InvalidArgument("[engine] " + path + ": length \"" + text +
                           "\" does not fit a context of " +
                           std::to_string(options_.context));
  }
  std::vector<StatePool::Saved> parts;
  for (size_t l = 0; l < model_.state().size(); ++l) {
    for (const StateSpec& spec : model_.state()[l].specs) {
      const std::string name = std::to_string(l) + "." + spec.name;
      const StoredTensor* stored = file->Find(name);
      if (stored == nullptr) {
        return DataLoss("[engine] " + path + " lacks state " + name);
      }
      ASSIGN_OR_RETURN(Tensor values, stored->AsTensor());
      parts.push_back({name, std::move(values)});
    }
  }
  return InFile(pool_.Restore(slot, parts, length), path);
}

}  // namespace intarsia
