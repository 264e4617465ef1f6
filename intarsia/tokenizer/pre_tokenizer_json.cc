// PreTokenizer::FromJson: the "pre_tokenizer" of a tokenizer.json.
#include <nlohmann/json.hpp>
#include <utility>

#include "intarsia/tokenizer/characters.h"
#include "intarsia/tokenizer/json_fields.h"
#include "intarsia/tokenizer/pre_tokenizer.h"
#include "intarsia/tokenizer/utf8.h"

namespace intarsia {
namespace {

using Json = nlohmann::json;

constexpr int kMaxDepth = 8;
constexpr size_t kMaxStages = 64;
const std::string kWhere = "pre_tokenizer";

// What the `tokenizers` library takes for punctuation.
constexpr const char* kPunctuation =
    "[!-/:-@\\[-`{-~\\x{166d}\\x{111c9}]|[^\\P{P}"
#include "intarsia/tokenizer/unicode_later.inc"
    "]";
// The White_Space property; \\s is translated to it.
constexpr const char* kSpaces = "\\s+";

Result<SplitBehavior> ParseBehavior(const std::string& name) {
  if (name == "Isolated") return SplitBehavior::kIsolated;
  if (name == "Removed") return SplitBehavior::kRemoved;
  if (name == "MergedWithPrevious") return SplitBehavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return SplitBehavior::kMergedWithNext;
  if (name == "Contiguous") return SplitBehavior::kContiguous;
  return InvalidArgument(kWhere + ": unknown behavior \"" + name +
                         "\" (known: Isolated, Removed, MergedWithPrevious, "
                         "MergedWithNext, Contiguous)");
}

// The one character of a field.
Result<std::string> Character(const Json& spec, const char* name,
                              const char* fallback) {
  if (fallback != nullptr && !spec.contains(name)) return std::string(fallback);
  ASSIGN_OR_RETURN(std::string text, StringField(spec, name, kWhere));
  if (text.empty() || NextUtf8(text).length != text.size()) {
    return InvalidArgument(kWhere + "." + name + ": must be one character");
  }
  return text;
}

}  // namespace

Status PreTokenizer::AddJson(const Json& spec, int depth) {
  if (depth > kMaxDepth || stages_.size() > kMaxStages) {
    return InvalidArgument(kWhere + ": too many or too deeply nested parts");
  }
  RETURN_IF_ERROR(CheckObject(spec, kWhere));
  ASSIGN_OR_RETURN(const std::string name, StringField(spec, "type", kWhere));
  const std::string_view type = name;
  if (type == "Sequence") {
    ASSIGN_OR_RETURN(const Json* parts,
                     ArrayField(spec, "pretokenizers", kWhere));
    for (const Json& part : *parts) RETURN_IF_ERROR(AddJson(part, depth + 1));
    return Status::Ok();
  }
  if (type == "ByteLevel") return AddJsonByteLevel(spec);
  if (type == "Split") return AddJsonSplit(spec);
  if (type == "Metaspace") return AddJsonMetaspace(spec);
  if (type == "Digits") {
    ASSIGN_OR_RETURN(const bool individual,
                     BoolField(spec, "individual_digits", false, kWhere));
    return AddSplit(individual ? "\\p{N}" : "\\p{N}+",
                    SplitBehavior::kIsolated);
  }
  if (type == "Punctuation") {
    SplitBehavior behavior = SplitBehavior::kIsolated;
    if (spec.contains("behavior")) {
      ASSIGN_OR_RETURN(const std::string text,
                       StringField(spec, "behavior", kWhere));
      ASSIGN_OR_RETURN(behavior, ParseBehavior(text));
    }
    return AddSplit(kPunctuation, behavior);
  }
  if (type == "Whitespace") {
    return AddSplit(
        std::string("[") + kRustWord + "]+|[^\\s" + kRustWord + "]+",
        SplitBehavior::kRemoved, true);
  }
  if (type == "WhitespaceSplit") {
    return AddSplit(kSpaces, SplitBehavior::kRemoved);
  }
  if (type == "BertPreTokenizer") {
    RETURN_IF_ERROR(AddSplit(kSpaces, SplitBehavior::kRemoved));
    return AddSplit(kPunctuation, SplitBehavior::kIsolated);
  }
  if (type == "CharDelimiterSplit") {
    Stage stage;
    ASSIGN_OR_RETURN(const std::string delimiter,
                     Character(spec, "delimiter", nullptr));
    ASSIGN_OR_RETURN(stage.regex, Regex::Literal(delimiter));
    stage.behavior = SplitBehavior::kRemoved;
    stages_.push_back(std::move(stage));
    return Status::Ok();
  }
  if (type == "FixedLength") {
    Stage stage;
    stage.kind = Kind::kFixedLength;
    const auto length = spec.find("length");
    if (length == spec.end() || !length->is_number_unsigned() ||
        *length == 0u || length->get<uint64_t>() > 1u << 20) {
      return InvalidArgument(kWhere + ".length: must be in 1..1048576");
    }
    stage.length = length->get<size_t>();
    stages_.push_back(std::move(stage));
    return Status::Ok();
  }
  return Unsupported(
      kWhere + ": type \"" + name +
      "\" (known: BertPreTokenizer, ByteLevel, CharDelimiterSplit, Digits, "
      "FixedLength, Metaspace, Punctuation, Sequence, Split, Whitespace, "
      "WhitespaceSplit)");
}

Status PreTokenizer::AddJsonByteLevel(const Json& spec) {
  if (byte_level_) return Unsupported(kWhere + ": ByteLevel twice");
  byte_level_ = true;
  ASSIGN_OR_RETURN(const bool prefix_space,
                   BoolField(spec, "add_prefix_space", true, kWhere));
  if (prefix_space) {
    stages_.emplace_back();
    stages_.back().kind = Kind::kPrefixSpace;
  }
  ASSIGN_OR_RETURN(const bool use_regex,
                   BoolField(spec, "use_regex", true, kWhere));
  if (use_regex) {
    RETURN_IF_ERROR(AddSplit(kGpt2Pattern, SplitBehavior::kIsolated));
  }
  stages_.emplace_back();
  stages_.back().kind = Kind::kToAlphabet;
  return Status::Ok();
}

Status PreTokenizer::AddJsonSplit(const Json& spec) {
  Stage stage;
  ASSIGN_OR_RETURN(const std::string behavior,
                   StringField(spec, "behavior", kWhere));
  ASSIGN_OR_RETURN(stage.behavior, ParseBehavior(behavior));
  ASSIGN_OR_RETURN(stage.invert, BoolField(spec, "invert", false, kWhere));
  const auto pattern = spec.find("pattern");
  if (pattern == spec.end() || !pattern->is_object()) {
    return InvalidArgument(kWhere + ".pattern: must be an object");
  }
  const bool literal = !pattern->contains("Regex");
  ASSIGN_OR_RETURN(
      const std::string text,
      StringField(*pattern, literal ? "String" : "Regex", kWhere + ".pattern"));
  ASSIGN_OR_RETURN(stage.regex,
                   literal ? Regex::Literal(text) : Regex::Compile(text));
  stages_.push_back(std::move(stage));
  return Status::Ok();
}

Status PreTokenizer::AddJsonMetaspace(const Json& spec) {
  Stage stage;
  stage.kind = Kind::kMetaspace;
  ASSIGN_OR_RETURN(stage.mark, Character(spec, "replacement", "\xE2\x96\x81"));
  ASSIGN_OR_RETURN(const bool prefix_space,
                   BoolField(spec, "add_prefix_space", true, kWhere));
  stage.prepend = prefix_space ? Prepend::kAlways : Prepend::kNever;
  if (spec.contains("prepend_scheme")) {
    ASSIGN_OR_RETURN(const std::string scheme,
                     StringField(spec, "prepend_scheme", kWhere));
    if (scheme == "first") {
      stage.prepend = Prepend::kFirst;
    } else if (scheme == "never") {
      stage.prepend = Prepend::kNever;
    } else if (scheme == "always") {
      stage.prepend = Prepend::kAlways;
    } else {
      return InvalidArgument(kWhere + ".prepend_scheme: \"" + scheme +
                             "\" (known: first, never, always)");
    }
  }
  ASSIGN_OR_RETURN(const bool split, BoolField(spec, "split", true, kWhere));
  const std::string mark = stage.mark;
  stages_.push_back(std::move(stage));
  if (split) {
    Stage cut;
    ASSIGN_OR_RETURN(cut.regex, Regex::Literal(mark));
    cut.behavior = SplitBehavior::kMergedWithNext;
    stages_.push_back(std::move(cut));
  }
  return Status::Ok();
}

Result<PreTokenizer> PreTokenizer::FromJson(const Json& spec) {
  PreTokenizer result;
  if (spec.is_null()) return result;
  RETURN_IF_ERROR(result.AddJson(spec, 0));
  if (!result.byte_level_) return result;
  // The model reads bytes: what follows the alphabet needs it, but at the end
  // it would be undone at once.
  if (result.stages_.back().kind == Kind::kToAlphabet) {
    result.stages_.pop_back();
  } else {
    result.stages_.emplace_back();
    result.stages_.back().kind = Kind::kFromAlphabet;
  }
  return result;
}

}  // namespace intarsia
