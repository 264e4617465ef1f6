// The files beside a model from GGUF's metadata.
#include <nlohmann/json.hpp>

#include "intarsia/checkpoint/checked.h"
#include "intarsia/convert/gguf_pre_tokenizers.h"
#include "intarsia/convert/model_files.h"
#include "intarsia/convert/sentencepiece_writer.h"
#include "intarsia/families/generation_config.h"
#include "intarsia/families/gguf_tokenizer.h"
#include "intarsia/tokenizer/json_components.h"

namespace intarsia {
namespace {

using Json = nlohmann::json;

enum TokenType : int32_t { kControl = 3, kUser = 4, kUnused = 5 };

std::string TextOf(const GgufMetadata& metadata, const std::string& key) {
  const Result<std::string> value = metadata.String(key);
  return value.ok() ? *value : std::string();
}

Json AddedTokens(const TokenizerVocab& vocab) {
  Json added = Json::array();
  const std::vector<int32_t>& types = vocab.token_types;
  for (size_t i = 0; i < types.size() && i < vocab.tokens.size(); ++i) {
    if (types[i] != kControl && types[i] != kUser) continue;
    added.push_back({{"id", i},
                     {"content", vocab.tokens[i]},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false},
                     {"special", types[i] == kControl}});
  }
  return added;
}

// tokenizer.json of a byte-level BPE; empty: none can be made.
std::string BpeJson(const TokenizerVocab& vocab) {
  const Json pre_tokenizer = PreTokenizerOf(vocab.pre);
  if (vocab.model != "gpt2" || pre_tokenizer.is_null()) return {};
  Json words = Json::object();
  for (size_t i = 0; i < vocab.tokens.size(); ++i) {
    const int32_t type =
        i < vocab.token_types.size() ? vocab.token_types[i] : 0;
    if (type != kUser && type != kUnused) words[vocab.tokens[i]] = i;
  }
  const auto token = [&](bool wanted, int64_t id) {
    const bool there =
        id >= 0 && id < static_cast<int64_t>(vocab.tokens.size());
    return wanted && there ? FrameToken{vocab.tokens[id], id} : FrameToken();
  };
  const bool bos = vocab.add_bos.value_or(UsuallyAddsBos(vocab.pre));
  const bool eos = vocab.add_eos.value_or(false);
  const Json json = {
      {"version", "1.0"},
      {"truncation", nullptr},
      {"padding", nullptr},
      {"added_tokens", AddedTokens(vocab)},
      {"normalizer", vocab.pre == "qwen2" ? Json{{"type", "NFC"}} : Json()},
      {"pre_tokenizer", pre_tokenizer},
      {"post_processor",
       FrameProcessor(token(bos, vocab.bos_id), token(eos, vocab.eos_id))},
      {"decoder", ByteLevelStep(true)},
      {"model",
       {{"type", "BPE"},
        {"dropout", nullptr},
        {"unk_token", nullptr},
        {"continuing_subword_prefix", nullptr},
        {"end_of_word_suffix", nullptr},
        {"fuse_unk", false},
        {"byte_fallback", false},
        {"ignore_merges", IgnoresMerges(vocab.pre)},
        {"vocab", std::move(words)},
        {"merges", vocab.merges}}}};
  return json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

Json ConfigOf(const TokenizerVocab& vocab, const GgufMetadata& metadata) {
  Json config = Json::object();
  const Result<int64_t> pad = metadata.Int("tokenizer.ggml.padding_token_id");
  for (const auto& [name, id] :
       {std::pair("bos_token", vocab.bos_id),
        std::pair("eos_token", vocab.eos_id),
        std::pair("unk_token", vocab.unk_id),
        std::pair("pad_token", pad.ok() ? *pad : int64_t{-1})}) {
    if (id < 0 || id >= static_cast<int64_t>(vocab.tokens.size())) continue;
    config[name] = vocab.tokens[id];
  }
  const Json templates(ChatTemplates(vocab));
  if (!templates.is_null()) config["chat_template"] = templates;
  return config;
}

// generation_config.json, with the figures that the metadata has.
std::string Generation(const GgufMetadata& metadata) {
  const std::string text = TextOf(metadata, kGenerationConfig);
  Json json = JsonOrNull(text);
  bool changed = false;
  for (const auto& [name, key] :
       {std::pair("temperature", "temp"), std::pair("top_p", "top_p"),
        std::pair("min_p", "min_p"), std::pair("top_k", "top_k"),
        std::pair("repetition_penalty", "penalty_repeat")}) {
    const std::string full = std::string("general.sampling.") + key;
    Json value;
    if (const auto integer = metadata.Int(full); integer.ok()) {
      value = *integer;
    } else if (const auto real = metadata.Float(full); real.ok()) {
      value = *real;
    } else {
      continue;
    }
    if (!json.is_object()) json = {{"do_sample", true}};
    const Json known = json.value(name, Json());
    if (known.is_number() && known.get<float>() == value.get<float>()) continue;
    json[name] = value;
    changed = true;
  }
  return changed ? json.dump(2) + "\n" : text;
}

template <typename AnyJson>
std::string Dump(const AnyJson& json) {
  return json.dump(2, ' ', false, AnyJson::error_handler_t::replace) + "\n";
}

}  // namespace

Status FilesFromGguf(const GgufMetadata& metadata, ModelFiles* out) {
  ASSIGN_OR_RETURN(TokenizerVocab vocab, ReadGgufVocab(metadata, "GGUF"));
  ASSIGN_OR_RETURN(std::string own, OwnTokenizerFile(metadata));
  std::string generation = Generation(metadata);
  if (!generation.empty()) {
    out->texts["generation_config.json"] = std::move(generation);
  }
  ASSIGN_OR_RETURN(const bool counts,
                   OwnTokenizerCounts(metadata, vocab, own, nullptr));
  if (counts) {
    const bool json = metadata.Has(kHfTokenizer);
    for (const auto& [name, key] :
         {std::pair("special_tokens_map.json", kSpecialTokensMap),
          std::pair("added_tokens.json", kAddedTokens)}) {
      if (metadata.Has(key)) out->texts[name] = TextOf(metadata, key);
    }
    auto opened = OpenOwnTokenizer(metadata, vocab, own, "GGUF");
    if (!opened.ok()) {  // goes along all the same
      out->texts[json ? "tokenizer.json" : "tokenizer.model"] = std::move(own);
      const Json config = ConfigOf(vocab, metadata);
      if (!config.empty()) out->texts["tokenizer_config.json"] = Dump(config);
      return Status::Ok();
    }
    const bool words = !opened->file.empty() && opened->file[0] >= '0' &&
                       opened->file[0] <= '9';
    out->texts[json    ? "tokenizer.json"
               : words ? "rwkv_vocab_v20230424.txt"
                       : "tokenizer.model"] = std::move(opened->file);
    if (!opened->config.empty()) {
      out->texts["tokenizer_config.json"] = Dump(opened->config);
    }
    out->ids_changed = opened->changed;
    return Status::Ok();
  }
  if (vocab.tokens.empty()) return Status::Ok();
  Json config = ConfigOf(vocab, metadata);
  std::string json = BpeJson(vocab);
  if (json.empty()) json = SentencePieceOf(vocab);
  const bool pieces = !json.empty() && json[0] != '{';
  if (pieces) {
    const bool bpe = vocab.model == "llama";
    config["tokenizer_class"] = bpe ? "LlamaTokenizer" : "T5Tokenizer";
    config["add_bos_token"] = vocab.add_bos.value_or(bpe);
    config["add_eos_token"] = vocab.add_eos.value_or(!bpe);
    // As llama.cpp: each stretch between special tokens begins with a space.
    config["legacy"] = true;
  }
  if (json.empty()) {
    out->losses.push_back("the tokenizer (" + Printable(vocab.model) + ", " +
                          Printable(vocab.pre) +
                          "): no file of it can be made here");
    return Status::Ok();
  }
  out->texts[pieces ? "tokenizer.model" : "tokenizer.json"] = std::move(json);
  if (!config.empty()) out->texts["tokenizer_config.json"] = Dump(config);
  return Status::Ok();
}

}  // namespace intarsia
