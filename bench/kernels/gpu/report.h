// What the driver writes: a line of text on stdout and one of JSON in a file,
// as results come.
#pragma once

#include <cstdio>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace intarsia::bench {

// One JSON object a line in the output file, flushed at once, and one line of
// text on stdout. The text of a JSON value is written by Str/Num.
class Report {
 public:
  explicit Report(const std::string& path);  // "": no file
  ~Report();
  Report(const Report&) = delete;
  Report& operator=(const Report&) = delete;

  using Field = std::pair<std::string, std::string>;
  static Field Str(std::string name, std::string_view value);
  static Field Num(std::string name, double value);
  void Line(const std::vector<Field>& fields);

  // Counts a failed check; the program's exit status is 1 if there was one.
  void Fail() { ++failures_; }
  int failures() const { return failures_; }

 private:
  std::FILE* file_ = nullptr;
  int failures_ = 0;
};

}  // namespace intarsia::bench
