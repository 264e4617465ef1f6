#include "intarsia/tokenizer/class_steps.h"

#include <algorithm>
#include <string_view>

#include "intarsia/tokenizer/json_fields.h"

namespace intarsia {
namespace {

using Json = nlohmann::json;

constexpr char kMark[] = "\u2581";

// Model types whose tokenizer.json transformers 5.24 reads as it is, whatever
// class the configuration names (its TOKENIZER_MAPPING_NAMES).
constexpr std::string_view kReadWhole[] = {"ernie4_5",
                                           "ernie4_5_moe",
                                           "flex_olmo",
                                           "glm",
                                           "glm4",
                                           "glm4_moe",
                                           "gpt_bigcode",
                                           "granite",
                                           "granitemoe",
                                           "granitemoehybrid",
                                           "granitemoeshared",
                                           "hyperclovax",
                                           "internlm3",
                                           "iquestcoder",
                                           "jamba",
                                           "kimi_linear",
                                           "mimo_v2_flash",
                                           "minicpm3",
                                           "minimax_m2",
                                           "ministral",
                                           "ministral3",
                                           "mistral",
                                           "mistral3",
                                           "mixtral",
                                           "nemotron",
                                           "olmo2",
                                           "olmo3",
                                           "olmo_hybrid",
                                           "persimmon",
                                           "phi3",
                                           "phimoe",
                                           "stablelm"};

// A field as true or false; null and other types give `fallback`.
bool Flag(const Json& object, const char* name, bool fallback) {
  if (!object.is_object()) return fallback;
  const auto field = object.find(name);
  return field != object.end() && field->is_boolean() ? field->get<bool>()
                                                      : fallback;
}

Json ByteLevel(bool prefix_space, bool use_regex) {
  return {{"type", "ByteLevel"},
          {"add_prefix_space", prefix_space},
          {"trim_offsets", true},
          {"use_regex", use_regex}};
}

// Qwen's pattern.
Json QwenSplit() {
  constexpr const char* kPattern =
      R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|)"
      R"( ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
  return {{"type", "Split"},
          {"pattern", {{"Regex", kPattern}}},
          {"behavior", "Isolated"},
          {"invert", false}};
}

// The steps of a field one after the other, with what they leave unsaid.
void AddSteps(const Json& step, const char* list, Json* out) {
  if (!step.is_object()) return;
  if (const auto inner = step.find(list); inner != step.end()) {
    for (const Json& one : *inner) AddSteps(one, list, out);
    return;
  }
  const std::string type = step.value("type", "");
  if (type == "ByteLevel" && list == std::string_view("pretokenizers")) {
    out->push_back(ByteLevel(Flag(step, "add_prefix_space", true),
                             Flag(step, "use_regex", true)));
  } else if (type == "Metaspace") {
    const bool prefix = Flag(step, "add_prefix_space", true);
    out->push_back(
        {{"type", type},
         {"replacement", step.value("replacement", Json(kMark))},
         {"prepend_scheme",
          step.value("prepend_scheme", Json(prefix ? "always" : "never"))},
         {"split", Flag(step, "split", true)}});
  } else if (type == "Split") {
    out->push_back({{"type", type},
                    {"pattern", step.value("pattern", Json())},
                    {"behavior", step.value("behavior", Json())},
                    {"invert", Flag(step, "invert", false)}});
  } else {
    out->push_back(step);
  }
}

bool SameSteps(const Json& root, const char* field, const char* list,
               const Json& wanted) {
  Json ours = Json::array(), theirs = Json::array();
  if (const auto found = root.find(field); found != root.end()) {
    AddSteps(*found, list, &ours);
  }
  AddSteps(wanted, list, &theirs);
  return ours == theirs;
}

}  // namespace

std::string TokenizerClass(const Json& config, const std::string& model_type) {
  if (model_type == "qwen2") return kQwen2Class;  // whatever the file says
  if (config.is_object()) {
    const auto field = config.find("tokenizer_class");
    if (field != config.end() && field->is_string()) {
      std::string name = field->get<std::string>();
      if (name.ends_with("Fast")) name.resize(name.size() - 4);
      return name;
    }
  }
  if (model_type == "gpt2") return kGpt2Class;
  return model_type == "qwen3" ? kQwen2Class : "";
}

Result<bool> DummyPrefix(bool own, const Json& config) {
  if (TokenizerClass(config, "") != kLlamaClass) return own;
  return BoolField(config, "add_prefix_space", own, "the file");
}

bool ReadsTokenizerWhole(const std::string& model_type) {
  return std::ranges::find(kReadWhole, model_type) != std::end(kReadWhole);
}

ClassSteps StepsOfClass(const std::string& name, const Json& config) {
  const bool prefix = Flag(config, "add_prefix_space", name == kLlamaClass);
  if (name == kGpt2Class) return {nullptr, ByteLevel(prefix, true)};
  if (name == kQwen2Class) {
    return {{{"type", "NFC"}},
            {{"type", "Sequence"},
             {"pretokenizers", {QwenSplit(), ByteLevel(prefix, false)}}}};
  }
  const char* always = Flag(config, "legacy", false) ? "always" : "first";
  return {nullptr,
          {{"type", "Metaspace"},
           {"replacement", kMark},
           {"prepend_scheme", prefix ? always : "never"},
           {"split", false}}};
}

std::string ClassDisagrees(const Json& root, bool has_byte_level,
                           const Json& config, const std::string& model_type) {
  const std::string name = TokenizerClass(config, model_type);
  if (name != kGpt2Class && name != kLlamaClass && name != kQwen2Class) {
    return {};
  }
  if (ReadsTokenizerWhole(model_type) ||
      (name == kLlamaClass && has_byte_level)) {
    return {};
  }
  const ClassSteps steps = StepsOfClass(name, config);
  if (SameSteps(root, "normalizer", "normalizers", steps.normalizer) &&
      SameSteps(root, "pre_tokenizer", "pretokenizers", steps.pre_tokenizer)) {
    return {};
  }
  return "transformers 5.24 puts the steps of " + name +
         " in the place of \"normalizer\" and \"pre_tokenizer\" of "
         "tokenizer.json and may cut a text otherwise; here the file counts";
}

}  // namespace intarsia
