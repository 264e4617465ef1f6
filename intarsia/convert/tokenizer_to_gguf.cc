// The files beside a model as GGUF's metadata.
#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "intarsia/checkpoint/checked.h"
#include "intarsia/convert/gguf_pre_tokenizers.h"
#include "intarsia/convert/model_files.h"
#include "intarsia/families/generation_config.h"
#include "intarsia/families/gguf_tokenizer.h"
#include "intarsia/tokenizer/base64.h"
#include "intarsia/tokenizer/class_steps.h"
#include "intarsia/tokenizer/sentencepiece_proto.h"

namespace intarsia {
namespace {

using Json = nlohmann::json;

// GGUF's numbers of token types; SentencePiece has the same.
enum TokenType : int32_t {
  kNormal = 1,
  kUnknown,
  kControl,
  kUser,
  kUnused,
  kByte
};

constexpr int64_t kMaxTokens = 1 << 24;

class Vocabulary {
 public:
  bool Put(const Json& id, const std::string& text, int32_t type,
           float score = 0) {
    if (!id.is_number_integer()) return false;
    const auto at = id.get<int64_t>();
    if (at < 0 || at >= kMaxTokens) return false;
    Pad(at + 1);
    tokens[at] = text;
    types[at] = type;
    scores[at] = score;
    ids[text] = at;
    return true;
  }
  void Pad(int64_t size) {
    while (static_cast<int64_t>(tokens.size()) < size) {
      tokens.push_back("[PAD" + std::to_string(tokens.size()) + "]");
      types.push_back(kUnused);
      scores.push_back(0);
    }
  }

  // Takes added tokens past `size` away. True: there were some. A vocabulary
  // that is larger itself stays: it is of another model.
  bool Cut(int64_t size) {
    if (static_cast<int64_t>(tokens.size()) <= size) return false;
    for (size_t i = static_cast<size_t>(size); i < types.size(); ++i) {
      if (types[i] == kNormal || types[i] == kByte) return false;
    }
    tokens.resize(size);
    types.resize(size);
    scores.resize(size);
    std::erase_if(ids, [&](const auto& item) { return item.second >= size; });
    return true;
  }
  // An id that names one of them; any, where there are none.
  bool Has(int64_t id) const {
    return tokens.empty() || id < static_cast<int64_t>(tokens.size());
  }

  std::vector<std::string> tokens;
  std::vector<int32_t> types;
  std::vector<float> scores;
  std::map<std::string, int64_t> ids;
};

// "<s>" or {"content": "<s>"}.
std::string ContentOf(const Json& token) {
  if (token.is_string()) return token.get<std::string>();
  const Json content =
      token.is_object() ? token.value("content", Json()) : Json();
  return content.is_string() ? content.get<std::string>() : "";
}

// False: not a vocabulary that GGUF's "gpt2" model can hold.
bool ReadBpe(const Json& json, Vocabulary* out,
             std::vector<std::string>* merges) {
  const Json model = json.value("model", Json());
  if (!model.is_object() || model.value("type", "") != "BPE") return false;
  const Json vocab = model.value("vocab", Json::object());
  for (const auto& item : vocab.items()) {
    if (!out->Put(item.value(), item.key(), kNormal)) return false;
  }
  for (const Json& added : json.value("added_tokens", Json::array())) {
    if (!added.is_object() || !added.contains("id")) return false;
    const bool special = added.value("special", false);
    if (!out->Put(added["id"], ContentOf(added), special ? kControl : kUser)) {
      return false;
    }
  }
  for (const Json& merge : model.value("merges", Json::array())) {
    if (merge.is_string()) {
      merges->push_back(merge.get<std::string>());
    } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() &&
               merge[1].is_string()) {
      merges->push_back(merge[0].get<std::string>() + " " +
                        merge[1].get<std::string>());
    } else {
      return false;
    }
  }
  return !out->tokens.empty();
}

// Types of a chain of components: "Lowercase, NFC".
std::string TypesOf(const Json& step, const char* list) {
  if (!step.is_object()) return {};
  const Json steps = step.value(list, Json());
  if (!steps.is_array()) return step.value("type", "?");
  std::string text;
  for (const Json& inner : steps) {
    const std::string type = TypesOf(inner, list);
    text += (text.empty() || type.empty() ? "" : ", ") + type;
  }
  return text;
}

// Flags of added tokens, for which tokenizer.ggml.* has no place.
void AddFlags(const Json& json, bool normalized,
              std::vector<std::string>* unnamed) {
  for (const char* flag : {"lstrip", "rstrip", "single_word", "normalized"}) {
    // Without a normalizer the last changes nothing.
    if (std::string_view(flag) == "normalized" && !normalized) continue;
    int64_t count = 0;
    std::string first;
    for (const Json& added : json.value("added_tokens", Json::array())) {
      if (!added.is_object() || !added.value(flag, false)) continue;
      if (count++ == 0) first = Printable(ContentOf(added), 40);
    }
    if (count == 0) continue;
    unnamed->push_back(std::string(flag) + " of " + first +
                       (count > 1
                            ? " and " + std::to_string(count - 1) + " more"
                            : std::string()));
  }
}

// What tokenizer.ggml.* has no place for, of a byte-level BPE.
std::vector<std::string> UnnamedOf(const Json& json, const std::string& pre) {
  std::vector<std::string> unnamed;
  const std::string normalizer =
      TypesOf(json.value("normalizer", Json()), "normalizers");
  if (!normalizer.empty()) unnamed.push_back("normalizer " + normalizer);
  AddFlags(json, !normalizer.empty(), &unnamed);
  const Json model = json.value("model", Json::object());
  const bool whole = model.value("ignore_merges", false);
  if (whole != IgnoresMerges(pre)) {
    unnamed.push_back(std::string("ignore_merges ") +
                      (whole ? "true" : "false"));
  }
  const Json unk = model.value("unk_token", Json());
  if (unk.is_string() && unk != "") unnamed.push_back("unk_token");
  return unnamed;
}

bool NameBpe(const Json& json, TokenizerVocab* out, Vocabulary* words,
             std::vector<std::string>* unnamed) {
  const Json model = json.value("model", Json());
  out->pre = NameOfPreTokenizer(
      json.value("pre_tokenizer", Json()),
      model.is_object() && model.value("ignore_merges", false));
  if (out->pre.empty() || !ReadBpe(json, words, &out->merges)) return false;
  out->model = "gpt2";
  *unnamed = UnnamedOf(json, out->pre);
  return true;
}

// The steps of a normalizer or a pre-tokenizer, one after the other.
std::vector<Json> StepsOf(const Json& step, const char* list) {
  if (!step.is_object()) return {};
  const Json inner = step.value(list, Json());
  if (!inner.is_array()) return {step};
  std::vector<Json> steps;
  for (const Json& one : inner) {
    const std::vector<Json> more = StepsOf(one, list);
    steps.insert(steps.end(), more.begin(), more.end());
  }
  return steps;
}

// Spaces that become U+2581, as GGUF's "llama" and "t5" write them. False: they
// do not.
bool ReadSpaces(const Json& json, TokenizerVocab* out,
                std::vector<std::string>* unnamed) {
  const std::string mark = "\u2581";
  bool marked = false, prefix = false;
  std::string others;
  const auto other = [&](const Json& step) {
    others += (others.empty() ? "" : ", ") + step.value("type", "?");
  };
  for (const Json& step :
       StepsOf(json.value("normalizer", Json()), "normalizers")) {
    const std::string type = step.value("type", "");
    if (type == "Prepend" && step.value("prepend", "") == mark) {
      prefix = true;
    } else if (type == "Replace" && step.value("content", "") == mark &&
               step.value("pattern", Json()) == Json{{"String", " "}}) {
      marked = true;
    } else if (type == "Precompiled" && out->model == "t5" &&
               step.contains("precompiled_charsmap") &&
               step["precompiled_charsmap"].is_string()) {
      const Result<std::string> map = DecodeBase64(
          step["precompiled_charsmap"].get_ref<const std::string&>());
      if (!map.ok()) return false;
      out->precompiled_charsmap = *map;
    } else {
      other(step);
    }
  }
  for (const Json& step :
       StepsOf(json.value("pre_tokenizer", Json()), "pretokenizers")) {
    if (step.value("type", "") == "Metaspace" &&
        step.value("replacement", mark) == mark) {
      marked = true;
      const std::string scheme = step.value("prepend_scheme", "always");
      prefix = scheme != "never";
      // GGUF's readers write a second mark where a text begins with a space.
      if (prefix) {
        others += (others.empty() ? "" : ", ") + ("Metaspace " + scheme);
      }
    } else {
      other(step);
    }
  }
  out->add_space_prefix = prefix;
  if (!others.empty()) unnamed->push_back(others);
  return marked;
}

// tokenizer.json of SentencePiece's kind. A merge's place in the list is the
// score of what it makes.
bool NamePieces(const Json& json, TokenizerVocab* out, Vocabulary* words,
                std::vector<std::string>* unnamed) {
  const Json model = json.value("model", Json::object());
  if (!model.is_object()) return false;
  const Json vocab = model.value("vocab", Json());
  out->pre = "default";
  out->model = vocab.is_array() ? "t5" : "llama";
  std::vector<std::string> merges;
  std::string unknown;
  if (out->model == "llama") {
    if (!model.value("byte_fallback", false) ||
        !ReadBpe(json, words, &merges)) {
      return false;
    }
    const auto last = -static_cast<float>(merges.size() + 1);
    std::ranges::fill(words->scores, last);
    for (size_t i = merges.size(); i-- > 0;) {
      std::string made = merges[i];
      made.erase(made.find(' ', 1), 1);
      const auto found = words->ids.find(made);
      if (found == words->ids.end()) return false;
      words->scores[found->second] = -static_cast<float>(i);
    }
    for (int byte = 0; byte < 256; ++byte) {
      constexpr char kDigits[] = "0123456789ABCDEF";
      const auto found = words->ids.find(
          std::string("<0x") + kDigits[byte / 16] + kDigits[byte % 16] + ">");
      if (found != words->ids.end()) words->types[found->second] = kByte;
    }
    unknown = ContentOf(model.value("unk_token", Json()));
  } else {
    for (size_t i = 0; i < vocab.size(); ++i) {
      const Json& entry = vocab[i];
      if (!entry.is_array() || entry.size() != 2 || !entry[0].is_string() ||
          !entry[1].is_number() ||
          !words->Put(i, entry[0], kNormal, entry[1].get<float>())) {
        return false;
      }
    }
    const Json unk = model.value("unk_id", Json());
    if (unk.is_number_unsigned() && unk.get<size_t>() < words->tokens.size()) {
      unknown = words->tokens[unk.get<size_t>()];
    }
    if (model.value("byte_fallback", false)) {
      unnamed->push_back("byte_fallback");
    }
    out->remove_extra_whitespaces = false;
    for (const Json& added : json.value("added_tokens", Json::array())) {
      const Json id = added.is_object() ? added.value("id", Json()) : Json();
      const bool special = id.is_number() && added.value("special", false);
      if (!words->Put(id, ContentOf(added), special ? kControl : kUser)) {
        return false;
      }
    }
  }
  if (const auto at = words->ids.find(unknown); at != words->ids.end()) {
    out->unk_id = at->second;
    words->types[at->second] = kUnknown;
  }
  AddFlags(json, false, unnamed);
  return ReadSpaces(json, out, unnamed);
}

bool NameSentencePiece(const ModelFiles& files, TokenizerVocab* out,
                       Vocabulary* words, std::vector<std::string>* unnamed) {
  const Result<SentencePieceModel> model =
      ParseSentencePieceModel(files.Text("tokenizer.model"));
  if (!model.ok() || model->pieces.size() > kMaxTokens) return false;
  const bool bpe = model->model_type == SentencePieceModel::ModelType::kBpe;
  const bool unigram =
      model->model_type == SentencePieceModel::ModelType::kUnigram;
  if (!bpe && !unigram) return false;
  out->model = bpe ? "llama" : "t5";
  out->pre = "default";
  for (size_t i = 0; i < model->pieces.size(); ++i) {
    const SentencePieceModel::Piece& piece = model->pieces[i];
    const auto type = static_cast<int32_t>(piece.type);
    if (type == kUnknown) out->unk_id = static_cast<int64_t>(i);
    words->Put(i, piece.text, type, piece.score);
  }
  const Result<bool> prefix = DummyPrefix(
      model->add_dummy_prefix, JsonOrNull(files.Text("tokenizer_config.json")));
  if (!prefix.ok()) return false;
  out->add_space_prefix = *prefix;
  out->remove_extra_whitespaces = model->remove_extra_whitespaces;
  if (!bpe) out->precompiled_charsmap = model->charsmap;
  if (bpe && !model->charsmap.empty()) unnamed->push_back("its normalizer");
  if (bpe && model->remove_extra_whitespaces) {
    unnamed->push_back("remove_extra_whitespaces");
  }
  if (!bpe && model->byte_fallback) unnamed->push_back("byte_fallback");
  if (model->whitespace_as_suffix) unnamed->push_back("whitespace as suffix");
  return true;
}

// The tokens that the files together make have the same ids.
bool SameTokens(const Vocabulary& words, const Tokenizer& tokenizer) {
  for (size_t id = 0; id < words.tokens.size(); ++id) {
    if (tokenizer.Token(static_cast<int32_t>(id)) != words.tokens[id]) {
      return false;
    }
  }
  return true;
}

// GGUF's own keys for the vocabulary; false: it has no name there. Of a folder
// with both files, tokenizer.model says best what llama.cpp is to do.
bool Name(const ModelFiles& files, TokenizerVocab* vocab, Vocabulary* words,
          std::vector<std::string>* unnamed) {
  const auto clear = [&] {
    *vocab = {};
    *words = {};
    unnamed->clear();
  };
  const Json json = JsonOrNull(files.Text("tokenizer.json"));
  if (json.is_object() && NameBpe(json, vocab, words, unnamed)) return true;
  clear();
  if (NameSentencePiece(files, vocab, words, unnamed) &&
      SameTokens(*words, *files.tokenizer)) {
    return true;
  }
  clear();
  return json.is_object() && NamePieces(json, vocab, words, unnamed);
}

// Tokens that other files add, and what those say of the others.
void AddFromOtherFiles(const Tokenizer& tokenizer, Vocabulary* words) {
  for (int32_t id = 0; id < tokenizer.vocab_size(); ++id) {
    const std::string text(tokenizer.Token(id));
    if (!tokenizer.is_added(id) || text.empty()) continue;
    const int32_t type = tokenizer.is_special(id) ? kControl : kUser;
    const bool known = id < static_cast<int64_t>(words->tokens.size()) &&
                       words->types[id] != kUnused;
    if (!known) {
      words->Put(id, text, type, -1000);
    } else if (words->types[id] != kUnknown) {
      words->types[id] = type;
    }
  }
}

// Null bytes and halves of characters have no place in a string of GGUF's.
std::vector<uint8_t> BytesOf(const std::string& text) {
  return {text.begin(), text.end()};
}

void SetOwnFile(const ModelFiles& files, std::string* own, GgufModel* out) {
  *own = files.Text("tokenizer.json");
  if (!own->empty()) {
    out->Set(kHfTokenizer, *own);
  } else {
    for (const char* name : {"tokenizer.model", "rwkv_vocab_v20230424.txt"}) {
      *own = files.Text(name);
      if (own->empty()) continue;
      out->Set(kTokenizerModel, BytesOf(*own));
      break;
    }
  }
  for (const auto& [name, key] :
       {std::pair("special_tokens_map.json", kSpecialTokensMap),
        std::pair("added_tokens.json", kAddedTokens)}) {
    if (!files.Text(name).empty()) out->Set(key, files.Text(name));
  }
  // The order of its names gives added tokens their ids.
  auto config = nlohmann::ordered_json::parse(
      files.Text("tokenizer_config.json"), nullptr, /*allow_exceptions=*/false);
  if (!config.is_object()) return;
  config.erase("chat_template");
  out->Set(kTokenizerConfig, config.dump());
}

void SetTemplates(const ModelFiles& files, GgufModel* out) {
  std::map<std::string, std::string> templates;
  if (files.tokenizer != nullptr) {
    templates.insert(files.tokenizer->chat_templates().begin(),
                     files.tokenizer->chat_templates().end());
  } else {
    const Json config = JsonOrNull(files.Text("tokenizer_config.json"));
    const Json chat =
        config.is_object() ? config.value("chat_template", Json()) : Json();
    if (chat.is_string()) templates["default"] = chat.get<std::string>();
    if (!files.Text("chat_template.jinja").empty()) {
      templates["default"] = files.Text("chat_template.jinja");
    }
  }
  std::vector<std::string> names;
  for (const auto& [name, text] : templates) {
    if (name == "default") {
      out->Set("tokenizer.chat_template", text);
      continue;
    }
    out->Set("tokenizer.chat_template." + name, text);
    names.push_back(name);
  }
  if (!names.empty()) out->Set("tokenizer.chat_templates", std::move(names));
}

void SetId(const char* key, int64_t id, GgufModel* out) {
  if (id < 0) return;
  out->Set(std::string("tokenizer.ggml.") + key, static_cast<uint32_t>(id));
}

// GGUF names three ends; the list of ours has all.
void SetEnds(const ModelFiles& files, const Vocabulary& words, int64_t eos,
             GgufModel* out) {
  std::vector<int32_t> others;
  for (const int id : files.end_ids) {
    if (id != eos && words.Has(id)) others.push_back(id);
  }
  if (!others.empty()) SetId("eot_token_id", others[0], out);
  if (others.size() > 1) SetId("eom_token_id", others[1], out);
  std::vector<int32_t> all = std::move(others);
  if (eos >= 0) all.insert(all.begin(), static_cast<int32_t>(eos));
  if (!all.empty()) out->Set(kEndIds, std::move(all));
}

void SetIds(const ModelFiles& files, const Json& config,
            const Vocabulary& words, std::vector<std::string>* unnamed,
            GgufModel* out) {
  const Json names = JsonOrNull(files.Text("tokenizer_config.json"));
  // By the tokenizer's own configuration, else by the model's.
  auto id = [&](const char* token, const char* fallback) -> int64_t {
    if (names.is_object()) {
      const auto at = words.ids.find(ContentOf(names.value(token, Json())));
      if (at != words.ids.end()) return at->second;
    }
    const Json given = config.value(fallback, Json());
    const int64_t known = given.is_number_integer() ? given.get<int64_t>() : -1;
    return words.Has(known) ? known : -1;
  };
  GgufFrame frame;
  bool whole = true;
  if (files.tokenizer != nullptr) frame = FrameOf(*files.tokenizer, &whole);
  if (!whole) unnamed->push_back("all that begins and ends a text");
  if (!words.Has(frame.bos)) frame.bos = -1;
  if (!words.Has(frame.eos)) frame.eos = -1;
  if (frame.bos < 0) frame.bos = id("bos_token", "bos_token_id");
  if (frame.eos < 0) frame.eos = id("eos_token", "eos_token_id");
  SetId("bos_token_id", frame.bos, out);
  SetId("eos_token_id", frame.eos, out);
  SetId("unknown_token_id", id("unk_token", ""), out);
  SetId("padding_token_id", id("pad_token", "pad_token_id"), out);
  if (files.tokenizer != nullptr) {
    out->Set("tokenizer.ggml.add_bos_token", frame.add_bos);
    out->Set("tokenizer.ggml.add_eos_token", frame.add_eos);
  }
  SetEnds(files, words, frame.eos, out);
}

void SetVocab(const TokenizerVocab& vocab, const std::string& own,
              GgufModel* out) {
  out->Set("tokenizer.ggml.model", vocab.model);
  out->Set("tokenizer.ggml.pre", vocab.pre);
  out->Set("tokenizer.ggml.tokens", vocab.tokens);
  out->Set("tokenizer.ggml.token_type", vocab.token_types);
  if (!vocab.merges.empty()) out->Set("tokenizer.ggml.merges", vocab.merges);
  if (!vocab.scores.empty()) out->Set("tokenizer.ggml.scores", vocab.scores);
  if (vocab.unk_id >= 0) SetId("unknown_token_id", vocab.unk_id, out);
  if (vocab.add_space_prefix) {
    out->Set("tokenizer.ggml.add_space_prefix", *vocab.add_space_prefix);
  }
  if (vocab.remove_extra_whitespaces) {
    out->Set("tokenizer.ggml.remove_extra_whitespaces",
             *vocab.remove_extra_whitespaces);
  }
  if (!vocab.precompiled_charsmap.empty()) {
    out->Set("tokenizer.ggml.precompiled_charsmap",
             BytesOf(vocab.precompiled_charsmap));
  }
  out->Set(kVocabDigest, VocabDigest(vocab, own));
}

// generation_config.json whole, and what GGUF has places for. Of a model that
// is not sampled, the figures say nothing.
void SetGeneration(const ModelFiles& files, GgufModel* out) {
  const std::string& text = files.Text("generation_config.json");
  const Json json = JsonOrNull(text);
  if (!json.is_object()) return;
  out->Set(kGenerationConfig, text);
  if (!json.value("do_sample", Json(true)).is_boolean() ||
      !json.value("do_sample", Json(true)).get<bool>()) {
    return;
  }
  for (const auto& [name, key] :
       {std::pair("temperature", "temp"), std::pair("top_p", "top_p"),
        std::pair("min_p", "min_p"),
        std::pair("repetition_penalty", "penalty_repeat")}) {
    const Json value = json.value(name, Json());
    if (!value.is_number()) continue;
    out->Set(std::string("general.sampling.") + key, value.get<float>());
  }
  const Json top_k = json.value("top_k", Json());
  if (top_k.is_number_integer()) {
    out->Set("general.sampling.top_k", top_k.get<int32_t>());
  }
}

}  // namespace

void FilesToGguf(const ModelFiles& files, const Json& config,
                 int64_t vocab_size, GgufModel* out) {
  out->warnings.insert(out->warnings.end(), files.warnings.begin(),
                       files.warnings.end());
  out->losses.insert(out->losses.end(), files.losses.begin(),
                     files.losses.end());
  SetGeneration(files, out);
  std::string own;
  SetOwnFile(files, &own, out);
  SetTemplates(files, out);
  TokenizerVocab vocab;
  Vocabulary words;
  std::vector<std::string> unnamed;
  // What this program cannot open goes along whole and has no name.
  const bool named =
      files.tokenizer != nullptr && Name(files, &vocab, &words, &unnamed);
  if (named) {
    AddFromOtherFiles(*files.tokenizer, &words);
    if (vocab_size <= kMaxTokens) words.Pad(vocab_size);
    // Programs want as many tokens as the table has rows.
    if (vocab_size > 0 && words.Cut(vocab_size)) {
      unnamed.push_back("tokens past the rows of the table");
    }
  }
  if (!own.empty() || !files.end_ids.empty()) {
    SetIds(files, config, words, &unnamed, out);
  }
  if (own.empty()) return;
  if (!named) {
    out->warnings.push_back(
        "the tokenizer has no name in GGUF: its own file goes along as it is, "
        "which other programs may not read");
    return;
  }
  vocab.tokens = std::move(words.tokens);
  vocab.token_types = std::move(words.types);
  if (vocab.model != "gpt2") vocab.scores = std::move(words.scores);
  SetVocab(vocab, own, out);
  if (unnamed.empty()) return;
  std::string what;
  for (const std::string& one : unnamed)
    what += (what.empty() ? "" : "; ") + one;
  out->warnings.push_back(
      "the tokenizer's own file goes along, since GGUF has no place for: " +
      what +
      ". Programs that read tokenizer.ggml.* alone cut such texts "
      "otherwise");
}

}  // namespace intarsia
