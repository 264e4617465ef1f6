#pragma once

#include <string>
#include <utility>
#include <vector>

namespace intarsia {

// Holds back text that could be the start of a stop string.
class StopFilter {
 public:
  explicit StopFilter(std::vector<std::string> stops)
      : stops_(std::move(stops)) {}
  // Returns the text that is safe to show. After a stop string was found,
  // stopped() is true and all later text is dropped.
  std::string Push(const std::string& text);
  std::string Finish();  // what was held back
  bool stopped() const { return stopped_; }

 private:
  std::vector<std::string> stops_;
  std::string held_;
  bool stopped_ = false;
};

}  // namespace intarsia
