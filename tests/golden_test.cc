// Golden models: what independent implementations recorded, recomputed in every
// form. tests/golden/README.md says where the data comes from.
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "intarsia/eval/verify.h"
#include "intarsia/families/open.h"

namespace intarsia {
namespace {

constexpr const char* kFolder = "tests/golden/";

struct Mode {
  const char* name;
  Form form = Form::kAuto;
  std::vector<int> chunks = {};
  bool batch_split = false;
};

const std::vector<Mode>& Modes() {
  static const std::vector<Mode> modes = {
      {.name = "whole"},
      {.name = "parallel", .form = Form::kParallel},
      {.name = "recurrent", .form = Form::kRecurrent},
      {.name = "chunked", .form = Form::kChunked, .chunks = {1, 7, 64}},
      {.name = "pieces", .chunks = {1, 7, 64}},
      {.name = "batch_split", .batch_split = true},
      {.name = "chunked_batch_split",
       .form = Form::kChunked,
       .chunks = {1, 7, 64},
       .batch_split = true},
      {.name = "recurrent_batch_split",
       .form = Form::kRecurrent,
       .batch_split = true},
  };
  return modes;
}

OpenedModel Open(const std::string& name, const LoadOptions& options = {}) {
  auto opened = OpenModel(kFolder + name, options);
  CHECK(opened.ok()) << opened.status().message();
  return std::move(opened).value();
}

VerifyOptions Recorded(const std::string& name) {
  VerifyOptions options;
  options.golden = kFolder + name + "/golden.safetensors";
  options.threads = 2;
  return options;
}

using Case = std::tuple<const char*, Mode>;

class GoldenTest : public testing::TestWithParam<Case> {};

TEST_P(GoldenTest, LogitsAndGreedyTokens) {
  const auto& [name, mode] = GetParam();
  OpenedModel opened = Open(name);
  EXPECT_TRUE(opened.loaded.warnings.empty()) << opened.loaded.warnings.front();
  VerifyOptions options = Recorded(name);
  options.form = mode.form;
  options.chunks = mode.chunks;
  options.batch_split = mode.batch_split;
  const auto report = Verify(opened.loaded, options);
  ASSERT_TRUE(report.ok()) << report.status().message();
  EXPECT_GT(report->logit_std, 0.0);
  EXPECT_EQ(report->runs.size(), 1 + std::max<size_t>(1, mode.chunks.size()));
  for (const VerifyReport::Run& run : report->runs) {
    EXPECT_LE(run.max_abs_error, 1e-3 * report->logit_std) << run.name;
  }
  EXPECT_GT(report->greedy_steps, 0);
  EXPECT_TRUE(report->greedy_match);
  // Hidden states are as large as a few tens; logits decide, these locate.
  EXPECT_LE(report->max_hidden_error, 1e-2);
  EXPECT_TRUE(report->passed);
}

INSTANTIATE_TEST_SUITE_P(
    Families, GoldenTest,
    testing::Combine(testing::Values("llama", "llama3_rope", "mistral_swa",
                                     "qwen2", "qwen3", "gpt2", "mixtral",
                                     "mamba2", "retnet", "olmo2", "gemma2",
                                     "phi", "falcon7b", "falcon_h1",
                                     "falcon_h1_multipliers", "granite4_hybrid",
                                     "zamba2", "bloom", "diffllama", "apertus",
                                     "cohere2", "doge"),
                     testing::ValuesIn(Modes())),
    [](const testing::TestParamInfo<Case>& info) {
      return std::string(std::get<0>(info.param)) + "_" +
             std::get<1>(info.param).name;
    });

class GoldenGradientTest : public testing::TestWithParam<const char*> {};

TEST_P(GoldenGradientTest, LossAndEveryGradient) {
  const std::string name = GetParam();
  OpenedModel opened = Open(name, {.matrices = &PlainFormat(DType::kF32)});
  VerifyOptions options = Recorded(name);
  options.gradients = kFolder + name + "/grads.safetensors";
  const auto report = Verify(opened.loaded, options);
  ASSERT_TRUE(report.ok()) << report.status().message();
  ASSERT_TRUE(report->has_gradients);
  EXPECT_LE(report->loss_error, 1e-4);
  EXPECT_LE(report->max_rel_grad_error, 1e-3) << report->worst_gradient;
  EXPECT_TRUE(report->passed);
}

INSTANTIATE_TEST_SUITE_P(Families, GoldenGradientTest,
                         testing::Values("llama", "gpt2", "mixtral", "mamba2",
                                         "retnet", "olmo2", "gemma2",
                                         "falcon_h1", "falcon_h1_multipliers",
                                         "granite4_hybrid", "zamba2"),
                         [](const testing::TestParamInfo<const char*>& info) {
                           return std::string(info.param);
                         });

// The comparison sees a model that is slightly wrong.
TEST(GoldenNegativeTest, AChangedWeightDoesNotPass) {
  for (const char* path : {"blocks.1.0.q_proj", "blocks.0.1.down"}) {
    OpenedModel opened = Open("llama", {.matrices = &PlainFormat(DType::kF32)});
    Weight* weight = opened.model().Find(path);
    ASSERT_NE(weight, nullptr) << path;
    Tensor values = weight->values().Clone();
    float* w = values.mutable_data<float>();
    for (int64_t i = 0; i < values.numel(); ++i) w[i] *= 1.05f;
    ASSERT_TRUE(
        opened.model().SetWeight(path, PlainFormat(DType::kF32), values).ok());
    const auto report = Verify(opened.loaded, Recorded("llama"));
    ASSERT_TRUE(report.ok()) << report.status().message();
    EXPECT_FALSE(report->passed) << path;
    EXPECT_GT(report->max_abs_error, 1e-3 * report->logit_std) << path;
  }
}

TEST(GoldenNegativeTest, ARecordOfAnotherModelIsAnError) {
  OpenedModel opened = Open("llama");
  EXPECT_FALSE(Verify(opened.loaded, Recorded("missing")).ok());
  VerifyOptions swapped = Recorded("retnet");
  swapped.gradients = std::string(kFolder) + "llama/grads.safetensors";
  OpenedModel retnet = Open("retnet", {.matrices = &PlainFormat(DType::kF32)});
  EXPECT_FALSE(Verify(retnet.loaded, swapped).ok());
}

}  // namespace
}  // namespace intarsia
