// The targets of targets.def.
#include <algorithm>
#include <cstdlib>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "intarsia/core/check.h"
#include "intarsia/tokenizer/rwkv_words.h"
#include "intarsia/tokenizer/side_files.h"
#include "intarsia/tokenizer/tokenizer.h"
#include "intarsia/tokenizer/utf8.h"
#include "intarsia/tokenizer/vocab_merges.h"

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
    const auto encoded = t.Encode(sample, {special, special});
    if (!encoded.ok()) continue;  // its patterns take too long
    const std::vector<int32_t>& ids = *encoded;
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

// What stands before the next zero, which goes with it.
std::string_view Part(std::string_view* input) {
  const size_t zero = std::min(input->find('\0'), input->size());
  const std::string_view part = input->substr(0, zero);
  input->remove_prefix(std::min(zero + 1, input->size()));
  return part;
}

}  // namespace

bool FuzzTokenizerJson(std::string_view input) {
  return Exercise(Tokenizer::FromJson(input), input.substr(0, 200));
}

bool FuzzTokenizerParts(std::string_view input) {
  std::string_view text = input;
  Json spec = Json::parse(Part(&text), nullptr, false);
  if (!spec.is_object()) return false;
  if (text.empty()) text = input;
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

bool FuzzTokenizerVocab(std::string_view input) {
  size_t at = 0;
  const auto next = [&](char end) {
    const size_t stop = std::min(input.find(end, at), input.size());
    const std::string_view part = input.substr(at, stop - at);
    at = std::min(stop + 1, input.size());
    return std::string(part);
  };
  TokenizerVocab vocab;
  vocab.source = "fuzz.gguf";
  vocab.model = next(' ');
  vocab.pre = next(' ');
  const std::string flags = next('\n');
  const auto flag = [&](size_t i) -> std::optional<bool> {
    if (i >= flags.size() || flags[i] == '-') return std::nullopt;
    return flags[i] == '1';
  };
  vocab.add_space_prefix = flag(0);
  vocab.remove_extra_whitespaces = flag(1);
  vocab.add_bos = flag(2);
  vocab.add_eos = flag(3);
  const bool types = flag(4).value_or(false), scores = flag(5).value_or(false);
  // One character each: an id, '0' the first; '.' is none.
  const auto id = [&](size_t i) {
    return i < flags.size() && flags[i] != '.' ? int64_t{flags[i]} - '0' : -1;
  };
  vocab.bos_id = id(6);
  vocab.eos_id = id(7);
  vocab.unk_id = id(8);
  if (flags.size() > 9) vocab.more_eog_ids = {id(9)};
  if (flags.size() > 10) vocab.precompiled_charsmap = flags.substr(10);
  while (at < input.size()) {
    const std::string line = next('\n');
    if (line.empty()) break;
    const size_t tab = std::min(line.find('\t'), line.size());
    const size_t second = std::min(line.find('\t', tab + 1), line.size());
    vocab.tokens.push_back(line.substr(0, tab));
    if (scores) {
      vocab.scores.push_back(static_cast<float>(
          std::atof(line.substr(std::min(tab + 1, line.size())).c_str())));
    }
    if (types) {
      const std::string type = line.substr(std::min(second + 1, line.size()));
      vocab.token_types.push_back(type.empty() ? 1 : type[0] - '0');
    }
  }
  while (at < input.size()) vocab.merges.push_back(next('\n'));
  return Exercise(Tokenizer::FromVocab(std::move(vocab)), input.substr(0, 200));
}

bool FuzzTokenizerConfig(std::string_view input) {
  static const auto* whole =
      new std::string(Json({{"model", SmallModel(false)}}).dump());
  const std::string_view config = Part(&input);
  const std::string_view specials = Part(&input);
  const auto sides = SideFilesFromTexts(config, specials, input, "fuzz");
  if (!sides.ok()) {
    CHECK(sides.status().message().rfind("[tokenizer] ", 0) == 0);
    return false;
  }
  const auto tokenizer = BuildJson(*whole, *sides, "fuzz");
  if (tokenizer.ok()) {
    for (const char* name : {"default", "tool_use"}) {
      (void)(*tokenizer)->chat_template(name).size();
    }
    const auto ids = (*tokenizer)->Encode("ab c", {true, true});
    if (ids.ok()) (void)(*tokenizer)->Decode(*ids, false);
  }
  return tokenizer.ok();
}

bool FuzzVocabMerges(std::string_view input) {
  const std::string_view vocab = Part(&input);
  const std::string_view merges = Part(&input);
  const Result<Json> config = ParseTokenizerJson(input);
  const auto composed = ComposeTokenizerJson(
      vocab, merges, config.ok() ? *config : Json(), "gpt2");
  if (!composed.ok()) return false;
  const auto sides = SideFilesFromConfig("", "fuzz");
  return Exercise(BuildJson(*composed, *sides, "fuzz", /*composed=*/true),
                  vocab.substr(0, 200));
}

bool FuzzRwkvWords(std::string_view input) {
  UnescapeRwkv(input);
  return Exercise(Tokenizer::FromRwkvVocab(input), input.substr(0, 200));
}

}  // namespace intarsia
