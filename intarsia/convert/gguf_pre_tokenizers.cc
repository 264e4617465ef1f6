#include "intarsia/convert/gguf_pre_tokenizers.h"

#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "intarsia/tokenizer/pre_tokenizer.h"

namespace intarsia {
namespace {

using Json = nlohmann::json;
using Patterns = std::vector<std::string>;

// Two ways to write the same: published patterns have the first.
constexpr std::string_view kFolded = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
constexpr std::string_view kSpelled =
    "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])";

std::string Replaced(std::string text, std::string_view from,
                     std::string_view to) {
  for (size_t at = text.find(from); at != text.npos;
       at = text.find(from, at + to.size())) {
    text.replace(at, from.size(), to);
  }
  return text;
}

Json Step(const std::string& pattern) {
  return {{"type", "Split"},
          {"pattern", {{"Regex", Replaced(pattern, kSpelled, kFolded)}}},
          {"behavior", "Isolated"},
          {"invert", false}};
}

// The pattern that a step splits by, "" where it splits nothing more; nothing:
// it does something else. Sets `bytes` at ByteLevel.
std::optional<std::string> PatternOf(const Json& step, bool* bytes) {
  const std::string type = step.is_object() ? step.value("type", "") : "";
  if (type == "ByteLevel") {
    if (step.value("add_prefix_space", true)) return std::nullopt;
    *bytes = true;
    return step.value("use_regex", true) ? kGpt2Pattern : "";
  }
  if (type == "Digits") {
    return step.value("individual_digits", false) ? "\\p{N}" : "\\p{N}+";
  }
  if (type != "Split") return std::nullopt;
  const Json pattern = step.value("pattern", Json());
  const bool invert = step.value("invert", false);
  const std::string behavior = step.value("behavior", "");
  // What lies between the matches of a pattern that takes all is nothing.
  if (!(behavior == "Isolated" || (behavior == "Removed" && invert)) ||
      !pattern.is_object() || !pattern.contains("Regex") ||
      !pattern["Regex"].is_string()) {
    return std::nullopt;
  }
  return Replaced(pattern["Regex"], kFolded, kSpelled);
}

std::optional<Patterns> PatternsOf(const Json& json) {
  const Json steps = json.value("type", "") == "Sequence"
                         ? json.value("pretokenizers", Json::array())
                         : Json::array({json});
  Patterns patterns;
  bool bytes = false;
  for (const Json& step : steps) {
    const std::optional<std::string> pattern = PatternOf(step, &bytes);
    if (!pattern) return std::nullopt;
    if (!pattern->empty()) patterns.push_back(*pattern);
  }
  if (!bytes) return std::nullopt;
  return patterns;
}

const PreTokenizerName* FindName(const std::string& name) {
  for (const PreTokenizerName& known : PreTokenizerNames()) {
    if (known.name == name) return &known;
  }
  return nullptr;
}

}  // namespace

Json ByteLevelStep(bool regex) {
  return {{"type", "ByteLevel"},
          {"add_prefix_space", false},
          {"trim_offsets", true},
          {"use_regex", regex}};
}

Json PreTokenizerOf(const std::string& name) {
  const PreTokenizerName* known = FindName(name.empty() ? "default" : name);
  if (known == nullptr || !known->rest.bytes) return nullptr;
  Json steps = Json::array();
  for (const std::string& pattern : known->patterns) {
    steps.push_back(pattern == "\\p{N}"
                        ? Json{{"type", "Digits"}, {"individual_digits", true}}
                        : Step(pattern));
  }
  const bool regex = !known->patterns.empty() &&
                     known->patterns.back() == std::string_view(kGpt2Pattern);
  if (regex) steps.erase(steps.size() - 1);
  steps.push_back(ByteLevelStep(regex));
  if (steps.size() == 1) return steps[0];
  return {{"type", "Sequence"}, {"pretokenizers", steps}};
}

std::string NameOfPreTokenizer(const Json& json, bool ignore_merges) {
  if (!json.is_object()) return {};
  const std::optional<Patterns> patterns = PatternsOf(json);
  if (!patterns) return {};
  std::string other;
  for (const PreTokenizerName& known : PreTokenizerNames()) {
    Patterns spelled = known.patterns;
    for (std::string& one : spelled) one = Replaced(one, kFolded, kSpelled);
    if (!known.rest.bytes || spelled != *patterns) continue;
    if (known.rest.ignore_merges == ignore_merges) return known.name;
    if (other.empty()) other = known.name;
  }
  return other;
}

bool IgnoresMerges(const std::string& name) {
  const PreTokenizerName* known = FindName(name);
  return known != nullptr && known->rest.ignore_merges;
}

bool UsuallyAddsBos(const std::string& name) {
  const PreTokenizerName* known = FindName(name);
  return known != nullptr && known->rest.add_bos;
}

}  // namespace intarsia
