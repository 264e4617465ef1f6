// A user's limits: what does not fit gets an answer as far as it goes or a
// plain error, never an internal one.
#include <gtest/gtest.h>

#include "tests/program.h"
#include "tests/small_models.h"

namespace intarsia {
namespace {

void ExpectPlainError(const Outcome& outcome, const std::string& part,
                      const std::string& what) {
  EXPECT_EQ(outcome.code, 1) << what << outcome.err;
  EXPECT_EQ(outcome.err.find("internal error"), std::string::npos)
      << what << outcome.err;
  EXPECT_NE(outcome.err.find(part), std::string::npos) << what << outcome.err;
}

// A GPT-2 with 24 learned positions, as a folder and as GGUF.
class LearnedPositionsTest : public testing::Test {
 protected:
  void SetUp() override {
    Json config = SmallConfig("gpt2");
    config["n_positions"] = 24;
    SmallModel(config).Write(folder_ / "model");
    const Outcome made =
        Invoke("convert " + (folder_ / "model") + " " + (folder_ / "m.gguf"));
    ASSERT_EQ(made.code, 0) << made.err;
    models_ = {folder_ / "model", folder_ / "m.gguf"};
    text_ = folder_ / "text";
    std::string text;
    for (int i = 0; i < 20; ++i) text += "many letters, ";
    WriteFile(text_, text);
  }

  TempFolder folder_;
  std::vector<std::string> models_;
  std::string text_;
};

TEST_F(LearnedPositionsTest, AnAnswerEndsAtTheLastOne) {
  for (const std::string& model : models_) {
    for (const std::string ctx : {"", " --ctx 24", " --ctx 4000"}) {
      const Outcome outcome = Invoke(
          "generate " + model +
          " --prompt abcd --temperature 0 --ignore-eos --json -n 90" + ctx);
      ASSERT_EQ(outcome.code, 0) << outcome.err;
      // The last token is sampled and not read.
      EXPECT_EQ(outcome.json()["tokens"].size(), 21u) << ctx;
      EXPECT_EQ(outcome.json()["finish"], "length");
      EXPECT_NE(outcome.err.find("learned positions"), std::string::npos)
          << outcome.err;
    }
  }
}

TEST_F(LearnedPositionsTest, WhatDoesNotFitIsRefused) {
  for (const std::string& model : models_) {
    for (const std::string& arguments :
         {"generate " + model + " -n 3 --prompt-file " + text_,
          "perplexity " + model + " --ctx 32 --text " + text_,
          "perplexity " + model + " --text " + text_,
          "bench " + model + " -p 25 -n 0 -r 1",
          "bench " + model + " -p 0 -n 25 -r 1",
          "bench " + model + " -p 1 -n 1 -d 24 -r 1",
          "chat " + model + " -n 3 < " + text_}) {
      ExpectPlainError(Invoke(arguments), "learned positions", arguments);
    }
    const Outcome fits =
        Invoke("perplexity " + model + " --json --ctx 24 " + "--text " + text_);
    EXPECT_EQ(fits.code, 0) << fits.err;
    const Outcome bench =
        Invoke("bench " + model + " -p 24 -n 4 -d 0 -r 1 --npl 1 --json");
    EXPECT_EQ(bench.code, 0) << bench.err;
  }
}

TEST_F(LearnedPositionsTest, VerifyRefusesLongerRecordings) {
  const Status written =
      WriteSafetensors(folder_ / "long.safetensors",
                       std::vector<NamedTensor>{
                           {"input_ids", Tensor::Zeros({1, 25}, DType::kI32)},
                           {"logits", Tensor::Zeros({1, 25, 50})}});
  ASSERT_TRUE(written.ok()) << written.message();
  for (const std::string& model : models_) {
    ExpectPlainError(Invoke("verify " + model + " --reference " +
                            (folder_ / "long.safetensors")),
                     "learned positions for 24", model);
  }
}

}  // namespace
}  // namespace intarsia
