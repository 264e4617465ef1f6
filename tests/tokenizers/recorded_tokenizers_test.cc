// The encodings that other libraries gave for some ten thousand strings, under
// every pre-tokenizer and every kind of model (record_encodings.py), beside
// ours: the tokens with and without special tokens, and the decoded text, at
// once and as a stream.
#include <gtest/gtest.h>
#include <zlib.h>

#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "intarsia/core/check.h"
#include "intarsia/tokenizer/sentencepiece_proto.h"
#include "intarsia/tokenizer/tokenizer.h"
#include "intarsia/tokenizer/utf8.h"

namespace intarsia {
namespace {

using Ids = std::vector<int32_t>;
using Json = nlohmann::json;

std::string Unpack(const std::string& name) {
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

const std::vector<std::string>& Strings() {
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

// What a library made of the first `count` strings.
struct Recording {
  size_t count = 0;
  std::vector<Ids> full;  // of the first of them
  // Folded CRCs: of the ids; of those without special tokens, xor the first;
  // of the decoded text, xor that of the text.
  std::vector<uint16_t> ids, plain, text;
};

Recording ReadRecording(const std::string& name) {
  const std::string bytes = Unpack(name + ".rec.gz");
  const size_t line = bytes.find('\n');
  const Json head = Json::parse(bytes.substr(0, line));
  Recording recording;
  recording.count = head["count"];
  recording.full = head["full"].get<std::vector<Ids>>();
  const char* at = bytes.data() + line + 1;
  for (auto* part : {&recording.ids, &recording.plain, &recording.text}) {
    part->resize(recording.count);
    std::memcpy(part->data(), at, recording.count * sizeof(uint16_t));
    at += recording.count * sizeof(uint16_t);
  }
  CHECK_EQ(static_cast<size_t>(at - bytes.data()), bytes.size());
  return recording;
}

uint16_t Crc(const void* data, size_t size) {
  const auto value = static_cast<uint32_t>(
      crc32(0, static_cast<const Bytef*>(data), static_cast<uInt>(size)));
  return static_cast<uint16_t>(value >> 16 ^ value);
}
uint16_t Crc(const std::string& text) { return Crc(text.data(), text.size()); }
uint16_t Crc(const Ids& ids) {
  return Crc(ids.data(), ids.size() * sizeof(int32_t));
}

std::string Shown(const Ids& ids, const Tokenizer& tokenizer) {
  std::string out;
  for (const int32_t id : ids) {
    out += std::to_string(id) + ":" + std::string(tokenizer.Token(id)) + " ";
  }
  return out;
}

// `special`: what the library added in front and behind is in the recording.
void Compare(const Tokenizer& tokenizer, const std::string& name,
             bool add_special, bool compare_text) {
  const Recording recording = ReadRecording(name);
  ASSERT_GE(Strings().size(), recording.count);
  int wrong = 0;
  constexpr int kShown = 5;
  for (size_t i = 0; i < recording.count && wrong < kShown; ++i) {
    const std::string& bytes = Strings()[i];
    const std::string text = ReplaceInvalidUtf8(bytes);
    const Ids ids = tokenizer.Encode(bytes, {add_special, true});
    if (i < recording.full.size()) {
      EXPECT_EQ(ids, recording.full[i]) << text;
    }
    const Ids plain = tokenizer.Encode(bytes, {add_special, false});
    const std::string decoded = tokenizer.Decode(ids, false);
    EXPECT_EQ(Crc(ids), recording.ids[i]) << i << ": " << text << "\n"
                                          << Shown(ids, tokenizer);
    EXPECT_EQ(Crc(plain), recording.ids[i] ^ recording.plain[i])
        << "plain " << i << ": " << text << "\n"
        << Shown(plain, tokenizer);
    if (compare_text) {
      EXPECT_EQ(Crc(decoded), Crc(text) ^ recording.text[i])
          << "decoded " << i << ": " << text << "\n"
          << decoded;
    }
    Tokenizer::Stream stream(tokenizer, false);
    std::string streamed;
    for (const int32_t id : ids) {
      const std::string part = stream.Push(id);
      EXPECT_TRUE(IsValidUtf8(part));
      streamed += part;
    }
    streamed += stream.Finish();
    EXPECT_EQ(streamed, decoded) << text;
    wrong += ::testing::Test::HasFailure();
  }
}

SentencePieceModel Proto(const std::string& name) {
  auto model = ParseSentencePieceModel(Unpack(name + ".model.gz"));
  CHECK(model.ok()) << model.status().message();
  return *std::move(model);
}

std::string Base64(const std::string& bytes) {
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
Json JsonModel(const std::string& name) {
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

Json Kinds() {
  std::ifstream file("tests/tokenizers/data/kinds.json");
  return Json::parse(file);
}

Json Compose(Json spec) {
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

class TokenizerJson : public ::testing::TestWithParam<std::string> {};

TEST_P(TokenizerJson, EqualsTheTokenizersLibrary) {
  const Json spec = Compose(Kinds()[GetParam()]);
  const auto tokenizer = Tokenizer::FromJson(spec.dump(), "", GetParam());
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().message();
  Compare(**tokenizer, GetParam(), true, true);
}

std::vector<std::string> KindNames() {
  std::vector<std::string> names;
  const Json kinds = Kinds();
  for (const auto& [name, spec] : kinds.items()) names.push_back(name);
  return names;
}
const auto kParameterName = [](const auto& info) {
  std::string name = info.param;
  for (char& c : name) {
    if (c == '-') c = '_';
  }
  return name;
};
INSTANTIATE_TEST_SUITE_P(, TokenizerJson, ::testing::ValuesIn(KindNames()),
                         kParameterName);

class SentencePieceFile : public ::testing::TestWithParam<std::string> {};

TEST_P(SentencePieceFile, EqualsTheSentencePieceLibrary) {
  const auto tokenizer =
      Tokenizer::FromSentencePiece(Unpack(GetParam() + ".model.gz"));
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().message();
  // The library never looks for control pieces in a text: only `plain`
  // compares, so it is recorded as both.
  const Tokenizer& t = **tokenizer;
  const Recording recording = ReadRecording("sp_" + GetParam());
  // "---" is "-" and "--" in one order or the other, of equal score but for
  // the last bit of a sum of floats; the library's sum is another one once.
  const int ties_allowed = GetParam() == "unigram_bytes" ? 1 : 0;
  int ties = 0;
  for (size_t i = 0; i < recording.count; ++i) {
    const std::string text = ReplaceInvalidUtf8(Strings()[i]);
    const Ids ids = t.Encode(text, {false, false});
    if (i < recording.full.size()) {
      EXPECT_EQ(ids, recording.full[i]) << text;
    }
    if (Crc(ids) != recording.ids[i] && text.find("---") != text.npos) {
      ASSERT_LE(++ties, ties_allowed) << i << ": " << text;
      continue;
    }
    ASSERT_EQ(Crc(ids), recording.ids[i]) << i << ": " << text << "\n"
                                          << Shown(ids, t);
    const std::string decoded = t.Decode(ids, false);
    ASSERT_EQ(Crc(decoded), Crc(text) ^ recording.text[i])
        << "decoded " << i << ": " << text << "\n"
        << decoded;
  }
}
INSTANTIATE_TEST_SUITE_P(, SentencePieceFile,
                         ::testing::Values("llama", "user", "unigram",
                                           "unigram_bytes"),
                         kParameterName);

TEST(RwkvVocab, EqualsTheLongestWord) {
  const auto tokenizer = Tokenizer::FromRwkvVocab(Unpack("rwkv.txt.gz"));
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().message();
  Compare(**tokenizer, "rwkv", true, true);
}

// The same vocabularies as GGUF metadata carries them.
TokenizerVocab GgufVocab(const std::string& name) {
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

class Gguf : public ::testing::TestWithParam<std::string> {};

// With llama.cpp, or where that only comes near the published pattern with the
// `tokenizers` library (pre_tokenizer_names.cc says where).
TEST_P(Gguf, EqualsTheRecording) {
  const auto tokenizer = Tokenizer::FromVocab(GgufVocab(GetParam()));
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().message();
  Compare(**tokenizer, "gguf_" + GetParam(), false, false);
}
INSTANTIATE_TEST_SUITE_P(
    , Gguf,
    ::testing::Values("gpt-2", "smollm", "llama-bpe", "dbrx", "jais-2", "qwen2",
                      "qwen35", "deepseek-llm", "deepseek-coder", "deepseek-v3",
                      "falcon", "default", "poro-chat", "viking", "tekken",
                      "chameleon", "gpt-4o", "tiny_aya", "superbpe",
                      "bailingmoe", "seed-coder", "kimi-k2", "exaone-moe",
                      "youtu", "llama", "t5"),
    kParameterName);

}  // namespace
}  // namespace intarsia
