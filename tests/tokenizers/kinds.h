// The tokenizers that kinds.py lists, put together from the recorded data, and
// the strings that they are tried on.
#pragma once

#include <zlib.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "intarsia/core/check.h"
#include "intarsia/tokenizer/sentencepiece_proto.h"
#include "intarsia/tokenizer/tokenizer.h"
#include "intarsia/tokenizer/utf8.h"

namespace intarsia {

using Json = nlohmann::json;

inline std::string Unpack(const std::string& name) {
  const std::string path = "tests/tokenizers/data/" + name;
  gzFile file = gzopen(path.c_str(), "rb");
  CHECK(file != nullptr) << path;
  std::string text;
  std::vector<char> buffer(1 << 16);
  int n = 0;
  while ((n = gzread(file, buffer.data(),
                     static_cast<unsigned>(buffer.size()))) > 0) {
    text.append(buffer.data(), static_cast<size_t>(n));
  }
  CHECK_EQ(n, 0) << path;
  gzclose(file);
  return text;
}

inline const std::vector<std::string>& Strings() {
  static const auto* const strings = [] {
    auto* out = new std::vector<std::string>;
    const std::string packed = Unpack("strings.bin.gz");
    for (size_t at = 0; at < packed.size();) {
      const size_t size = static_cast<unsigned char>(packed[at]) +
                          256 * static_cast<unsigned char>(packed[at + 1]);
      out->push_back(packed.substr(at + 2, size));
      at += 2 + size;
    }
    return out;
  }();
  return *strings;
}

inline SentencePieceModel Proto(const std::string& name) {
  auto model = ParseSentencePieceModel(Unpack(name + ".model.gz"));
  CHECK(model.ok()) << model.status().message();
  return *std::move(model);
}

inline std::string Base64(const std::string& bytes) {
  constexpr char kDigits[] =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t bits = 0;
    for (size_t j = 0; j < 3; ++j) {
      const size_t at = i + j;
      bits = bits << 8 |
             (at < bytes.size() ? static_cast<unsigned char>(bytes[at]) : 0);
    }
    for (size_t j = 0; j < 4; ++j) {
      out += i + j <= bytes.size() ? kDigits[bits >> (18 - 6 * j) & 63] : '=';
    }
  }
  return out;
}

// The model of a kind as tokenizer.json has it; record_encodings.py's twin.
inline Json JsonModel(const std::string& name) {
  if (name == "bytes") return Json::parse(Unpack("bytes.json.gz"));
  const SentencePieceModel proto = Proto(name);
  Json vocab;
  if (name.rfind("unigram", 0) == 0) {
    for (const auto& piece : proto.pieces) {
      vocab.push_back({piece.text, static_cast<double>(piece.score)});
    }
    return {{"type", "Unigram"}, {"unk_id", 0}, {"vocab", vocab}};
  }
  vocab = Json::object();
  for (const auto& piece : proto.pieces) vocab[piece.text] = vocab.size();
  Json merges = Json::array();
  for (const auto& piece : proto.pieces) {
    if (piece.type != SentencePieceModel::PieceType::kNormal) continue;
    for (size_t at = NextUtf8(piece.text).length; at < piece.text.size();
         at += NextUtf8(std::string_view(piece.text).substr(at)).length) {
      const std::string left = piece.text.substr(0, at);
      const std::string right = piece.text.substr(at);
      if (vocab.contains(left) && vocab.contains(right)) {
        merges.push_back({left, right});
      }
    }
  }
  return {{"type", "BPE"}, {"vocab", vocab}, {"merges", merges}};
}

inline Json Kinds() {
  std::ifstream file("tests/tokenizers/data/kinds.json");
  return Json::parse(file);
}

inline Json Compose(Json spec) {
  Json model = JsonModel(spec["model"]);
  model.update(spec["options"]);
  const Json precompiled = {
      {"type", "Precompiled"},
      {"precompiled_charsmap", Base64(Proto("unigram").charsmap)}};
  if (spec["normalizer"] == "PRECOMPILED") spec["normalizer"] = precompiled;
  if (spec["normalizer"] == "ALBERT") {
    const auto quote = [](const char* text) -> Json {
      return {{"type", "Replace"},
              {"pattern", {{"String", text}}},
              {"content", "\""}};
    };
    spec["normalizer"] = {{"type", "Sequence"},
                          {"normalizers",
                           {quote("``"),
                            quote("''"),
                            {{"type", "NFKD"}},
                            {{"type", "StripAccents"}},
                            {{"type", "Lowercase"}},
                            precompiled}}};
  }
  spec["model"] = model;
  spec.erase("options");
  return spec;
}

inline std::vector<std::string> KindNames() {
  std::vector<std::string> names;
  const Json kinds = Kinds();
  for (const auto& [name, spec] : kinds.items()) names.push_back(name);
  return names;
}
inline const auto kParameterName = [](const auto& info) {
  std::string name = info.param;
  for (char& c : name) {
    if (c == '-') c = '_';
  }
  return name;
};

// The same vocabularies as GGUF metadata carries them.
inline TokenizerVocab GgufVocab(const std::string& name) {
  TokenizerVocab vocab;
  vocab.source = name;
  vocab.bos_id = 1;
  vocab.eos_id = 2;
  if (name == "llama" || name == "t5") {
    const SentencePieceModel proto =
        Proto(name == "llama" ? "llama" : "unigram");
    vocab.model = name;
    vocab.pre = "default";
    vocab.unk_id = 0;
    for (const auto& piece : proto.pieces) {
      vocab.tokens.push_back(piece.text);
      vocab.scores.push_back(piece.score);
      vocab.token_types.push_back(static_cast<int32_t>(piece.type));
    }
    if (name == "t5") {
      vocab.add_space_prefix = vocab.remove_extra_whitespaces = true;
      vocab.precompiled_charsmap = proto.charsmap;
    }
    return vocab;
  }
  const Json model = JsonModel("bytes");
  vocab.model = "gpt2";
  vocab.pre = name;
  vocab.tokens.resize(model["vocab"].size());
  vocab.token_types.assign(vocab.tokens.size(), 1);
  for (const auto& [text, id] : model["vocab"].items()) vocab.tokens[id] = text;
  for (int id = 0; id < 3; ++id) vocab.token_types[id] = 3;
  for (const Json& merge : model["merges"]) {
    vocab.merges.push_back(merge[0].get<std::string>() + " " +
                           merge[1].get<std::string>());
  }
  return vocab;
}

// The GGUF vocabularies that are recorded, by "tokenizer.ggml.pre", or by their
// model.
inline std::vector<std::string> GgufNames() {
  return {"gpt-2",          "smollm",      "llama-bpe",  "dbrx",
          "jais-2",         "qwen2",       "qwen35",     "deepseek-llm",
          "deepseek-coder", "deepseek-v3", "falcon",     "default",
          "poro-chat",      "viking",      "tekken",     "chameleon",
          "gpt-4o",         "tiny_aya",    "superbpe",   "bailingmoe",
          "seed-coder",     "kimi-k2",     "exaone-moe", "youtu",
          "llama",          "t5"};
}

}  // namespace intarsia
