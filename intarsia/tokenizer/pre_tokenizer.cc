#include "intarsia/tokenizer/pre_tokenizer.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <nlohmann/json.hpp>
#include <utility>

#include "intarsia/tokenizer/json_fields.h"

namespace intarsia {
namespace {

using Json = nlohmann::json;

constexpr int kMaxDepth = 8;
constexpr size_t kMaxStages = 64;

constexpr const char* kGpt2 =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|"
    "\\s+(?!\\S)|\\s+";
constexpr const char* kLlama3 =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}|"
    " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
constexpr const char* kQwen2 =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}|"
    " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
constexpr const char* kDigit = "\\p{N}";

// The names that GGUF files carry, with the splits they stand for.
struct NamedPreTokenizer {
  const char* name;
  std::array<const char*, 4> patterns;  // those set, in order
  bool ignore_merges;
};
constexpr NamedPreTokenizer kNamed[] = {
    {"gpt-2", {kGpt2}, false},
    {"gpt2", {kGpt2}, false},
    {"phi-2", {kGpt2}, false},
    {"mpt", {kGpt2}, false},
    {"olmo", {kGpt2}, false},
    {"jais", {kGpt2}, false},
    {"smollm", {kDigit, kGpt2}, false},
    {"starcoder", {kDigit, kGpt2}, false},
    {"refact", {kDigit, kGpt2}, false},
    {"command-r", {kDigit, kGpt2}, false},
    {"codeshell", {kDigit, kGpt2}, false},
    {"llama-bpe", {kLlama3}, true},
    {"llama3", {kLlama3}, true},
    {"llama-v3", {kLlama3}, true},
    {"smaug-bpe", {kLlama3}, false},
    {"dbrx", {kLlama3}, false},
    {"qwen2", {kQwen2}, false},
    {"stablelm2", {kQwen2}, false},
    {"deepseek-r1-qwen", {kQwen2}, false},
    {"default",
     {"[\\p{P}\\$\\+<=>\\^~\\|]+", kGpt2, "\\p{N}+", "[0-9][0-9][0-9]"},
     false},
};

Result<SplitBehavior> ParseBehavior(const std::string& name) {
  if (name == "Isolated") return SplitBehavior::kIsolated;
  if (name == "Removed") return SplitBehavior::kRemoved;
  if (name == "MergedWithPrevious") return SplitBehavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return SplitBehavior::kMergedWithNext;
  if (name == "Contiguous") return SplitBehavior::kContiguous;
  return InvalidArgument("pre_tokenizer: unknown behavior \"" + name + "\"");
}

// Collects spans of one text and joins them as the behavior says.
class Joiner {
 public:
  Joiner(std::string_view text, SplitBehavior behavior,
         std::vector<std::string_view>* out)
      : text_(text), behavior_(behavior), out_(out) {}

  // Spans arrive in order and leave no gap.
  void Add(size_t begin, size_t end, bool is_match) {
    bool join = false;
    switch (behavior_) {
      case SplitBehavior::kIsolated:
        break;
      case SplitBehavior::kRemoved:
        Flush();
        open_ = false;
        if (is_match) return;
        break;
      case SplitBehavior::kMergedWithPrevious:
        join = is_match && !last_match_;
        break;
      case SplitBehavior::kMergedWithNext:
        join = !is_match && last_match_;
        break;
      case SplitBehavior::kContiguous:
        join = is_match == last_match_;
        break;
    }
    if (!(open_ && join)) {
      Flush();
      begin_ = begin;
    }
    end_ = end;
    open_ = true;
    last_match_ = is_match;
  }

  void Flush() {
    if (open_ && end_ > begin_) {
      out_->push_back(text_.substr(begin_, end_ - begin_));
    }
  }

 private:
  std::string_view text_;
  SplitBehavior behavior_;
  std::vector<std::string_view>* out_;
  bool open_ = false;
  bool last_match_ = false;
  size_t begin_ = 0;
  size_t end_ = 0;
};

void SplitOne(Regex::Matcher* matcher, std::string_view text,
              SplitBehavior behavior, bool invert,
              std::vector<std::string_view>* out) {
  Joiner joiner(text, behavior, out);
  size_t done = 0, begin = 0, end = 0;
  while (done < text.size() && matcher->Find(text, done, &begin, &end)) {
    if (begin > done) joiner.Add(done, begin, invert);
    joiner.Add(begin, end, !invert);
    done = end;
  }
  if (done < text.size()) joiner.Add(done, text.size(), invert);
  joiner.Flush();
}

}  // namespace

Status PreTokenizer::AddSplit(std::string_view pattern, SplitBehavior behavior,
                              bool invert) {
  ASSIGN_OR_RETURN(Regex regex, Regex::Compile(pattern));
  stages_.push_back({false, std::move(regex), behavior, invert});
  return Status::Ok();
}

Status PreTokenizer::AddJson(const Json& spec, int depth) {
  const std::string where = "pre_tokenizer";
  if (depth > kMaxDepth || stages_.size() > kMaxStages) {
    return InvalidArgument(where + ": too many or too deeply nested parts");
  }
  RETURN_IF_ERROR(CheckObject(spec, where));
  ASSIGN_OR_RETURN(const std::string name, StringField(spec, "type", where));
  const std::string_view type = name;
  if (type == "Sequence") {
    ASSIGN_OR_RETURN(const Json* parts,
                     ArrayField(spec, "pretokenizers", where));
    for (const Json& part : *parts) RETURN_IF_ERROR(AddJson(part, depth + 1));
    return Status::Ok();
  }
  if (byte_level_) return Unsupported(where + ": " + name + " after ByteLevel");
  if (type == "ByteLevel") return AddJsonByteLevel(spec);
  if (type == "Split") return AddJsonSplit(spec);
  if (type == "Digits") {
    ASSIGN_OR_RETURN(const bool individual,
                     BoolField(spec, "individual_digits", false, where));
    return AddSplit(individual ? kDigit : "\\p{N}+", SplitBehavior::kIsolated,
                    false);
  }
  return Unsupported(where + ": type \"" + name +
                     "\" (known: ByteLevel, Digits, Split, Sequence)");
}

Status PreTokenizer::AddJsonByteLevel(const Json& spec) {
  const std::string where = "pre_tokenizer";
  byte_level_ = true;
  ASSIGN_OR_RETURN(const bool prefix_space,
                   BoolField(spec, "add_prefix_space", true, where));
  ASSIGN_OR_RETURN(const bool use_regex,
                   BoolField(spec, "use_regex", true, where));
  if (prefix_space) {
    stages_.emplace_back();
    stages_.back().prefix_space = true;
  }
  if (!use_regex) return Status::Ok();
  return AddSplit(kGpt2, SplitBehavior::kIsolated, false);
}

Status PreTokenizer::AddJsonSplit(const Json& spec) {
  const std::string where = "pre_tokenizer";
  Stage stage;
  ASSIGN_OR_RETURN(const std::string behavior,
                   StringField(spec, "behavior", where));
  ASSIGN_OR_RETURN(stage.behavior, ParseBehavior(behavior));
  ASSIGN_OR_RETURN(stage.invert, BoolField(spec, "invert", false, where));
  const auto pattern = spec.find("pattern");
  if (pattern == spec.end() || !pattern->is_object()) {
    return InvalidArgument(where + ".pattern: must be an object");
  }
  const bool literal = !pattern->contains("Regex");
  ASSIGN_OR_RETURN(
      const std::string text,
      StringField(*pattern, literal ? "String" : "Regex", where + ".pattern"));
  ASSIGN_OR_RETURN(stage.regex,
                   literal ? Regex::Literal(text) : Regex::Compile(text));
  stages_.push_back(std::move(stage));
  return Status::Ok();
}

Result<PreTokenizer> PreTokenizer::FromJson(const Json& spec) {
  PreTokenizer result;
  RETURN_IF_ERROR(result.AddJson(spec, 0));
  if (!result.byte_level_) {
    return Unsupported(
        "pre_tokenizer: without a ByteLevel part this is not byte-level BPE");
  }
  return result;
}

Result<PreTokenizer> PreTokenizer::FromName(std::string_view name,
                                            bool* ignore_merges) {
  const auto* named =
      std::find_if(std::begin(kNamed), std::end(kNamed),
                   [&](const NamedPreTokenizer& n) { return n.name == name; });
  if (named == std::end(kNamed)) {
    return Unsupported("unknown pre-tokenizer \"" + std::string(name) + "\"");
  }
  PreTokenizer result;
  for (const char* pattern : named->patterns) {
    if (pattern == nullptr) break;
    RETURN_IF_ERROR(result.AddSplit(pattern, SplitBehavior::kIsolated, false));
  }
  *ignore_merges = named->ignore_merges;
  return result;
}

void PreTokenizer::Split(std::string_view text,
                         std::vector<std::string_view>* pieces,
                         std::deque<std::string>* storage) const {
  if (text.empty()) return;
  std::vector<std::string_view> from{text}, to;
  for (const Stage& stage : stages_) {
    to.clear();
    if (stage.prefix_space) {
      for (const std::string_view piece : from) {
        if (piece.front() == ' ') {
          to.push_back(piece);
        } else {
          to.push_back(storage->emplace_back(" ").append(piece));
        }
      }
    } else {
      Regex::Matcher matcher(stage.regex);
      for (const std::string_view piece : from) {
        SplitOne(&matcher, piece, stage.behavior, stage.invert, &to);
      }
    }
    std::swap(from, to);
  }
  pieces->insert(pieces->end(), from.begin(), from.end());
}

}  // namespace intarsia
