#include "intarsia/families/generation_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

namespace intarsia {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

ModelConfig Model() {
  ModelConfig config;
  config.vocab_size = 300;
  config.eos_ids = {2};
  return config;
}

TEST(GenerationConfig, EndsAreAddedToTheModels) {
  const struct {
    const char* text;
    std::vector<int> ids;
  } cases[] = {{"{}", {2}},
               {R"({"eos_token_id": null})", {2}},
               {R"({"eos_token_id": 261})", {2, 261}},
               {R"({"eos_token_id": [2, 261, 0]})", {2, 261, 0}},
               {R"({"eos_token_id": []})", {2}}};
  for (const auto& c : cases) {
    ModelConfig config = Model();
    std::vector<std::string> warnings;
    const Status status =
        AddGenerationEnds(c.text, "g.json", &config, &warnings);
    ASSERT_TRUE(status.ok()) << status.message();
    EXPECT_EQ(config.eos_ids, c.ids) << c.text;
    EXPECT_TRUE(warnings.empty());
  }
}

TEST(GenerationConfig, StopStringsAreTheModels) {
  const struct {
    const char* text;
    std::vector<std::string> stops;
  } cases[] = {{"{}", {}},
               {R"({"stop_strings": null})", {}},
               {R"({"stop_strings": []})", {}},
               {R"({"stop_strings": "User:"})", {"User:"}},
               {R"({"stop_strings": ["\n\n", "User:"]})", {"\n\n", "User:"}}};
  for (const auto& c : cases) {
    ModelConfig config = Model();
    std::vector<std::string> warnings;
    const Status status =
        AddGenerationEnds(c.text, "g.json", &config, &warnings);
    ASSERT_TRUE(status.ok()) << status.message();
    EXPECT_EQ(config.stop_texts, c.stops) << c.text;
    EXPECT_EQ(config.eos_ids, (std::vector<int>{2}));
    EXPECT_TRUE(warnings.empty());
  }
}

TEST(GenerationConfig, AGitLfsPointerIsNamed) {
  const std::string path = testing::TempDir() + "generation_config.json";
  std::ofstream(path) << "version https://git-lfs.github.com/spec/v1\n"
                         "oid sha256:"
                      << std::string(64, 'a') << "\nsize 161\n";
  ModelConfig config = Model();
  std::vector<std::string> warnings;
  const Status status = ReadGenerationConfig(path, &config, &warnings);
  EXPECT_THAT(status.message(), HasSubstr("[load] " + path + ": "));
  EXPECT_THAT(status.message(), HasSubstr("is a Git LFS pointer"));
}

TEST(GenerationConfig, IdsTheModelLacksAreWarnings) {
  ModelConfig config = Model();
  std::vector<std::string> warnings;
  EXPECT_TRUE(AddGenerationEnds(
                  R"({"eos_token_id": [300, -1, 5, 18446744073709551615]})",
                  "dir/g.json", &config, &warnings)
                  .ok());
  EXPECT_THAT(config.eos_ids, ElementsAre(2, 5));
  EXPECT_THAT(
      warnings,
      ElementsAre(HasSubstr("dir/g.json: eos_token_id 300 is outside the "
                            "vocabulary of 300"),
                  HasSubstr("eos_token_id -1"),
                  HasSubstr("18446744073709551615")));
}

TEST(GenerationConfig, FaultsNameTheFile) {
  const struct {
    const char *text, *why;
  } cases[] = {
      {"", "is not valid JSON"},
      {"[]", "is not an object"},
      {R"({"eos_token_id": "2"})", "must be a token id or a list of them, is "},
      {R"({"eos_token_id": true})", "is true"},
      {R"({"eos_token_id": [2.5]})", "is 2.5"},
      {R"({"eos_token_id": {"a": 1}})", "is {"},
      {R"({"stop_strings": 3})", "stop_strings: must be a text or a list"},
      {R"({"stop_strings": ["a", ""]})", "none empty, is \"\""},
      {R"({"stop_strings": [["a"]]})", "is [\"a\"]"}};
  for (const auto& c : cases) {
    ModelConfig config = Model();
    std::vector<std::string> warnings;
    const Status status =
        AddGenerationEnds(c.text, "dir/g.json", &config, &warnings);
    ASSERT_FALSE(status.ok()) << c.text;
    EXPECT_THAT(status.message(), HasSubstr("[load] dir/g.json: "));
    EXPECT_THAT(status.message(), HasSubstr(c.why));
  }
  ModelConfig config = Model();
  std::vector<std::string> warnings;
  EXPECT_TRUE(ReadGenerationConfig("", &config, &warnings).ok());
  EXPECT_THAT(
      ReadGenerationConfig("/none/g.json", &config, &warnings).message(),
      HasSubstr("/none/g.json: No such file or directory"));
}

}  // namespace
}  // namespace intarsia
