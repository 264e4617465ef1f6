#include "intarsia/families/names.h"

#include <algorithm>
#include <utility>

namespace intarsia {
namespace {

// What torch.compile, data parallelism and PEFT put before every name.
constexpr const char* kWrappers[] = {"_orig_mod.", "module.",
                                     "module._orig_mod.", "_orig_mod.module.",
                                     "base_model.model."};
// What models of several parts put before the names of their language model:
// before a whole model's, or before those of the base model.
constexpr const char* kParts[] = {
    "model.language_model.", "language_model.", "language_model.model.",
    "model.text_model.",     "text_model.",     "llm.",
    "transformer.",          "model.",          "backbone."};

}  // namespace

FileNames::FileNames(const Checkpoint& file, std::string base)
    : file_(file), base_(std::move(base)) {
  rules_.push_back({"", false});
  if (!base_.empty()) {
    rules_.push_back({"", true});
    // Fronts that no name of the file has cost nothing later.
    const auto add = [&](const std::string& front) {
      if (std::ranges::none_of(file.names(), [&](const std::string& name) {
            return name.starts_with(front);
          })) {
        return;
      }
      rules_.push_back({front, false});
      rules_.push_back({front, true});
    };
    add(base_);
    for (const char* front : kWrappers) add(front);
    for (const char* front : kParts) add(front);
  }
  used_.assign(rules_.size(), 0);
}

std::string FileNames::Apply(const Rule& rule,
                             const std::string& published) const {
  const bool cut = rule.bare && published.starts_with(base_);
  return rule.front + (cut ? published.substr(base_.size()) : published);
}

const StoredTensor* FileNames::Find(const std::string& published) const {
  for (size_t i = 0; i < rules_.size(); ++i) {
    const StoredTensor* found = file_.Find(Apply(rules_[i], published));
    if (found == nullptr) continue;
    ++used_[i];
    return found;
  }
  return nullptr;
}

std::string FileNames::In(const std::string& published) const {
  if (const StoredTensor* found = Find(published)) return found->name;
  const auto most = std::ranges::max_element(used_);
  return Apply(rules_[most - used_.begin()], published);
}

std::string FileNames::Bare(const std::string& name) const {
  std::string_view rest = name;
  for (bool cut = true; cut;) {
    cut = false;
    for (const Rule& rule : rules_) {
      if (rule.front.empty() || !rest.starts_with(rule.front)) continue;
      rest.remove_prefix(rule.front.size());
      cut = true;
    }
  }
  return std::string(rest);
}

}  // namespace intarsia
