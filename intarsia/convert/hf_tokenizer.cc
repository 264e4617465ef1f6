// Byte-level BPE between tokenizer.json and GGUF's metadata.
#include <algorithm>
#include <map>

#include "intarsia/checkpoint/json_input.h"
#include "intarsia/convert/hf_model.h"

namespace intarsia {
namespace {

using Json = nlohmann::json;

// GGUF's numbers of token types.
enum TokenType : int32_t { kNormal = 1, kControl = 3, kUser = 4, kUnused = 5 };

constexpr int64_t kMaxTokens = 1 << 24;

constexpr char kWords[] =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|";
constexpr char kRest[] =
    "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

std::string DigitsOf(const std::string& pre) {
  return pre == "llama-bpe" ? "\\p{N}{1,3}" : "\\p{N}";
}

Json ByteLevel(bool regex) {
  return {{"type", "ByteLevel"},
          {"add_prefix_space", false},
          {"trim_offsets", true},
          {"use_regex", regex}};
}

// tokenizer.json's pre_tokenizer of a name in GGUF; null: not known here.
Json PreTokenizerOf(const std::string& pre) {
  if (pre == "gpt-2") return ByteLevel(true);
  Json first;
  if (pre == "smollm") {
    first = {{"type", "Digits"}, {"individual_digits", true}};
  } else if (pre == "llama-bpe" || pre == "qwen2") {
    first = {{"type", "Split"},
             {"pattern", {{"Regex", kWords + DigitsOf(pre) + kRest}}},
             {"behavior", "Isolated"},
             {"invert", false}};
  } else {
    return nullptr;
  }
  return {{"type", "Sequence"},
          {"pretokenizers", {first, ByteLevel(pre == "smollm")}}};
}

// The name by what the steps do; empty: none of these.
std::string NameOfPreTokenizer(const Json& json) {
  if (!json.is_object()) return {};
  Json steps = json.value("type", "") == "Sequence"
                   ? json.value("pretokenizers", Json::array())
                   : Json::array({json});
  std::string name;
  bool bytes = false;
  for (const Json& step : steps) {
    const std::string type = step.is_object() ? step.value("type", "") : "";
    if (type == "ByteLevel") {
      if (step.value("add_prefix_space", true)) return {};
      bytes = true;
      if (name.empty() && step.value("use_regex", true)) name = "gpt-2";
    } else if (type == "Digits" && step.value("individual_digits", false)) {
      name = "smollm";
    } else if (type == "Split") {
      const Json pattern = step.value("pattern", Json::object());
      const std::string regex = pattern.value("Regex", "");
      for (const char* known : {"llama-bpe", "qwen2"}) {
        if (regex == kWords + DigitsOf(known) + kRest) name = known;
      }
    } else {
      return {};
    }
  }
  return bytes ? name : std::string();
}

Json ParseOrNull(const std::string& text) {
  if (text.empty()) return nullptr;
  Result<Json> json = ParseJson(text, "[convert]");
  return json.ok() && json->is_object() ? *json : Json();
}

// "<s>" or {"content": "<s>"}.
std::string ContentOf(const Json& token) {
  if (token.is_string()) return token.get<std::string>();
  return token.is_object() ? token.value("content", "") : "";
}

// The token that a template puts before a text; empty: none.
std::string FirstOfTemplate(const Json& processor) {
  if (!processor.is_object()) return {};
  const Json steps = processor.value("processors", Json::array({processor}));
  for (const Json& step : steps) {
    if (!step.is_object() || step.value("type", "") != "TemplateProcessing") {
      continue;
    }
    const Json single = step.value("single", Json::array());
    if (!single.is_array() || single.empty() || !single[0].is_object()) {
      return {};
    }
    const Json token = single[0].value("SpecialToken", Json());
    return token.is_object() ? token.value("id", "") : "";
  }
  return {};
}

struct Vocabulary {
  std::vector<std::string> tokens;
  std::vector<int32_t> types;
  std::map<std::string, int64_t> ids;

  bool Put(const Json& id, const std::string& text, int32_t type) {
    if (!id.is_number_integer()) return false;
    const auto at = id.get<int64_t>();
    if (at < 0 || at >= kMaxTokens) return false;
    while (static_cast<int64_t>(tokens.size()) <= at) {
      tokens.push_back("[PAD" + std::to_string(tokens.size()) + "]");
      types.push_back(kUnused);
    }
    tokens[at] = text;
    types[at] = type;
    ids[text] = at;
    return true;
  }
};

// False: not a vocabulary that GGUF's "gpt2" model can hold.
bool ReadVocabulary(const Json& json, int64_t size, Vocabulary* out,
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
  if (size > 0 && size <= kMaxTokens &&
      size > static_cast<int64_t>(out->tokens.size())) {
    const int64_t last = size - 1;
    out->Put(last, "[PAD" + std::to_string(last) + "]", kUnused);
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

Json AddedTokens(const std::vector<std::string>& tokens,
                 const std::vector<int32_t>& types) {
  Json added = Json::array();
  for (size_t i = 0; i < types.size() && i < tokens.size(); ++i) {
    if (types[i] != kControl && types[i] != kUser) continue;
    added.push_back({{"id", i},
                     {"content", tokens[i]},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false},
                     {"special", types[i] == kControl}});
  }
  return added;
}

// Puts bos before a text, as GGUF's add_bos_token asks.
Json BosProcessor(const std::string& bos, int64_t id) {
  const Json token = {{"SpecialToken", {{"id", bos}, {"type_id", 0}}}};
  const Json a = {{"Sequence", {{"id", "A"}, {"type_id", 0}}}};
  const Json b = {{"Sequence", {{"id", "B"}, {"type_id", 1}}}};
  return {{"type", "TemplateProcessing"},
          {"single", {token, a}},
          {"pair", {token, a, b}},
          {"special_tokens",
           {{bos, {{"id", bos}, {"ids", {id}}, {"tokens", {bos}}}}}}};
}

}  // namespace

void TokenizerToGguf(const HfModel& model, GgufModel* out) {
  if (model.tokenizer.empty()) return;
  out->Set(kHfTokenizer, model.tokenizer);
  const Json config = ParseOrNull(model.tokenizer_config);
  const Json json = ParseOrNull(model.tokenizer);
  Json chat =
      config.is_object() ? config.value("chat_template", Json()) : Json();
  if (chat.is_string()) {
    out->Set("tokenizer.chat_template", chat.get<std::string>());
  }
  Vocabulary vocabulary;
  std::vector<std::string> merges;
  const std::string pre = NameOfPreTokenizer(
      json.is_object() ? json.value("pre_tokenizer", Json()) : Json());
  if (pre.empty() ||
      !ReadVocabulary(json, model.config.value("vocab_size", int64_t{0}),
                      &vocabulary, &merges)) {
    out->warnings.push_back(
        "the tokenizer has no name in GGUF: tokenizer.json goes along as it "
        "is, which other programs may not read");
    return;
  }
  out->Set("tokenizer.ggml.model", std::string("gpt2"));
  out->Set("tokenizer.ggml.pre", pre);
  auto id = [&](const char* key, const char* token, const char* fallback) {
    int64_t found = -1;
    if (config.is_object()) {
      const auto at =
          vocabulary.ids.find(ContentOf(config.value(token, Json())));
      if (at != vocabulary.ids.end()) found = at->second;
    }
    const Json given = model.config.value(fallback, Json());
    if (found < 0 && given.is_number_integer()) found = given.get<int64_t>();
    if (found < 0) return;
    out->Set(std::string("tokenizer.ggml.") + key,
             static_cast<uint32_t>(found));
  };
  const std::string first =
      FirstOfTemplate(json.value("post_processor", Json()));
  id("bos_token_id", "bos_token", "bos_token_id");
  const auto bos = vocabulary.ids.find(first);
  if (bos != vocabulary.ids.end()) {
    out->Set("tokenizer.ggml.bos_token_id", static_cast<uint32_t>(bos->second));
  }
  id("eos_token_id", "eos_token", "eos_token_id");
  id("unknown_token_id", "unk_token", "");
  id("padding_token_id", "pad_token", "pad_token_id");
  out->Set("tokenizer.ggml.add_bos_token", bos != vocabulary.ids.end());
  out->Set("tokenizer.ggml.tokens", std::move(vocabulary.tokens));
  out->Set("tokenizer.ggml.token_type", std::move(vocabulary.types));
  out->Set("tokenizer.ggml.merges", std::move(merges));
}

void TokenizerFromGguf(const GgufMetadata& metadata, HfModel* out) {
  auto text = [&](const std::string& key) {
    const Result<std::string> value = metadata.String(key);
    return value.ok() ? *value : std::string();
  };
  auto flag = [&](const std::string& key) {
    const Result<bool> value = metadata.Bool(key);
    return value.ok() && *value;
  };
  const Result<std::vector<std::string>> tokens = metadata.Tokens();
  Json config = Json::object();
  auto name = [&](const char* key, const char* as) {
    const Result<int64_t> id =
        metadata.Int(std::string("tokenizer.ggml.") + key);
    if (!id.ok() || !tokens.ok() || *id < 0 ||
        *id >= static_cast<int64_t>(tokens->size())) {
      return;
    }
    config[as] = (*tokens)[*id];
  };
  name("bos_token_id", "bos_token");
  name("eos_token_id", "eos_token");
  name("unknown_token_id", "unk_token");
  name("padding_token_id", "pad_token");
  const std::string chat = text("tokenizer.chat_template");
  if (!chat.empty()) config["chat_template"] = chat;
  out->tokenizer = text(kHfTokenizer);
  if (!config.empty()) out->tokenizer_config = config.dump(2) + "\n";
  if (!out->tokenizer.empty() || !tokens.ok()) return;
  const std::string pre = text("tokenizer.ggml.pre");
  const Json pre_tokenizer = PreTokenizerOf(pre);
  const Result<std::vector<std::string>> merges = metadata.Merges();
  if (text("tokenizer.ggml.model") != "gpt2" || pre_tokenizer.is_null() ||
      !merges.ok()) {
    out->tokenizer_config.clear();
    out->warnings.push_back(
        "the tokenizer (" + text("tokenizer.ggml.model") + ", " + pre +
        ") is not written: tokenizer.json cannot be made from it here");
    return;
  }
  std::vector<int32_t> types;
  if (const auto given = metadata.TokenTypes(); given.ok()) types = *given;
  Json vocab = Json::object();
  for (size_t i = 0; i < tokens->size(); ++i) {
    const bool added =
        i < types.size() && (types[i] == kUser || types[i] == kUnused);
    if (!added) vocab[(*tokens)[i]] = i;
  }
  const Json bos = config.value("bos_token", Json());
  Json processor = nullptr;
  if (flag("tokenizer.ggml.add_bos_token") && bos.is_string()) {
    const auto id = metadata.Int("tokenizer.ggml.bos_token_id");
    processor = BosProcessor(bos.get<std::string>(), *id);
  }
  const Json json = {
      {"version", "1.0"},
      {"truncation", nullptr},
      {"padding", nullptr},
      {"added_tokens", AddedTokens(*tokens, types)},
      {"normalizer", pre == "qwen2" ? Json{{"type", "NFC"}} : Json()},
      {"pre_tokenizer", pre_tokenizer},
      {"post_processor", processor},
      {"decoder", ByteLevel(true)},
      {"model",
       {{"type", "BPE"},
        {"dropout", nullptr},
        {"unk_token", nullptr},
        {"continuing_subword_prefix", nullptr},
        {"end_of_word_suffix", nullptr},
        {"fuse_unk", false},
        {"byte_fallback", false},
        {"ignore_merges", pre == "llama-bpe"},
        {"vocab", std::move(vocab)},
        {"merges", *merges}}}};
  out->tokenizer = json.dump() + "\n";
}

}  // namespace intarsia
