#include "bench/kernels/gpu/report.h"

#include <cmath>
#include <cstdlib>

namespace intarsia::bench {
namespace {

std::string Quote(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + "\"";
}

}  // namespace

Report::Report(const std::string& path) {
  if (path.empty()) return;
  file_ = std::fopen(path.c_str(), "a");
  if (file_ == nullptr) {
    std::fprintf(stderr, "cannot write %s\n", path.c_str());
    std::_Exit(2);
  }
}

Report::~Report() {
  if (file_ != nullptr) std::fclose(file_);
}

Report::Field Report::Str(std::string name, std::string_view value) {
  return {std::move(name), Quote(value)};
}

Report::Field Report::Num(std::string name, double value) {
  char text[40];
  std::snprintf(text, sizeof(text), "%.6g", value);
  return {std::move(name), std::isfinite(value) ? text : Quote(text)};
}

void Report::Line(const std::vector<Field>& fields) {
  std::string json;
  for (const auto& [name, value] : fields) {
    json += (json.empty() ? "{" : ", ") + Quote(name) + ": " + value;
    const bool quoted = value.front() == '"';
    const std::string shown =
        quoted ? value.substr(1, value.size() - 2) : value;
    std::printf(quoted ? "%s  " : "%s %s  ",
                quoted ? shown.c_str() : name.c_str(), shown.c_str());
  }
  std::printf("\n");
  std::fflush(stdout);
  if (file_ == nullptr) return;
  std::fprintf(file_, "%s}\n", json.c_str());
  std::fflush(file_);
}

}  // namespace intarsia::bench
