// What does not fit gives the C library's caller a code and a message; the
// process goes on.
#include <gtest/gtest.h>

#include <cmath>

#include "include/intarsia/intarsia.h"
#include "tests/small_models.h"

namespace intarsia {
namespace {

class CApiLimitsTest : public testing::Test {
 protected:
  void Load(const nlohmann::json& config) {
    SmallModel(config).Write(folder_ / "m");
    ASSERT_EQ(intarsia_model_load((folder_ / "m").c_str(), nullptr, &model_),
              INTARSIA_OK)
        << intarsia_last_error();
  }
  intarsia_status Open(int32_t context) {
    intarsia_session_free(session_);
    session_ = nullptr;
    intarsia_session_options options;
    intarsia_session_options_init(&options, sizeof(options));
    options.threads = 1;
    options.context = context;
    return intarsia_session_create(model_, &options, &session_);
  }
  intarsia_status Generate(const std::vector<int32_t>& prompt, int most,
                           float temperature = 0) {
    intarsia_generate_options options;
    intarsia_generate_options_init(&options, sizeof(options));
    options.max_tokens = most;
    options.temperature = temperature;
    options.ignore_eos = 1;
    return intarsia_generate(session_, prompt.data(), prompt.size(), &options,
                             nullptr, nullptr, &result_, sizeof(result_));
  }
  static bool Says(const std::string& part) {
    return std::string(intarsia_last_error()).find(part) != std::string::npos;
  }
  ~CApiLimitsTest() override {
    intarsia_session_free(session_);
    intarsia_model_free(model_);
  }

  TempFolder folder_;
  intarsia_model* model_ = nullptr;
  intarsia_session* session_ = nullptr;
  intarsia_generate_result result_ = {};
};

TEST_F(CApiLimitsTest, LearnedPositionsEnd) {
  nlohmann::json config = SmallConfig("gpt2");
  config["n_positions"] = 24;
  Load(config);
  for (const int32_t context : {0, 24, 4000}) {
    ASSERT_EQ(Open(context), INTARSIA_OK) << intarsia_last_error();
    EXPECT_EQ(Generate(std::vector<int32_t>(25, 5), 1),
              INTARSIA_INVALID_ARGUMENT);
    EXPECT_TRUE(Says("learned positions for 24")) << intarsia_last_error();
    ASSERT_EQ(Generate({3, 4, 5, 6}, 90), INTARSIA_OK);
    EXPECT_EQ(result_.finish, INTARSIA_FINISH_LENGTH);
    EXPECT_EQ(result_.generated_tokens, 21);
  }
}

TEST_F(CApiLimitsTest, OptionsAndTokensOutOfRange) {
  Load(SmallConfig("llama"));
  EXPECT_EQ(Open(-1), INTARSIA_INVALID_ARGUMENT);
  EXPECT_EQ(Open((1 << 24) + 1), INTARSIA_INVALID_ARGUMENT);
  ASSERT_EQ(Open(8), INTARSIA_OK);
  EXPECT_EQ(Generate({3, 50}, 1), INTARSIA_INVALID_ARGUMENT);
  EXPECT_TRUE(Says("vocabulary of 50")) << intarsia_last_error();
  EXPECT_EQ(Generate({-1}, 1), INTARSIA_INVALID_ARGUMENT);
  EXPECT_EQ(Generate({}, 1), INTARSIA_INVALID_ARGUMENT);
  EXPECT_EQ(Generate({3}, 0), INTARSIA_INVALID_ARGUMENT);
  EXPECT_EQ(Generate({3}, 1, NAN), INTARSIA_INVALID_ARGUMENT);
  EXPECT_EQ(Generate({3}, 1, INFINITY), INTARSIA_INVALID_ARGUMENT);
  EXPECT_EQ(Generate({3}, 1), INTARSIA_OK) << intarsia_last_error();
}

TEST_F(CApiLimitsTest, ContextThatDoesNotFitIsUnavailable) {
  nlohmann::json config = SmallConfig("llama", 16);
  config["num_hidden_layers"] = 32;
  config["head_dim"] = 1024;
  config["num_key_value_heads"] = 4;
  Load(config);
  EXPECT_EQ(Open(1 << 24), INTARSIA_UNAVAILABLE);
  EXPECT_TRUE(Says("524288 bytes a token")) << intarsia_last_error();
  EXPECT_TRUE(Says("free are ")) << intarsia_last_error();
}

TEST_F(CApiLimitsTest, MessagesCarryNoControlCharacters) {
  const std::string evil = folder_ / "a\x1b[31m\n";
  EXPECT_NE(intarsia_model_load(evil.c_str(), nullptr, &model_), INTARSIA_OK);
  EXPECT_FALSE(Says("\x1b"));
  EXPECT_FALSE(Says("\n"));
  EXPECT_TRUE(Says("\\x1b[31m")) << intarsia_last_error();
}

}  // namespace
}  // namespace intarsia
