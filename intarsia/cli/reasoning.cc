#include "intarsia/cli/reasoning.h"

#include <algorithm>

namespace intarsia {
namespace {

const std::string kOpen = "<think>";
const std::string kClose = "</think>";
constexpr char kSpace[] = " \t\r\n";

}  // namespace

void ReasoningSplitter::Push(const std::string& text) {
  held_ += text;
  for (;;) {
    const std::string& tag = reasoning_ ? kClose : kOpen;
    const size_t at = held_.find(tag);
    if (at != std::string::npos) {
      Emit(held_.substr(0, at));
      held_.erase(0, at + tag.size());
      reasoning_ = !reasoning_;
      fresh_ = true;
      continue;
    }
    // The end of the text that may begin the tag stays.
    size_t keep = std::min(tag.size() - 1, held_.size());
    while (!held_.ends_with(tag.substr(0, keep))) --keep;
    Emit(held_.substr(0, held_.size() - keep));
    held_.erase(0, held_.size() - keep);
    return;
  }
}

void ReasoningSplitter::Finish() {
  Emit(held_);
  held_.clear();
}

void ReasoningSplitter::Emit(std::string text) {
  if (fresh_) {
    text.erase(0, std::min(text.find_first_not_of(kSpace), text.size()));
  }
  if (text.empty()) return;
  fresh_ = false;
  show_(text, reasoning_);
}

bool EndsInReasoning(const std::string& prompt) {
  const size_t last = prompt.find_last_not_of(kSpace);
  return last != std::string::npos &&
         prompt.substr(0, last + 1).ends_with(kOpen);
}

}  // namespace intarsia
