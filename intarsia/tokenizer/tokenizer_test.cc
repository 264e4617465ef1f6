#include "intarsia/tokenizer/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <thread>

#include "intarsia/tokenizer/byte_level.h"
#include "intarsia/tokenizer/test_data.h"
#include "intarsia/tokenizer/unicode_forms.h"
#include "intarsia/tokenizer/utf8.h"

namespace intarsia {
namespace {

using Ids = std::vector<int32_t>;
using Json = nlohmann::json;
using ::testing::HasSubstr;

std::unique_ptr<Tokenizer> Load(const std::string& name) {
  auto result = Tokenizer::FromJsonFile(TestDataPath(name + ".tokenizer.json"));
  CHECK(result.ok()) << result.status().message();
  return std::move(result).value();
}

std::string StreamAll(const Tokenizer& t, const Ids& ids, bool skip_special) {
  Tokenizer::Stream stream(t, skip_special);
  std::string text;
  for (const int32_t id : ids) {
    const std::string piece = stream.Push(id);
    EXPECT_TRUE(IsValidUtf8(piece));
    text += piece;
  }
  return text + stream.Finish();
}

class Recorded : public ::testing::TestWithParam<const char*> {};

TEST_P(Recorded, EncodeAndDecodeEqualTheTokenizersLibrary) {
  const std::string name = GetParam();
  const auto tokenizer = Load(name);
  const auto records = ReadRecords("encodings.jsonl.gz");
  ASSERT_GE(records.size(), 500u);
  for (const auto& record : records) {
    const auto text = record["text"].get<std::string>();
    const auto ids = record[name].get<Ids>();
    EXPECT_EQ(*tokenizer->Encode(text, {true, true}), ids) << text;
    const auto plain = record.value(name + "_plain", ids);
    EXPECT_EQ(*tokenizer->Encode(text, {true, false}), plain) << text;
    const std::string decoded = record.value(name + "_text", text);
    EXPECT_EQ(tokenizer->Decode(ids, false), decoded);
    EXPECT_EQ(StreamAll(*tokenizer, ids, false), decoded);
    EXPECT_EQ(StreamAll(*tokenizer, ids, true), tokenizer->Decode(ids, true));
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, Recorded,
                         ::testing::Values("gpt2", "smollm", "llama3",
                                           "qwen2"));

// The same vocabulary as GGUF carries it.
TokenizerVocab VocabOf(const std::string& name, const std::string& pre) {
  const Json root = Json::parse(ReadTestData(name + ".tokenizer.json"));
  TokenizerVocab vocab;
  vocab.model = "gpt2";
  vocab.pre = pre;
  const Json& words = root["model"]["vocab"];
  vocab.tokens.resize(words.size());
  vocab.token_types.assign(words.size(), 1);
  for (const auto& [text, id] : words.items()) vocab.tokens[id] = text;
  for (const Json& merge : root["model"]["merges"]) {
    vocab.merges.push_back(merge[0].get<std::string>() + " " +
                           merge[1].get<std::string>());
  }
  for (int id = 0; id < 3; ++id) vocab.token_types[id] = 3;
  vocab.tokens.push_back("[PAD]");
  vocab.token_types.push_back(4);
  vocab.bos_id = 1;
  vocab.eos_id = 2;
  return vocab;
}

TEST(FromVocab, EqualsTheSameVocabularyFromJson) {
  for (const auto& [name, pre] :
       {std::pair("llama3", "llama-bpe"), std::pair("qwen2", "qwen2")}) {
    auto tokenizer = Tokenizer::FromVocab(VocabOf(name, pre));
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().message();
    int compared = 0;
    for (const auto& record : ReadRecords("encodings.jsonl.gz")) {
      const auto text = record["text"].get<std::string>();
      // GGUF has no single_word, no strip flags
      // and no normalizer.
      if (text.find("#include") != std::string::npos ||
          text.find("===") != std::string::npos || NormalizeNfc(text) != text) {
        continue;
      }
      EXPECT_EQ(*(*tokenizer)->Encode(text, {true, true}),
                record[name].get<Ids>())
          << text;
      ++compared;
    }
    EXPECT_GE(compared, 350);
  }
}

TEST(FromVocab, SpecialTokensFollowTheMetadata) {
  TokenizerVocab vocab = VocabOf("qwen2", "qwen2");
  vocab.chat_template = "{{ messages }}";
  vocab.named_chat_templates["tool_use"] = "{{ tools }}";
  vocab.add_bos = true;
  vocab.add_eos = true;
  const auto tokenizer = Tokenizer::FromVocab(vocab);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().message();
  const Tokenizer& t = **tokenizer;
  EXPECT_EQ(t.bos_id(), 1);
  EXPECT_EQ(t.eos_id(), 2);
  EXPECT_EQ(t.chat_template(), "{{ messages }}");
  EXPECT_EQ(t.chat_template("tool_use"), "{{ tools }}");
  const Ids ids = *t.Encode("", {true, false});
  EXPECT_EQ(ids, (Ids{1, 2}));
  EXPECT_TRUE(t.Encode("", {false, false})->empty());
  EXPECT_TRUE(t.is_special(1));
  EXPECT_FALSE(t.is_special(t.Find("[PAD]")));
  EXPECT_TRUE(t.is_end_of_generation(2));
  EXPECT_TRUE(t.is_end_of_generation(t.Find("<|end|>")));  // by its name
  EXPECT_FALSE(t.is_end_of_generation(1));
  EXPECT_EQ(t.Decode(Ids{1, t.Find("[PAD]"), 2}, true), "[PAD]");
  EXPECT_EQ(t.Decode(Ids{-1, 1 << 30}, false), "");
}

// As published files have them; llama.cpp's map of texts keeps the last id.
TEST(FromVocab, ATextMayHaveSeveralIds) {
  for (const char* model : {"gpt2", "llama"}) {
    TokenizerVocab vocab;
    vocab.model = model;
    vocab.tokens = {"<s>", "a", "b", "ab", "a", "ab", "<s>", "", "", "▁"};
    vocab.token_types = {3, 1, 1, 1, 1, 1, 3, 5, 5, 1};
    vocab.scores = {0, -3, -3, -1, -4, -2, 0, 0, 0, -9};
    if (vocab.model == "gpt2") vocab.merges = {"a b"};
    vocab.bos_id = 0;
    vocab.add_bos = true;
    vocab.add_space_prefix = false;
    const auto tokenizer = Tokenizer::FromVocab(vocab);
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().message();
    const Tokenizer& t = **tokenizer;
    EXPECT_EQ(*t.Encode("aab<s>", {true, true}), (Ids{0, 4, 5, 6})) << model;
    EXPECT_EQ(t.Decode(Ids{0, 1, 3, 4, 5, 6}, false), "<s>aabaab<s>");
    EXPECT_EQ(t.Decode(Ids{0, 1, 6}, true), "a");
    EXPECT_THAT(t.warnings(), testing::Contains(HasSubstr("has the ids")));
  }
}

TEST(FromVocab, RefusesWhatContradictsItself) {
  const auto refused = [](TokenizerVocab vocab, const char* why) {
    vocab.source = "model.gguf";
    const auto result = Tokenizer::FromVocab(std::move(vocab));
    ASSERT_FALSE(result.ok()) << why;
    EXPECT_THAT(
        result.status().message(),
        testing::AllOf(HasSubstr("[tokenizer] model.gguf: "), HasSubstr(why)));
  };
  TokenizerVocab good;
  good.model = "gpt2";
  good.tokens = {"a", "b", "ab"};
  good.merges = {"a b"};
  ASSERT_TRUE(Tokenizer::FromVocab(good).ok());
  auto bad = good;
  bad.model = "plamo2";
  refused(bad, "tokenizer.ggml.model \"plamo2\" (known: gpt2, llama");
  bad = good;
  bad.pre = "nosuch";
  refused(bad, "unknown pre-tokenizer \"nosuch\"");
  bad = good;
  bad.scores = {1.0F};
  refused(bad, "scores has 1 score for 3 tokens");
  bad = good;
  bad.model = "t5";
  bad.precompiled_charsmap = "abc";
  refused(bad, "precompiled_charsmap");
  bad = good;
  bad.tokens.clear();
  bad.merges.clear();
  refused(bad, "empty");
  bad = good;
  bad.tokens[0] = "\xff";
  refused(bad, "not valid UTF-8");
  bad = good;
  bad.token_types = {1};
  refused(bad, "token_type has 1 type for 3 tokens");
  bad = good;
  bad.token_types = {1, 1, 9};
  refused(bad, "unknown type 9");
  bad = good;
  bad.merges.clear();
  refused(
      bad,
      "tokenizer.ggml.merges is missing or empty, and a \"gpt2\" vocabulary "
      "cannot make \"ab\" without; convert the model again");
  bad.tokens.pop_back();  // characters alone need none
  EXPECT_TRUE(Tokenizer::FromVocab(bad).ok());
  EXPECT_THAT((*Tokenizer::FromVocab(good))->warnings(),
              testing::ElementsAre(HasSubstr(
                  "tokenizer.ggml.pre is missing: \"default\" is taken")));
  bad = good;
  bad.pre = "default";
  EXPECT_THAT((*Tokenizer::FromVocab(bad))->warnings(), testing::ElementsAre());
  bad = good;
  bad.merges = {"a c"};
  refused(bad, "merge 0 names \"c\"");
  bad = good;
  bad.merges = {"b a"};
  refused(bad, "merge 0 names \"ba\"");
  bad = good;
  bad.merges = {"ab"};
  refused(bad, "not two tokens");
  bad = good;
  bad.scores.assign(bad.tokens.size(), 0);
  bad.scores[1] = std::numeric_limits<float>::quiet_NaN();
  refused(bad, "tokenizer.ggml.scores[1] is no finite number");
  bad.scores[1] = -std::numeric_limits<float>::infinity();
  refused(bad, "tokenizer.ggml.scores[1] is no finite number");
  bad = good;
  bad.eos_id = int64_t{1} << 40;
  refused(bad, "eos_token_id");
  bad = good;
  bad.bos_id = -7;
  refused(bad, "bos_token_id");
}

TEST(MissingBytes, AsEachReferenceTreatsThem) {
  // "i" and "n" have tokens and merge; byte 6 has none. The tokenizers library
  // merges across it, llama.cpp does not.
  TokenizerVocab vocab;
  vocab.model = "gpt2";
  vocab.pre = "gpt-2";
  vocab.tokens = {"i", "n", "in"};
  vocab.merges = {"i n"};
  const auto gguf = Tokenizer::FromVocab(vocab);
  ASSERT_TRUE(gguf.ok());
  EXPECT_EQ(*(*gguf)->Encode("in"), (Ids{2}));
  // In GPT-2's pattern a control character is a piece of its own, so "!" and
  // it are the ones that meet.
  vocab.tokens = {"!", "?", "!?"};
  vocab.merges = {"! ?"};
  const auto marks = Tokenizer::FromVocab(vocab);
  ASSERT_TRUE(marks.ok());
  EXPECT_EQ(*(*marks)->Encode("!\x06?"), (Ids{0, 1}));
  Json root = {
      {"model",
       {{"type", "BPE"},
        {"vocab", {{"!", 0}, {"?", 1}, {"!?", 2}, {"<unk>", 3}}},
        {"merges", {"! ?"}}}},
      {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}}}};
  const auto encode = [&] {
    const auto t = Tokenizer::FromJson(root.dump());
    CHECK(t.ok()) << t.status().message();
    return *(*t)->Encode("!\x06\x06?");
  };
  EXPECT_EQ(encode(), (Ids{2}));
  root["model"]["unk_token"] = "<unk>";
  EXPECT_EQ(encode(), (Ids{0, 3, 3, 1}));
  root["model"]["fuse_unk"] = true;
  EXPECT_EQ(encode(), (Ids{0, 3, 1}));
}

TEST(Encode, InvalidUtf8IsReplacedAsPythonDoes) {
  const auto tokenizer = Load("gpt2");
  // Each pair: bytes, and what Python's errors="replace" makes of them.
  const std::pair<std::string, std::string> cases[] = {
      {"a\xff", "a\uFFFD"},
      {"\xe4\xbd", "\uFFFD"},                  // a truncated character
      {"\xe4\xbdx", "\uFFFDx"},                // one maximal subpart
      {"\xed\xa0\x80", "\uFFFD\uFFFD\uFFFD"},  // a surrogate
      {"\xc0\xaf", "\uFFFD\uFFFD"},            // overlong
      {"\xf4\x90\x80\x80", "\uFFFD\uFFFD\uFFFD\uFFFD"},
      {"\xf0\x9f\x98\x80\xf0\x9f\x98", "\U0001F600\uFFFD"},
      {"\x80\xe2\x82\xac", "\uFFFD\u20AC"},
  };
  for (const auto& [bytes, text] : cases) {
    EXPECT_EQ(ReplaceInvalidUtf8(bytes), text);
    EXPECT_EQ(*tokenizer->Encode(bytes), *tokenizer->Encode(text));
  }
}

TEST(Encode, AllByteValuesRoundTrip) {
  const auto tokenizer = Load("llama3");
  std::string text;
  for (char32_t c = 0; c < 0x3000; ++c) AppendUtf8(c, &text);
  const Ids ids = *tokenizer->Encode(text, {false, false});
  EXPECT_EQ(tokenizer->Decode(ids), text);
  for (int b = 0; b < 256; ++b) {
    const char byte = static_cast<char>(b);
    EXPECT_EQ(ByteLevelDecode(ByteLevelEncode({&byte, 1})),
              std::string(1, byte));
  }
}

TEST(Encode, LongWordsAreNotQuadratic) {
  const auto tokenizer = Load("qwen2");
  const auto begin = std::chrono::steady_clock::now();
  for (const char* unit : {"a", "on", " ", "\n", "1", "."}) {
    std::string text;
    while (text.size() < 300000) text += unit;
    const Ids ids = *tokenizer->Encode(text);
    EXPECT_EQ(tokenizer->Decode(ids), text);
  }
  // Quadratic merging would take minutes.
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(15));
}

TEST(Encode, ThreadsMayShareATokenizer) {
  const auto tokenizer = Load("smollm");
  const auto records = ReadRecords("encodings.jsonl.gz");
  std::vector<std::thread> threads;
  std::vector<int> wrong(4);
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (const auto& record : records) {
        wrong[t] +=
            *tokenizer->Encode(record["text"].get<std::string>(),
                               {true, true}) != record["smollm"].get<Ids>();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(wrong, testing::Each(0));
}

TEST(Stream, HoldsBackUnfinishedCharacters) {
  const auto tokenizer = Load("gpt2");
  const auto byte_token = [&](unsigned char byte) {
    const char c = static_cast<char>(byte);
    const int32_t id = tokenizer->Find(ByteLevelEncode({&c, 1}));
    EXPECT_GE(id, 0);
    return id;
  };
  Tokenizer::Stream stream(*tokenizer);
  EXPECT_EQ(stream.Push(byte_token(0xF0)), "");
  EXPECT_EQ(stream.Push(byte_token(0x9F)), "");
  EXPECT_EQ(stream.Push(byte_token(0x98)), "");
  EXPECT_EQ(stream.Push(byte_token(0x80)), "\U0001F600");
  EXPECT_EQ(stream.Push(byte_token(0xE2)), "");
  EXPECT_EQ(stream.Push(byte_token('x')), "\uFFFDx");
  EXPECT_EQ(stream.Push(byte_token(0xE2)), "");
  EXPECT_EQ(stream.Finish(), "\uFFFD");
  EXPECT_EQ(stream.Finish(), "");
}

TEST(Json, ConfigNamesTheSpecialTokensAndTemplates) {
  const std::string json = ReadTestData("qwen2.tokenizer.json");
  const Json config = {{"bos_token", nullptr},
                       {"eos_token", {{"content", "<|im_end|>"}}},
                       {"chat_template",
                        {{{"name", "default"}, {"template", "D"}},
                         {{"name", "tool_use"}, {"template", "T"}}}}};
  const auto tokenizer = Tokenizer::FromJson(json, config.dump());
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().message();
  EXPECT_EQ((*tokenizer)->bos_id(), -1);
  EXPECT_EQ((*tokenizer)->eos_id(), 2);
  EXPECT_EQ(*(*tokenizer)->Encode(""), (Ids{}));
  EXPECT_EQ((*tokenizer)->chat_template(), "D");
  EXPECT_EQ((*tokenizer)->chat_template("tool_use"), "T");
  EXPECT_EQ((*tokenizer)->chat_template("other"), "D");
}

// As tokenizers 0.23.3 reads them.
TEST(Json, MergesAndUnknownTokensThatFilesGetWrong) {
  const Json vocab = {{"a", 0},  {"b", 1},   {"c", 2},    {"ab", 3},
                      {"bc", 4}, {"abc", 5}, {"<unk>", 6}};
  const auto make = [&](const Json& merges, const Json& unk) {
    const Json model = {{"type", "BPE"},
                        {"vocab", vocab},
                        {"merges", merges},
                        {"unk_token", unk}};
    auto tokenizer = Tokenizer::FromJson(Json({{"model", model}}).dump());
    CHECK(tokenizer.ok()) << tokenizer.status().message();
    return *std::move(tokenizer);
  };
  EXPECT_EQ(*make({"b c", "a b"}, nullptr)->Encode("abc"), (Ids{0, 4}));
  EXPECT_EQ(*make({"#version: 0.2", "b c", "a b"}, nullptr)->Encode("abc"),
            (Ids{0, 4}));
  // The last rank of a pair counts; for llama.cpp the first.
  EXPECT_EQ(*make({"b c", "a b", "b c"}, nullptr)->Encode("abc"), (Ids{3, 2}));
  TokenizerVocab gguf;
  gguf.model = "gpt2";
  gguf.tokens = {"a", "b", "c", "ab", "bc"};
  gguf.merges = {"b c", "a b", "b c"};
  EXPECT_EQ(*Tokenizer::FromVocab(gguf).value()->Encode("abc"), (Ids{0, 4}));
  // A vocabulary without its unknown token serves until that is needed.
  EXPECT_EQ(*make({"b c"}, nullptr)->Encode("abd"), (Ids{0, 1}));
  const auto without = make({"b c", "a b"}, "<none>");
  EXPECT_EQ(*without->Encode("abc"), (Ids{0, 4}));
  EXPECT_THAT(without->Encode("abd").status().message(),
              HasSubstr("no token for unknown ones"));
  EXPECT_THAT(without->warnings().at(0), HasSubstr("\"<none>\""));
  const Json unigram = {{"type", "Unigram"},
                        {"unk_id", nullptr},
                        {"vocab", Json::array({Json::array({"<unk>", 0.0}),
                                               Json::array({"a", -1.0}),
                                               Json::array({"a", -3.0})})}};
  const auto scored =
      Tokenizer::FromJson(Json({{"model", unigram}}).dump()).value();
  EXPECT_EQ(*scored->Encode("aa"), (Ids{2, 2}));  // the last of two
  EXPECT_FALSE(scored->Encode("ab").ok());
}

TEST(Json, TemplatesMayLieInFilesOfTheirOwn) {
  namespace fs = std::filesystem;
  const fs::path folder = fs::path(testing::TempDir()) / "template_files";
  fs::remove_all(folder);
  fs::create_directories(folder / "additional_chat_templates");
  const auto write = [&](const char* name, const std::string& text) {
    std::ofstream(folder / name, std::ios::binary) << text;
  };
  write("tokenizer.json", ReadTestData("qwen2.tokenizer.json"));
  write("tokenizer_config.json", "{}");
  const auto open = [&] {
    auto tokenizer =
        Tokenizer::FromFile((folder / "tokenizer.json").string(),
                            (folder / "tokenizer_config.json").string());
    EXPECT_TRUE(tokenizer.ok()) << tokenizer.status().message();
    return *std::move(tokenizer);
  };
  EXPECT_EQ(open()->chat_template(), "");
  // chat_template.json counts where there is nothing else.
  write("chat_template.json", R"({"chat_template": "J"})");
  EXPECT_EQ(open()->chat_template(), "J");
  write("tokenizer_config.json", R"({"chat_template": "C"})");
  EXPECT_EQ(open()->chat_template(), "C");
  write("chat_template.jinja", "F\n");
  write("additional_chat_templates/rag.jinja", "R");
  write("additional_chat_templates/notes.txt", "N");
  EXPECT_EQ(open()->chat_template(), "F\n");
  EXPECT_EQ(open()->chat_template("rag"), "R");
  EXPECT_EQ(open()->chat_template("notes"), "F\n");
  write("tokenizer_config.json",
        R"({"chat_template": [{"name": "default", "template": "C"},
                              {"name": "rag", "template": "CR"},
                              {"name": "tool_use", "template": "CT"}]})");
  EXPECT_EQ(open()->chat_template(), "F\n");
  EXPECT_EQ(open()->chat_template("rag"), "R");
  EXPECT_EQ(open()->chat_template("tool_use"), "CT");
  const auto json_file =
      Tokenizer::FromJsonFile((folder / "tokenizer.json").string());
  ASSERT_TRUE(json_file.ok());
  EXPECT_EQ((*json_file)->chat_template("rag"), "R");
  // A broken one is named.
  fs::remove(folder / "chat_template.jinja");
  write("tokenizer_config.json", "{}");
  write("chat_template.json", "{");
  const auto broken =
      Tokenizer::FromFile((folder / "tokenizer.json").string(),
                          (folder / "tokenizer_config.json").string());
  ASSERT_FALSE(broken.ok());
  EXPECT_THAT(broken.status().message(), HasSubstr("chat_template.json"));
}

TEST(Json, EveryFaultIsNamed) {
  const Json good = {
      {"model",
       {{"type", "BPE"},
        {"vocab", {{"a", 0}, {"b", 1}, {"ab", 2}}},
        {"merges", {"a b"}}}},
      {"added_tokens", {{{"id", 3}, {"content", "<x>"}, {"special", true}}}},
      {"pre_tokenizer", {{"type", "ByteLevel"}}}};
  ASSERT_TRUE(Tokenizer::FromJson(good.dump()).ok());
  struct Fault {
    const char* pointer;
    Json value;
    const char* why;
  };
  const Json split = {{"type", "Split"}, {"behavior", "Isolated"}};
  auto bad_regex = split, no_behavior = split;
  bad_regex["pattern"] = {{"Regex", "(a"}};
  no_behavior["behavior"] = "Sideways";
  const Fault faults[] = {
      {"/model", 3, "model: must be an object, is number"},
      {"/model/type", "WordPiece", "model.type \"WordPiece\" (known: BPE"},
      {"/model/type", "Unigram", "with a ByteLevel pre_tokenizer"},
      {"/model/vocab", Json::array(), "model.vocab: must be an object"},
      {"/model/vocab/a", "x", "must be a whole number"},
      {"/model/vocab/a", 1.5, "must be a whole number"},
      {"/model/vocab/a", -1, "token id -1 is outside"},
      {"/model/vocab/a", 18446744073709551615u, "is outside"},
      {"/model/vocab/a", 4000000000, "is outside"},
      {"/model/merges", "a b", "model.merges: must be an array"},
      {"/model/merges/0", "a", "not two tokens"},
      {"/model/merges/0", 5, "must be \"left right\" or a pair"},
      {"/model/merges/0", {"a", "z"}, "names \"z\""},
      {"/model/merges/0", {"b", "a"}, "names \"ba\""},
      {"/model/dropout", 0.1, "model.dropout"},
      {"/model/byte_fallback", "yes", "must be true or false"},
      {"/model/ignore_merges", 1, "must be true or false"},
      {"/model/end_of_word_suffix", "</w>", "model.end_of_word_suffix"},
      {"/added_tokens", 1, "added_tokens: not an array"},
      {"/added_tokens/0", 1, "added_tokens[0]: must be an object"},
      {"/added_tokens/0/id", int64_t{1} << 31, "added_tokens[0].id"},
      {"/added_tokens/0/content", nullptr, "added_tokens[0].content"},
      {"/added_tokens/0/special", "yes", "must be true or false"},
      {"/normalizer",
       {{"type", "BertNormalizer"}},
       "normalizer: type \"BertNormalizer\" (known: ByteLevel, Lowercase"},
      {"/normalizer",
       {{"type", "Replace"},
        {"pattern", {{"Regex", "[a[^b]]"}}},
        {"content", ""}},
       "a class within a class"},
      {"/normalizer",
       {{"type", "Precompiled"}, {"precompiled_charsmap", "AAA"}},
       "base64"},
      {"/normalizer",
       {{"type", "Precompiled"}, {"precompiled_charsmap", "////fwAA"}},
       "precompiled_charsmap: an array of"},
      {"/normalizer",
       {{"type", "Replace"},
        {"pattern", {{"String", "a"}}},
        {"content", std::string(5000, 'a')}},
       "grow more than 4096-fold"},
      {"/decoder",
       {{"type", "WordPiece"}},
       "decoder: type \"WordPiece\" (known: ByteFallback"},
      {"/decoder",
       {{"type", "Sequence"},
        {"decoders", {{{"type", "Fuse"}}, {{"type", "ByteLevel"}}}}},
       "ByteLevel after Fuse"},
      {"/decoder",
       {{"type", "Strip"}, {"content", "ab"}, {"start", 1}, {"stop", 0}},
       "must be one character"},
      {"/pre_tokenizer/type", "UnicodeScripts",
       "type \"UnicodeScripts\" (known: BertPreTokenizer"},
      {"/pre_tokenizer",
       {{"type", "Metaspace"}, {"prepend_scheme", "last"}},
       "prepend_scheme: \"last\" (known"},
      {"/pre_tokenizer",
       {{"type", "FixedLength"}, {"length", 0}},
       "pre_tokenizer.length"},
      {"/pre_tokenizer", bad_regex, "bad pattern"},
      {"/pre_tokenizer", no_behavior, "unknown behavior"},
      {"/pre_tokenizer", split, "pattern: must be an object"},
      {"/post_processor", {{"type", "Nope"}}, "post_processor: type"},
      {"/post_processor",
       {{"type", "BertProcessing"}, {"cls", {"a", 99}}, {"sep", {"a", 0}}},
       "special token id 99"},
      {"/post_processor",
       {{"type", "TemplateProcessing"}, {"single", Json::array()}},
       "the text is missing"},
  };
  for (const Fault& fault : faults) {
    Json bad = good;
    bad[Json::json_pointer(fault.pointer)] = fault.value;
    const auto result = Tokenizer::FromJson(bad.dump(), "", "dir/t.json");
    ASSERT_FALSE(result.ok()) << fault.why;
    EXPECT_THAT(result.status().message(),
                testing::AllOf(HasSubstr("[tokenizer] dir/t.json: "),
                               HasSubstr(fault.why)));
  }
  for (const char* text : {"", "{", "[]", "nul", "{\"model\":\xff}"}) {
    EXPECT_FALSE(Tokenizer::FromJson(text).ok()) << text;
  }
  EXPECT_EQ(Tokenizer::FromJsonFile("/nonexistent/t.json").status().code(),
            StatusCode::kNotFound);
}

}  // namespace
}  // namespace intarsia
