// Every tokenizer of the recordings (tests/tokenizers) on its way through GGUF:
// the file encodes as the folder does. Where converting says nothing of the
// tokenizer, GGUF's own keys alone do too, for the programs that read no other.
#include <gtest/gtest.h>

#include <algorithm>

#include "intarsia/convert/test_convert.h"
#include "intarsia/families/gguf_tokenizer.h"
#include "intarsia/tokenizer/base64.h"
#include "intarsia/tokenizer/test_data.h"
#include "intarsia/tokenizer/unicode_forms.h"
#include "tests/tokenizers/kinds.h"

namespace intarsia {
namespace {

constexpr int kVocabulary = 4096;
constexpr int kRows = kVocabulary + 64;  // of the table: added tokens as well
constexpr size_t kStrings = 1500;

// What two readings of a vocabulary have in common.
enum class Common {
  kAll,
  kEncoding,  // ids of texts, special tokens written in them or not
  kPlain,     // of texts whose special tokens are text
};

void ExpectSame(const Tokenizer& a, const Tokenizer& b, Common common,
                bool composed = false) {
  if (common == Common::kAll) {
    EXPECT_EQ(a.bos_id(), b.bos_id());
    EXPECT_EQ(a.eos_id(), b.eos_id());
  }
  int wrong = 0;
  for (size_t i = 0; i < kStrings && wrong < 3; ++i) {
    const std::string text =
        composed ? NormalizeNfc(ReplaceInvalidUtf8(Strings()[i]))
                 : Strings()[i];
    for (const bool parse : {false, true}) {
      if (parse && common == Common::kPlain) continue;
      const std::vector<int32_t> ids = *a.Encode(text, {true, parse});
      EXPECT_EQ(ids, *b.Encode(text, {true, parse})) << text;
      if (common != Common::kAll) continue;
      EXPECT_EQ(a.Decode(ids, false), b.Decode(ids, false)) << text;
    }
    wrong += ::testing::Test::HasFailure();
  }
}

// `silent`: GGUF's own keys say it all, and nothing is told.
void ExpectGoesAlong(const std::string& file, const std::string& text,
                     const Json& tokenizer_config, bool silent) {
  const TempFolder folder;
  Json config = SmallConfig("llama", 32);
  config["vocab_size"] = kRows;
  config["num_hidden_layers"] = 1;
  WriteHf(folder / "source", config);
  WriteFile(folder / "source/" + file, text);
  if (!tokenizer_config.is_null()) {
    WriteFile(folder / "source/tokenizer_config.json", tokenizer_config.dump());
  }
  const auto source = TokenizerOf(folder / "source");
  ASSERT_NE(source, nullptr);
  const std::vector<std::string> warnings =
      ToGguf(folder / "source", folder / "m.gguf");
  const auto whole = TokenizerOf(folder / "m.gguf");
  ASSERT_NE(whole, nullptr);
  ExpectSame(*source, *whole, Common::kAll);
  ToHf(folder / "m.gguf", folder / "hf");
  const auto back = TokenizerOf(folder / "hf");
  ASSERT_NE(back, nullptr);
  ExpectSame(*source, *back, Common::kAll);
  EXPECT_EQ(warnings.empty(), silent) << testing::PrintToString(warnings);
  if (!warnings.empty()) return;
  RewriteGguf(folder / "m.gguf", folder / "b.gguf", [](GgufModel* model) {
    std::erase_if(model->metadata, [](const auto& entry) {
      return entry.first == kHfTokenizer || entry.first == kTokenizerModel;
    });
  });
  const auto bare = TokenizerOf(folder / "b.gguf");
  ASSERT_NE(bare, nullptr);
  // GGUF has no place for whether <unk> in a text is that token.
  const bool bytes =
      *OpenPath(folder / "b.gguf")->gguf()->String("tokenizer.ggml.model") ==
      "gpt2";
  ExpectSame(*source, *bare, bytes ? Common::kEncoding : Common::kPlain);
}

class ConvertTokenizerJson : public ::testing::TestWithParam<std::string> {};

// All of them have added tokens with flags that GGUF has no place for.
TEST_P(ConvertTokenizerJson, EncodesTheSame) {
  ExpectGoesAlong("tokenizer.json", Compose(Kinds()[GetParam()]).dump(),
                  nullptr, /*silent=*/false);
}

TEST_P(ConvertTokenizerJson, WithoutFlagsGgufsOwnKeysEncodeTheSame) {
  constexpr std::string_view kSilent[] = {
      "granite4", "llama2_legacy", "llama3", "o200k", "smollm", "tekken"};
  Json json = Compose(Kinds()[GetParam()]);
  for (Json& added : json["added_tokens"]) {
    for (const char* flag : {"lstrip", "rstrip", "single_word", "normalized"}) {
      added[flag] = false;
    }
  }
  ExpectGoesAlong("tokenizer.json", json.dump(), nullptr,
                  std::ranges::find(kSilent, GetParam()) != std::end(kSilent));
}
INSTANTIATE_TEST_SUITE_P(, ConvertTokenizerJson,
                         ::testing::ValuesIn(KindNames()), kParameterName);

class ConvertSentencePiece : public ::testing::TestWithParam<std::string> {};

bool SaysAll(const std::string& pieces) {
  return pieces == "llama" || pieces == "unigram";
}

TEST_P(ConvertSentencePiece, EncodesTheSame) {
  ExpectGoesAlong("tokenizer.model", Unpack(GetParam() + ".model.gz"), nullptr,
                  SaysAll(GetParam()));
}
TEST_P(ConvertSentencePiece, EncodesTheSameWithAnEnd) {
  ExpectGoesAlong("tokenizer.model", Unpack(GetParam() + ".model.gz"),
                  {{"bos_token", "<s>"},
                   {"eos_token", "</s>"},
                   {"add_bos_token", false},
                   {"add_eos_token", true}},
                  SaysAll(GetParam()));
}
INSTANTIATE_TEST_SUITE_P(, ConvertSentencePiece,
                         ::testing::Values("llama", "user", "unigram",
                                           "unigram_bytes"),
                         kParameterName);

TEST(ConvertRwkv, EncodesTheSame) {
  ExpectGoesAlong("rwkv_vocab_v20230424.txt", Unpack("rwkv.txt.gz"), nullptr,
                  /*silent=*/false);
}

// Special and added tokens of every file that names them.
TEST(ConvertSpecialTokens, GoAlong) {
  const auto records = ReadRecords("special_tokens.jsonl.gz");
  ASSERT_GE(records.size(), 50u);
  for (size_t i = 1; i < records.size(); ++i) {
    const auto& record = records[i];
    SCOPED_TRACE(record["name"].get<std::string>());
    const TempFolder folder;
    Json config = SmallConfig("llama", 32);
    config["vocab_size"] = 512;
    config["num_hidden_layers"] = 1;
    WriteHf(folder / "source", config);
    for (const auto& [name, value] : record["files"].items()) {
      WriteFile(folder / "source/" + name,
                value.is_string()
                    ? value.get<std::string>()
                    : DecodeBase64(value["base64"].get<std::string>()).value());
    }
    const auto source = TokenizerOf(folder / "source");
    ASSERT_NE(source, nullptr);
    ToGguf(folder / "source", folder / "m.gguf");
    ToHf(folder / "m.gguf", folder / "hf");
    for (const char* way : {"m.gguf", "hf"}) {
      SCOPED_TRACE(way);
      const auto other = TokenizerOf(folder / way);
      ASSERT_NE(other, nullptr);
      EXPECT_EQ(other->bos_id(), source->bos_id());
      EXPECT_EQ(other->eos_id(), source->eos_id());
      EXPECT_EQ(other->named_tokens(), source->named_tokens());
      for (const auto& row : record["texts"]) {
        const auto text = row[0].get<std::string>();
        EXPECT_EQ(*other->Encode(text, {true, true}),
                  *source->Encode(text, {true, true}))
            << text;
      }
    }
  }
}

// Files of other programs have GGUF's own keys alone.
class ForeignGguf : public ::testing::TestWithParam<std::string> {};

TEST_P(ForeignGguf, GivesAFolderThatEncodesTheSame) {
  const TempFolder folder;
  Json config = SmallConfig("llama", 32);
  config["vocab_size"] = kVocabulary;
  config["num_hidden_layers"] = 1;
  WriteHf(folder / "plain", config);
  ToGguf(folder / "plain", folder / "plain.gguf");
  const TokenizerVocab vocab = GgufVocab(GetParam());
  RewriteGguf(folder / "plain.gguf", folder / "m.gguf", [&](GgufModel* model) {
    const std::string ggml = "tokenizer.ggml.";
    model->Set(ggml + "model", vocab.model);
    model->Set(ggml + "pre", vocab.pre);
    model->Set(ggml + "tokens", vocab.tokens);
    model->Set(ggml + "token_type", vocab.token_types);
    if (!vocab.merges.empty()) model->Set(ggml + "merges", vocab.merges);
    if (!vocab.scores.empty()) model->Set(ggml + "scores", vocab.scores);
    if (vocab.model == "t5") {
      model->Set(ggml + "add_space_prefix", true);
      model->Set(ggml + "remove_extra_whitespaces", true);
      const std::string& map = vocab.precompiled_charsmap;
      model->Set(ggml + "precompiled_charsmap",
                 std::vector<uint8_t>(map.begin(), map.end()));
    }
    if (vocab.unk_id >= 0) {
      model->Set(ggml + "unknown_token_id",
                 static_cast<uint32_t>(vocab.unk_id));
    }
    model->Set(ggml + "bos_token_id", uint32_t{1});
    model->Set(ggml + "eos_token_id", uint32_t{2});
  });
  const auto source = TokenizerOf(folder / "m.gguf");
  ASSERT_NE(source, nullptr);
  ToHf(folder / "m.gguf", folder / "hf");
  const auto back = TokenizerOf(folder / "hf");
  ASSERT_NE(back, nullptr);
  // llama.cpp composes no characters under the name qwen2; the tokenizer that
  // it stands for does.
  ExpectSame(*source, *back,
             vocab.model == "gpt2" ? Common::kEncoding : Common::kPlain,
             GetParam() == "qwen2");
  // And the way on: the same name again.
  ToGguf(folder / "hf", folder / "m2.gguf");
  const auto again = OpenPath(folder / "m2.gguf");
  ASSERT_TRUE(again->gguf()->Has("tokenizer.ggml.pre"));
  EXPECT_EQ(*again->gguf()->String("tokenizer.ggml.model"), vocab.model);
}
INSTANTIATE_TEST_SUITE_P(, ForeignGguf, ::testing::ValuesIn(GgufNames()),
                         kParameterName);

}  // namespace
}  // namespace intarsia
