#include "intarsia/tokenizer/fuzz/targets.h"

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "intarsia/core/check.h"
#include "intarsia/tokenizer/rwkv_words.h"
#include "intarsia/tokenizer/tokenizer.h"
#include "intarsia/tokenizer/utf8.h"

namespace intarsia {
namespace {

using Json = nlohmann::json;

bool Exercise(const Result<std::unique_ptr<Tokenizer>>& tokenizer,
              std::string_view sample) {
  if (!tokenizer.ok()) {
    CHECK(tokenizer.status().message().rfind("[tokenizer] ", 0) == 0);
    return false;
  }
  const Tokenizer& t = **tokenizer;
  for (const bool special : {false, true}) {
    const auto ids = t.Encode(sample, {special, special});
    Tokenizer::Stream stream(t, special);
    std::string streamed;
    for (const int32_t id : ids) {
      CHECK(id >= 0);
      CHECK(special || id < t.vocab_size());
      const std::string part = stream.Push(id);
      CHECK(IsValidUtf8(part));
      streamed += part;
    }
    streamed += stream.Finish();
    CHECK(streamed == t.Decode(ids, special));
  }
  return true;
}

// Small models that the parts go around.
const Json& SmallModel(bool unigram) {
  static const Json* const models = [] {
    Json vocab = Json::object(), scored = Json::array();
    for (const char* token :
         {"<unk>",  "<s>",    "</s>", "a",  "b", "c",  "ab", "abc",
          "▁",      "▁a",     "Ġ",    "Ġa", "1", "11", ".",  "é",
          "<0x41>", "<0xC3>", "e",    "Ã",  "©", "Ã©"}) {
      scored.push_back({token, -0.5 * static_cast<double>(vocab.size())});
      vocab[token] = vocab.size();
    }
    return new Json({{{"type", "BPE"},
                      {"vocab", vocab},
                      {"merges", {"a b", "ab c", "▁ a", "Ġ a", "1 1", "Ã ©"}},
                      {"unk_token", "<unk>"},
                      {"byte_fallback", true},
                      {"fuse_unk", true}},
                     {{"type", "Unigram"}, {"vocab", scored}, {"unk_id", 0}}});
  }();
  return (*models)[unigram ? 1 : 0];
}

}  // namespace

bool FuzzTokenizerJson(std::string_view input) {
  return Exercise(Tokenizer::FromJson(input), input.substr(0, 200));
}

bool FuzzTokenizerParts(std::string_view input) {
  const size_t zero = input.find('\0');
  Json spec = Json::parse(input.substr(0, zero), nullptr, false);
  if (!spec.is_object()) return false;
  const std::string_view text =
      zero == std::string_view::npos ? input : input.substr(zero + 1);
  bool accepted = false;
  for (const bool unigram : {false, true}) {
    spec["model"] = SmallModel(unigram);
    accepted |= Exercise(Tokenizer::FromJson(spec.dump(
                             -1, ' ', false, Json::error_handler_t::replace)),
                         text.substr(0, 200));
  }
  return accepted;
}

bool FuzzSentencePiece(std::string_view input) {
  const std::string_view sample =
      input.substr(input.size() - std::min<size_t>(input.size(), 200));
  return Exercise(Tokenizer::FromSentencePiece(input), sample);
}

bool FuzzRwkvWords(std::string_view input) {
  UnescapeRwkv(input);
  return Exercise(Tokenizer::FromRwkvVocab(input), input.substr(0, 200));
}

}  // namespace intarsia
