// Time of tokenising at one size and four times that: what a text may hold must
// not make it quadratic, whatever the file's patterns and tokens are; and
// memory of the readers.
#include "intarsia/core/growth_testing.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "intarsia/tokenizer/test_data.h"
#include "intarsia/tokenizer/tokenizer.h"

namespace intarsia {
namespace {

using Json = nlohmann::json;
using ::testing::HasSubstr;

std::string Copies(const std::string& text, size_t bytes) {
  std::string out;
  while (out.size() < bytes) out += text;
  return out;
}

// Texts that patterns and models may stumble over.
const std::pair<const char*, const char*> kTexts[] = {
    {"words", "the quick brown fox, 12 times\n"},
    {"one letter", "a"},
    {"capitals", "A"},
    {"spaces", " "},
    {"lines", "\n"},
    {"tabs and spaces", "\t  "},
    {"punctuation", "!?"},
    {"Chinese", "漢字"},
    {"marks", "\u0301\u0316"},
    {"controls", "\x01\x7f"},
    {"unfinished characters", "\xe2\x96"}};

void ExpectLinearEncoding(const std::string& name, const Tokenizer& tokenizer,
                          size_t bytes = size_t{1} << 18) {
  for (const auto& [text_name, text] : kTexts) {
    ExpectLinear(
        name + ": " + text_name,
        [text = std::string(text)](size_t bytes) {
          return Copies(text, bytes);
        },
        [&](const std::string& input) {
          const auto ids = tokenizer.Encode(input);
          ASSERT_TRUE(ids.ok()) << ids.status().message();
          EXPECT_LE(tokenizer.Decode(*ids).size(), input.size() * 6);
        },
        {.memory = 400, .bytes = bytes});
  }
}

class Published : public ::testing::TestWithParam<const char*> {};

TEST_P(Published, PatternsAreLinearInTheText) {
  const auto tokenizer = Tokenizer::FromJsonFile(
      TestDataPath(std::string(GetParam()) + ".tokenizer.json"));
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().message();
  ExpectLinearEncoding(GetParam(), **tokenizer);
}

INSTANTIATE_TEST_SUITE_P(Kinds, Published,
                         ::testing::Values("gpt2", "llama3", "qwen2"));

Json SmallModel() {
  Json vocab = {{"<unk>", 0}, {"a", 1},  {"A", 2},  {"▁", 3},
                {" ", 4},     {"aa", 5}, {"漢", 6}, {"\n", 7}};
  return {{"type", "BPE"},
          {"vocab", vocab},
          {"merges", {"a a"}},
          {"unk_token", "<unk>"}};
}

TEST(TextGrowth, NormalizersAndMetaspace) {
  const Json normalizers = {{{"type", "NFKC"}},
                            {{"type", "NFD"}},
                            {{"type", "StripAccents"}},
                            {{"type", "Lowercase"}},
                            {{"type", "Replace"},
                             {"pattern", {{"Regex", " {2,}"}}},
                             {"content", "▁"}},
                            {{"type", "Strip"}}};
  const Json json = {
      {"model", SmallModel()},
      {"normalizer", {{"type", "Sequence"}, {"normalizers", normalizers}}},
      {"pre_tokenizer", {{"type", "Metaspace"}, {"prepend_scheme", "first"}}},
      {"decoder", {{"type", "Metaspace"}}}};
  const auto tokenizer = Tokenizer::FromJson(json.dump());
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().message();
  ExpectLinearEncoding("normalizers", **tokenizer);
}

TEST(TextGrowth, Unigram) {
  Json vocab = Json::array();
  for (const char* text : {"<unk>", "▁", "a", "漢"}) {
    vocab.push_back(Json::array({text, -2.0}));
  }
  for (size_t length = 2; length <= 512; length *= 2) {
    vocab.push_back(Json::array({std::string(length, 'a'), -1.0}));
    vocab.push_back(Json::array({std::string(length, 'A') + "b", -1.0}));
  }
  const Json json = {
      {"model", {{"type", "Unigram"}, {"vocab", vocab}, {"unk_id", 0}}},
      {"pre_tokenizer", {{"type", "Metaspace"}}},
      {"decoder", {{"type", "Metaspace"}}}};
  const auto tokenizer = Tokenizer::FromJson(json.dump());
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().message();
  ExpectLinearEncoding("Unigram", **tokenizer, size_t{1} << 16);
}

TEST(TextGrowth, AddedTokens) {
  Json json = {{"model", SmallModel()}, {"added_tokens", Json::array()}};
  // Each place of a run begins nearly all of a long token.
  for (const char* last : {"<", "b", " "}) {
    json["added_tokens"].push_back({{"id", 0},
                                    {"content", std::string(1000, 'a') + last},
                                    {"lstrip", true},
                                    {"rstrip", true}});
  }
  json["added_tokens"].push_back(
      {{"id", 0}, {"content", "\t"}, {"lstrip", true}, {"single_word", true}});
  const auto tokenizer = Tokenizer::FromJson(json.dump());
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().message();
  ExpectLinearEncoding("added tokens", **tokenizer, size_t{1} << 16);
}

TEST(TextGrowth, Decoders) {
  const Json json = {
      {"model", SmallModel()},
      {"decoder",
       {{"type", "Sequence"},
        {"decoders",
         {{{"type", "ByteFallback"}},
          {{"type", "Fuse"}},
          {{"type", "Replace"},
           {"pattern", {{"String", std::string(1000, 'a') + "b"}}},
           {"content", ""}},
          {{"type", "Strip"}, {"content", "a"}, {"start", 1}, {"stop", 9}}}}}}};
  const auto tokenizer = Tokenizer::FromJson(json.dump());
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().message();
  ExpectLinearEncoding("decoders", **tokenizer);
}

TEST(TextBudget, RunsLongerThanAMatchMayBackTrackAreCutAsTheyShould) {
  // A run of spaces before a word leaves the last one to it, however long.
  const auto tokenizer =
      Tokenizer::FromJsonFile(TestDataPath("llama3.tokenizer.json"));
  ASSERT_TRUE(tokenizer.ok());
  const std::string run(3 << 20, ' ');
  const auto ids = (*tokenizer)->Encode(run + " a b", {false, false});
  ASSERT_TRUE(ids.ok()) << ids.status().message();
  const auto end = (*tokenizer)->Encode(" a b", {false, false});
  ASSERT_TRUE(end.ok());
  ASSERT_GT(ids->size(), end->size());
  EXPECT_TRUE(std::equal(end->rbegin(), end->rend(), ids->rbegin()));
}

TEST(TextBudget, APatternThatTakesTooLongIsAnError) {
  const auto seconds = [] {
    timespec time = {};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) +
           1e-9 * static_cast<double>(time.tv_nsec);
  };
  // Each match looks ahead to the end; a match that goes over its steps; both
  // in a normalizer and in a pre-tokenizer.
  for (const char* pattern :
       {R"(\w{1,3}(?=\w*\b))", R"((?:a+)+$)", R"((?:a|aa)+b|a)"}) {
    const Json split = {{"type", "Split"},
                        {"behavior", "Isolated"},
                        {"pattern", {{"Regex", pattern}}}};
    const Json replace = {{"type", "Replace"},
                          {"content", "b"},
                          {"pattern", {{"Regex", pattern}}}};
    for (const bool normalizer : {false, true}) {
      Json json = {{"model", SmallModel()}};
      json[normalizer ? "normalizer" : "pre_tokenizer"] =
          normalizer ? replace : split;
      const auto tokenizer = Tokenizer::FromJson(json.dump());
      ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().message();
      const double start = seconds();
      const auto ids = (*tokenizer)->Encode(std::string(1 << 18, 'a') + "!");
      EXPECT_LT(seconds() - start, 60) << pattern;
      if (ids.ok()) continue;
      EXPECT_THAT(ids.status().message(),
                  HasSubstr("[tokenizer] a text of 262145 bytes takes the "
                            "tokenizer's patterns too long"));
      // The tokenizer goes on.
      EXPECT_TRUE((*tokenizer)->Encode("aa").ok());
    }
  }
}

}  // namespace
}  // namespace intarsia
