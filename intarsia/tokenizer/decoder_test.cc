// Decoders of a tokenizer.json: what tokenizers 0.23.3 gives for the same
// tokens, at once and as a stream.
#include "intarsia/tokenizer/decoder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "intarsia/tokenizer/tokenizer.h"
#include "intarsia/tokenizer/utf8.h"

namespace intarsia {
namespace {

using Ids = std::vector<int32_t>;
using Json = nlohmann::json;
using ::testing::HasSubstr;

Json Sequence(std::vector<Json> steps) {
  return {{"type", "Sequence"}, {"decoders", std::move(steps)}};
}
Json Replace(const char* from, const char* to) {
  return {
      {"type", "Replace"}, {"pattern", {{"String", from}}}, {"content", to}};
}
Json Strip(const char* text, int start, int stop) {
  return {
      {"type", "Strip"}, {"content", text}, {"start", start}, {"stop", stop}};
}
const Json kFuse = {{"type", "Fuse"}};
const Json kBytes = {{"type", "ByteFallback"}};

std::string ByteToken(int byte) {
  constexpr char kHex[] = "0123456789ABCDEF";
  return std::string("<0x") + kHex[byte >> 4] + kHex[byte & 15] + ">";
}

Result<std::unique_ptr<Tokenizer>> Make(const Json& decoder) {
  Json vocab = {{"<unk>", 0}, {"<s>", 1}};
  for (int b = 0; b < 256; ++b) vocab[ByteToken(b)] = vocab.size();
  for (const char* text :
       {"a", "b", " ", "_", "▁", "\n", "'", "▁b", "X", "aa", "ba"}) {
    vocab[text] = vocab.size();
  }
  const Json model = {
      {"type", "BPE"}, {"vocab", vocab}, {"merges", Json::array()}};
  const Json special = {{"id", 1}, {"content", "<s>"}, {"special", true}};
  return Tokenizer::FromJson(
      Json(
          {{"model", model}, {"added_tokens", {special}}, {"decoder", decoder}})
          .dump());
}

// Decodes the tokens, and checks that a stream gives the same.
std::string Decoded(const Json& decoder, const std::vector<std::string>& tokens,
                    bool skip_special = true) {
  const auto tokenizer = Make(decoder);
  if (!tokenizer.ok()) return tokenizer.status().message();
  const Tokenizer& t = **tokenizer;
  Ids ids;
  for (const std::string& token : tokens) ids.push_back(t.Find(token));
  const std::string text = t.Decode(ids, skip_special);
  Tokenizer::Stream stream(t, skip_special);
  for (int round = 0; round < 2; ++round) {
    std::string streamed;
    for (const int32_t id : ids) {
      const std::string part = stream.Push(id);
      EXPECT_TRUE(IsValidUtf8(part));
      streamed += part;
    }
    EXPECT_EQ(streamed + stream.Finish(), text);
  }
  return text;
}

std::vector<std::string> Bytes(std::initializer_list<int> bytes) {
  std::vector<std::string> tokens;
  for (const int byte : bytes) tokens.push_back(ByteToken(byte));
  return tokens;
}

TEST(Decoder, ABadByteSpoilsItsRun) {
  const Json decoder =
      Sequence({Replace("▁", " "), kBytes, kFuse, Strip(" ", 1, 0)});
  EXPECT_EQ(Decoded(decoder, Bytes({0xE4, 0xBD, 0xA0})), "你");
  EXPECT_EQ(Decoded(decoder, Bytes({0xE4, 0xBD, 0xA0, 0xFF})),
            "\uFFFD\uFFFD\uFFFD\uFFFD");
  EXPECT_EQ(Decoded(decoder, {"a", "<0xFF>", "<0x41>", "b"}), "a\uFFFD\uFFFDb");
  // A special token that is left out doesn't end a run, one that is shown does.
  const std::vector<std::string> cut = {"<0x41>", "<0x42>", "<s>", "<0xC3>"};
  EXPECT_EQ(Decoded(decoder, cut), "\uFFFD\uFFFD\uFFFD");
  EXPECT_EQ(Decoded(decoder, cut, false), "AB<s>\uFFFD");
  const std::vector<std::string> split = {"<0xC3>", "<s>", "<0xA9>"};
  EXPECT_EQ(Decoded(decoder, split), "é");
  EXPECT_EQ(Decoded(decoder, split, false), "\uFFFD<s>\uFFFD");
  EXPECT_EQ(Decoded(decoder, {"<0xC3>", "a", "<0xA9>"}), "\uFFFDa\uFFFD");
  EXPECT_EQ(Decoded(decoder, {"▁", "<0x20>", "▁b"}), "  b");
}

TEST(Decoder, StepsBehindFuseSeeTheWholeText) {
  const std::vector<std::string> lines = {"a", "\n", " ", "b", "'", "_", "a"};
  const std::vector<std::string> letters = {"a", "a", "a", "b", "a", "a"};
  const std::vector<std::string> marks = {"▁", "a", "▁b", "▁"};
  Json decoder = Sequence(
      {Replace("_", " "), kFuse, Replace("\n ", "\n"), Replace("' ", "'")});
  EXPECT_EQ(Decoded(decoder, lines), "a\nb'a");
  EXPECT_EQ(Decoded(decoder, {"a", "\n"}), "a\n");  // held back till the end
  decoder = Sequence({kFuse, Replace("aab", "X")});
  EXPECT_EQ(Decoded(decoder, letters), "aXaa");
  EXPECT_EQ(Decoded(decoder, {"aa", "a", "ba", "aa"}), "aXaaa");
  decoder = Sequence({kFuse, Replace("a", "aa"), Replace("aa", "b")});
  EXPECT_EQ(Decoded(decoder, letters), "bbbbbb");
  decoder = Sequence({kFuse, Strip("a", 1, 1), Strip("b", 0, 1)});
  EXPECT_EQ(Decoded(decoder, letters), "aaba");
  EXPECT_EQ(Decoded(decoder, {"a", "a", "b"}), "a");
  EXPECT_EQ(Decoded(decoder, {"b", "b", "a", "b"}), "bba");
  const auto metaspace = [](const char* scheme) {
    return Sequence({kFuse,
                     {{"type", "Metaspace"},
                      {"replacement", "▁"},
                      {"prepend_scheme", scheme}}});
  };
  EXPECT_EQ(Decoded(metaspace("always"), marks), "ab");
  EXPECT_EQ(Decoded(metaspace("never"), marks), " a b ");
  const Json pattern = {
      {"type", "Replace"}, {"pattern", {{"Regex", "[ab]"}}}, {"content", "Z"}};
  EXPECT_EQ(Decoded(Sequence({pattern, kFuse}), lines), "Z\n Z'_Z");
  EXPECT_THAT(Decoded(Sequence({kFuse, pattern}), lines),
              HasSubstr("Regex after Fuse"));
  EXPECT_THAT(Decoded(Sequence({kFuse, kBytes}), lines),
              HasSubstr("ByteFallback after Fuse"));
}

TEST(Decoder, AStreamHoldsBackNoMoreThanThePattern) {
  const auto tokenizer = Make(Sequence({kFuse, Replace("\n a", "-")}));
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().message();
  const Tokenizer& t = **tokenizer;
  Tokenizer::Stream stream(t);
  const auto push = [&](const char* token) {
    return stream.Push(t.Find(token));
  };
  EXPECT_EQ(push("b"), "b");
  EXPECT_EQ(push("\n"), "");
  EXPECT_EQ(push("\n"), "\n");
  EXPECT_EQ(push(" "), "");
  EXPECT_EQ(push("b"), "\n b");
  EXPECT_EQ(push("\n"), "");
  EXPECT_EQ(push(" "), "");
  EXPECT_EQ(push("aa"), "-a");
  EXPECT_EQ(push("\n"), "");
  EXPECT_EQ(stream.Finish(), "\n");
  EXPECT_EQ(stream.Finish(), "");
}

}  // namespace
}  // namespace intarsia
