// `intarsia tokenize`: what a user sees is what `generate` runs.
#include "tests/program.h"

namespace intarsia {
namespace {

constexpr char kTiny[] = "tests/golden/tiny";

Json Tokens(const std::string& arguments) {
  const Outcome outcome =
      Invoke(std::string("tokenize --json ") + kTiny + " " + arguments);
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  return outcome.json();
}

TEST(TokenizeTest, AsGenerateCountsThem) {
  for (const std::string& prompt :
       {std::string("--prompt 'Once upon a time'"),
        std::string("--chat --system 'Be brief.' --prompt 'Hi there'")}) {
    const Json tokens = Tokens(prompt);
    const Outcome answer = Invoke("generate --json --max-tokens 1 " + prompt +
                                  " " + std::string(kTiny));
    ASSERT_EQ(answer.code, 0) << answer.err;
    EXPECT_EQ(tokens["count"], answer.json()["prompt_tokens"]) << prompt;
    EXPECT_EQ(tokens["tokens"].size(), tokens["count"]);
    EXPECT_EQ(tokens["pieces"].size(), tokens["count"]);
  }
  // The rendered chat holds what was said.
  const std::string text = Tokens("--chat -p 'Hi there'")["text"];
  EXPECT_NE(text.find("Hi there"), std::string::npos) << text;
  EXPECT_GT(text.size(), std::string("Hi there").size());
}

TEST(TokenizeTest, BackToTheText) {
  const std::string text = "A line,\n\tand \xc3\xa9 \"quotes\".";
  std::ofstream(testing::TempDir() + "tokenize_text") << text;
  const Json tokens = Tokens("--no-special --prompt-file " +
                             testing::TempDir() + "tokenize_text");
  EXPECT_EQ(tokens["text"], text);
  for (const char* apart : {",", " "}) {
    std::string ids;
    for (const Json& id : tokens["tokens"]) ids += id.dump() + apart;
    EXPECT_EQ(Tokens("--decode '" + ids + "'")["text"], text);
  }
  // As JSON writes a list.
  const std::string list = tokens["tokens"].dump();
  EXPECT_EQ(Tokens("--decode '" + list + "'")["text"], text);
  EXPECT_EQ(Tokens("--decode '" + list + "'")["tokens"], tokens["tokens"]);
}

TEST(TokenizeTest, PrintsAPieceALine) {
  const Outcome outcome =
      Invoke(std::string("tokenize ") + kTiny + " 'a\tb' --no-special");
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_NE(outcome.out.find('"'), std::string::npos);
  EXPECT_EQ(outcome.out.find('\t'), std::string::npos) << outcome.out;
  EXPECT_NE(outcome.err.find(" tokens"), std::string::npos);
}

TEST(TokenizeTest, FilesOfATokenizerAlone) {
  const Outcome outcome = Invoke(std::string("tokenize --json ") + kTiny +
                                 "/tokenizer.json -p 'Once'");
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(outcome.json()["tokens"], Tokens("-p Once")["tokens"]);
}

TEST(TokenizeTest, WhatIsRefused) {
  const std::string tiny = std::string("tokenize ") + kTiny + " ";
  EXPECT_EQ(Invoke(tiny).code, 2);
  EXPECT_EQ(Invoke(tiny + "-p a --decode 1").code, 2);
  EXPECT_EQ(Invoke(tiny + "-p a --system b").code, 2);
  for (const char* ids : {"x", "1,-2", "99999999999", "1000000"}) {
    const Outcome outcome = Invoke(tiny + "--decode '" + ids + "'");
    EXPECT_EQ(outcome.code, 1) << ids;
    EXPECT_NE(outcome.err.find("error: [tokenize] "), std::string::npos)
        << outcome.err;
  }
  const Outcome none = Invoke("tokenize tests/golden/llama -p a");
  EXPECT_EQ(none.code, 1);
  EXPECT_NE(none.err.find("has no tokenizer"), std::string::npos) << none.err;
}

}  // namespace
}  // namespace intarsia
