// Tells a model's reasoning (between <think> and </think>) from its answer.
#pragma once

#include <functional>
#include <string>

namespace intarsia {

class ReasoningSplitter {
 public:
  // Called with pieces of text, in order, without the tags and the white space
  // after them.
  using Show = std::function<void(const std::string& text, bool reasoning)>;

  // `open`: the prompt ended within <think>.
  ReasoningSplitter(bool open, Show show)
      : reasoning_(open), show_(std::move(show)) {}

  void Push(const std::string& text);
  void Finish();  // what could have been the beginning of a tag

 private:
  void Emit(std::string text);

  bool reasoning_;
  bool fresh_ = false;  // nothing but white space since the last tag
  std::string held_;
  Show show_;
};

// Whether a rendered prompt leaves the model inside <think>.
bool EndsInReasoning(const std::string& prompt);

}  // namespace intarsia
