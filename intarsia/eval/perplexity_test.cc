#include "intarsia/eval/perplexity.h"

#include <gtest/gtest.h>

#include <cmath>
#include <optional>
#include <utility>

#include "intarsia/engine/model_runner.h"
#include "intarsia/eval/recorded_logits.h"
#include "intarsia/families/open.h"

namespace intarsia {
namespace {

class PerplexityTest : public testing::Test {
 protected:
  void SetUp() override {
    opened_.emplace(OpenModel("tests/golden/tiny").value());
    std::string text;
    for (int i = 0; i < 40; ++i) text += "The weights of a model, again. ";
    tokens_ = opened_->tokenizer->Encode(text).value();
    options_.context = 48;
    options_.pieces = 3;
    options_.threads = 1;
    options_.token_dtype = DType::kF32;
  }

  Result<PerplexityReport> Measure() {
    return MeasurePerplexity(opened_->model(), tokens_, options_,
                             [](const PerplexityReport&, int64_t) {});
  }
  std::string Path(const char* name) { return testing::TempDir() + name; }

  std::optional<OpenedModel> opened_;
  std::vector<int32_t> tokens_;
  PerplexityOptions options_;
};

// Against the definition, from logits of each whole piece.
TEST_F(PerplexityTest, IsTheMeanOfTheSecondHalves) {
  const auto report = Measure();
  ASSERT_TRUE(report.ok()) << report.status().message();
  ModelRunner runner(opened_->model(),
                     {.threads = 1, .token_dtype = DType::kF32});
  const int64_t vocab = opened_->model().config().vocab_size;
  std::vector<double> nll;
  for (int64_t piece = 0; piece < 3; ++piece) {
    const auto tokens = std::span(tokens_).subspan(piece * 48, 48);
    const int slot = runner.Open();
    const Tensor logits = runner.Run({{slot, tokens}}, true).value();
    runner.Close(slot);
    for (int64_t row = 24; row < 47; ++row) {
      const float* x = logits.data<float>() + row * vocab;
      double total = 0;
      for (int64_t i = 0; i < vocab; ++i) total += std::exp(double{x[i]});
      nll.push_back(std::log(total) - x[tokens[row + 1]]);
    }
  }
  double mean = 0, squares = 0;
  for (const double x : nll) mean += x / nll.size();
  for (const double x : nll) squares += (x - mean) * (x - mean);
  EXPECT_EQ(report->pieces, 3);
  EXPECT_EQ(report->tokens, static_cast<int64_t>(nll.size()));
  EXPECT_NEAR(report->nll.mean, mean, 1e-5);
  EXPECT_NEAR(report->nll.error,
              std::sqrt(squares / (nll.size() - 1) / nll.size()), 1e-5);
  EXPECT_NEAR(report->perplexity, std::exp(mean), 1e-4 * std::exp(mean));
  EXPECT_FALSE(report->compared);
}

TEST_F(PerplexityTest, AModelIsLikeItsOwnRecording) {
  options_.record = Path("perplexity_own.safetensors");
  const auto plain = Measure();
  ASSERT_TRUE(plain.ok()) << plain.status().message();
  options_.reference = std::exchange(options_.record, "");
  options_.pieces = 2;  // a part of what was recorded
  const auto report = Measure();
  ASSERT_TRUE(report.ok()) << report.status().message();
  EXPECT_TRUE(report->compared);
  EXPECT_LT(report->kl.mean, 1e-6);
  EXPECT_NEAR(report->log_ratio.mean, 0.0, 1e-3);
  EXPECT_NEAR(report->reference_perplexity, report->perplexity,
              1e-3 * report->perplexity);
  EXPECT_GE(report->top1.mean, 0.9);  // ties of the rounding
  EXPECT_LT(report->rms_probability_error, 1e-3);
}

// KL, ratio and agreement against a recording whose distributions are known.
TEST_F(PerplexityTest, ComparesWithKnownDistributions) {
  options_.pieces = 1;
  const int64_t vocab = opened_->model().config().vocab_size;
  const std::string path = Path("perplexity_uniform.safetensors");
  LogitsRecorder recorder(
      path, {.context = 48, .pieces = 1, .rows = 23, .vocab = vocab});
  std::vector<int32_t> tokens(tokens_.begin(), tokens_.begin() + 48);
  ASSERT_TRUE(recorder.Begin(tokens).ok());
  // Two equally likely tokens, 60 nats above the others.
  std::vector<double> row(vocab, -60.0 - std::log(2.0));
  row[1] = row[2] = -std::log(2.0);
  for (int i = 0; i < 23; ++i) ASSERT_TRUE(recorder.Add(row).ok());
  ASSERT_TRUE(recorder.Commit().ok());
  options_.reference = path;
  const auto report = Measure();
  ASSERT_TRUE(report.ok()) << report.status().message();

  ModelRunner runner(opened_->model(),
                     {.threads = 1, .token_dtype = DType::kF32});
  const int slot = runner.Open();
  const Tensor logits = runner.Run({{slot, tokens}}, true).value();
  double kl = 0, same = 0;
  for (int64_t r = 24; r < 47; ++r) {
    const float* x = logits.data<float>() + r * vocab;
    double total = 0;
    for (int64_t i = 0; i < vocab; ++i) total += std::exp(double{x[i]});
    const double log_total = std::log(total);
    kl += -std::log(2.0) - 0.5 * (x[1] - log_total + x[2] - log_total);
    same += std::max_element(x, x + vocab) == x + 1;
  }
  EXPECT_NEAR(report->kl.mean, kl / 23, 1e-4);
  EXPECT_NEAR(report->top1.mean, same / 23, 1e-9);
  EXPECT_GE(report->kl_max, report->kl_p99);
  EXPECT_GE(report->kl_p99, report->kl_median);
}

TEST_F(PerplexityTest, RefusesWhatDoesNotFit) {
  const auto fails = [&](const std::string& says) {
    const auto report = Measure();
    ASSERT_FALSE(report.ok()) << says;
    EXPECT_NE(report.status().message().find(says), std::string::npos)
        << report.status().message();
  };
  options_.record = Path("perplexity_record.safetensors");
  ASSERT_TRUE(Measure().ok());
  options_.reference = std::exchange(options_.record, "");
  options_.pieces = 4;
  fails("--pieces");
  options_.pieces = 3;
  options_.context = 32;
  fails("--ctx 48");
  options_.context = 48;
  tokens_[5] ^= 1;
  fails("another text");
  tokens_[5] ^= 1;
  options_.reference = "tests/golden/tiny/model.safetensors";
  fails("--record");
  options_.reference = "/no/such/file";
  fails("/no/such/file");
  options_.reference = "";
  tokens_.resize(47);
  fails("--ctx");
}

}  // namespace
}  // namespace intarsia
