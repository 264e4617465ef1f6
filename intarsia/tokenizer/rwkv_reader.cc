// Tokenizer::FromRwkvVocab: the word list that RWKV's checkpoints come with.
#include <charconv>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "intarsia/tokenizer/builder.h"
#include "intarsia/tokenizer/byte_level.h"
#include "intarsia/tokenizer/longest_match.h"
#include "intarsia/tokenizer/rwkv_words.h"
#include "intarsia/tokenizer/side_files.h"
#include "intarsia/tokenizer/special_tokens.h"
#include "intarsia/tokenizer/tokenizer.h"
#include "intarsia/tokenizer/unigram.h"

namespace intarsia {
namespace {

constexpr int32_t kMaxId = 1 << 24;
// Id 0 is no word; texts are separated by it.
constexpr const char* kEndOfText = "<|endoftext|>";

struct Word {
  int32_t id = 0;
  std::string bytes;
};

// "12 'text' 4"
Result<Word> ParseLine(std::string_view line) {
  const size_t first = line.find(' '), last = line.rfind(' ');
  if (first == std::string_view::npos || last <= first) {
    return InvalidArgument("is not an id, a literal and a length");
  }
  Word word;
  size_t length = 0;
  const auto number = [](std::string_view text, auto* out) {
    const auto end = text.data() + text.size();
    const auto parsed = std::from_chars(text.data(), end, *out);
    return parsed.ec == std::errc() && parsed.ptr == end;
  };
  if (!number(line.substr(0, first), &word.id) || word.id < 1 ||
      word.id > kMaxId) {
    return InvalidArgument("the id is not in 1.." + std::to_string(kMaxId));
  }
  ASSIGN_OR_RETURN(
      word.bytes, ParsePythonLiteral(line.substr(first + 1, last - first - 1)));
  if (!number(line.substr(last + 1), &length) || length != word.bytes.size() ||
      length == 0) {
    return InvalidArgument("the word has " + std::to_string(word.bytes.size()) +
                           " bytes, which is not what the line says");
  }
  return word;
}

// What the configuration calls id 0.
std::string EndOfText(const nlohmann::json& config) {
  if (!config.is_object() || !config.contains("added_tokens_decoder")) {
    return kEndOfText;
  }
  const nlohmann::json& listed = config["added_tokens_decoder"];
  if (!listed.is_object() || !listed.contains("0")) return kEndOfText;
  const nlohmann::json& token = listed["0"];
  const auto content = token.is_object() ? token.find("content") : token.end();
  return content != token.end() && content->is_string() && *content != ""
             ? content->get<std::string>()
             : kEndOfText;
}

Result<std::unique_ptr<Tokenizer>> BuildFrom(std::string_view text,
                                             const SideFiles& sides) {
  TokenizerBuilder builder;
  builder.set_plain_added(true);
  builder.set_raw_added(true);
  std::vector<std::pair<std::string, int32_t>> words;
  for (int number = 1; !text.empty(); ++number) {
    const size_t end = text.find('\n');
    std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    if (line.empty()) continue;
    const std::string where = "line " + std::to_string(number) + ": ";
    Result<Word> word = ParseLine(line);
    if (!word.ok())
      return Status(word.status().code(), where + word.status().message());
    if (static_cast<size_t>(word->id) > words.size() + 65536) {
      return InvalidArgument(where + "id " + std::to_string(word->id) +
                             " is far past the number of words");
    }
    RETURN_IF_ERROR(CheckPieceLength(word->bytes));
    // Any bytes, so the vocabulary's own text is that of byte-level BPE.
    RETURN_IF_ERROR(builder.AddToken(word->id, ByteLevelEncode(word->bytes)));
    builder.SetBytes(word->id, word->bytes);
    words.emplace_back(std::move(word->bytes), word->id);
  }
  if (words.empty()) return InvalidArgument("the list has no words");
  builder.set_model(std::make_unique<LongestMatch>(std::move(words), -1));
  AddedToken end;
  end.content = EndOfText(sides.config.json);
  end.special = true;
  RETURN_IF_ERROR(builder.AddToken(0, end.content));
  UsualSpecialTokens usual;
  usual.names["eos_token"] = end.content;
  RETURN_IF_ERROR(builder.AddAddedToken(std::move(end)));
  RETURN_IF_ERROR(ReadSpecialTokens(sides, nullptr, usual, &builder));
  return builder.Build();
}

}  // namespace

Result<std::unique_ptr<Tokenizer>> BuildRwkv(std::string_view text,
                                             const SideFiles& sides,
                                             const std::string& source) {
  Result<std::unique_ptr<Tokenizer>> result = BuildFrom(text, sides);
  if (result.ok()) return result;
  return TokenizerError(source, result.status());
}

Result<std::unique_ptr<Tokenizer>> Tokenizer::FromRwkvVocab(
    std::string_view text, const std::string& source) {
  return BuildRwkv(text, SideFiles(), source);
}

}  // namespace intarsia
