// A user's limits: what does not fit gets an answer as far as it goes or a
// plain error, never an internal one.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>

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

// Models without a limit of positions.
class LimitsTest : public testing::Test {
 protected:
  static std::string Model() { return "tests/golden/tiny"; }
  TempFolder folder_;
};

TEST_F(LimitsTest, SeedsAndNumbersAreDecimalAndInRange) {
  for (const std::string verb :
       {"list", "info tests/golden/tiny", "verify tests/golden/llama",
        "generate tests/golden/tiny -p a -n 1", "perplexity x --text y",
        "bench tests/golden/tiny -p 1 -n 1 -r 1", "chat tests/golden/tiny",
        "quantize x y.gguf --type Q8_0", "convert x y.gguf", "pull x",
        "cache list", "doctor"}) {
    for (const std::string seed :
         {"-1", "18446744073709551616", "99999999999999999999999", "x", "1.5",
          "0x10", "010", "1e3", "nan", "''", "' 5'", "+5", "-0"}) {
      const Outcome outcome = Invoke(verb + " --seed=" + seed);
      EXPECT_EQ(outcome.code, 2) << verb << " " << seed << outcome.err;
    }
  }
  for (const std::string flag : {"--temperature nan",
                                 "--temperature inf",
                                 "--temperature 1e400",
                                 "--temperature 0x1p3",
                                 "--temperature ''",
                                 "--top-k ''",
                                 "--top-k 1.0",
                                 "--top-k 010",
                                 "--top-k 2147483648",
                                 "--top-k -2",
                                 "-n 010",
                                 "-n ''",
                                 "-n 16777217",
                                 "--ctx -1",
                                 "--ctx 1e3",
                                 "--threads 4097",
                                 "--top-p nan",
                                 "--min-p -inf",
                                 "--dry-base inf",
                                 "--repeat-last x"}) {
    const Outcome outcome =
        Invoke("generate " + Model() + " --prompt a " + flag);
    EXPECT_EQ(outcome.code, 2) << flag << outcome.err;
  }
  const std::string most = " --seed 18446744073709551615";
  EXPECT_EQ(Invoke("generate " + Model() + " -p a -n 1" + most).code, 0);
  for (const char* tolerance : {"nan", "inf", "-1", "''"}) {
    EXPECT_EQ(
        Invoke(std::string("verify tests/golden/llama --tol ") + tolerance)
            .code,
        2);
  }
}

TEST_F(LimitsTest, EveryFlagAtItsExtremes) {
  for (const std::string flags :
       {"--ctx 1",
        "--ctx 1000000",
        "--threads 300",
        "--top-k 2147483647",
        "--top-k 1",
        "--top-p 1e-30",
        "--min-p 1",
        "--typical-p 1e-30",
        "--temperature 1e-38",
        "--temperature 3e38",
        "--repeat-penalty 1e-38",
        "--repeat-penalty 3e38",
        "--presence-penalty 3e38",
        "--frequency-penalty -3e38",
        "--repeat-last 2147483647",
        "--repeat-last 0",
        "--dry-multiplier 3e38 --dry-base 3e38",
        "--dry-multiplier 1 --dry-allowed-length 2147483647",
        "--stop ''",
        "--logit-bias 5=-inf",
        "--dry-breaker ''"}) {
    const Outcome outcome =
        Invoke("generate " + Model() + " --json -n 3 -p 'abcabc' " + flags);
    if (outcome.code == 0) {
      EXPECT_FALSE(outcome.json()["tokens"].empty()) << flags;
    } else {
      ExpectPlainError(outcome, "--ctx", flags);  // 6 tokens in a context of 1
    }
  }
}

TEST_F(LimitsTest, InputsWithoutAnEndMeetALimit) {
  WriteFile(folder_ / "load", "/load /dev/zero\n");
  SmallModel(SmallConfig("llama")).Write(folder_ / "m");
  for (const std::string& arguments :
       {"generate " + Model() + " -n 1 --prompt-file /dev/zero",
        "generate " + Model() + " -n 1 --prompt-file - < /dev/zero",
        "perplexity " + Model() + " --text /dev/zero",
        "chat " + (folder_ / "m") + " < " + (folder_ / "load"),
        "chat " + Model() + " < /dev/zero"}) {
    ExpectPlainError(Invoke(arguments), " MiB", arguments);
  }
  ExpectPlainError(Invoke("chat " + Model(), "yes '' |"), " MiB", "yes ''");
}

// Of the process: the most memory it had, in MiB.
int64_t PeakMebibytes(const std::string& arguments) {
  const Outcome outcome =
      Invoke(arguments,
             "/usr/bin/env python3 -c \"import resource, subprocess,"
             " sys; subprocess.run(sys.argv[1:], check=True, "
             "stdout=subprocess.DEVNULL); print(resource.getrusage("
             "resource.RUSAGE_CHILDREN).ru_maxrss)\"");
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  return std::atoll(outcome.out.c_str()) / 1024;
}

// 2^24 tokens of this model are 8 GiB of keys and values.
TEST_F(LimitsTest, ContextTakesMemoryAsTokensCome) {
  const std::string run = "generate " + Model() + " -p ab -n 4 --ctx ";
  const int64_t small = PeakMebibytes(run + "64");
  EXPECT_LT(PeakMebibytes(run + "1000000"), small + 32);
}

TEST_F(LimitsTest, ContextThatDoesNotFitIsRefusedWithFigures) {
  Json config = SmallConfig("llama", 16);
  config["num_hidden_layers"] = 32;
  config["head_dim"] = 1024;
  config["num_key_value_heads"] = 4;
  SmallModel(config).Write(folder_ / "wide");
  const std::string wide = folder_ / "wide";
  WriteFile(folder_ / "text", std::string(3000, 'a'));
  const std::pair<std::string, const char*> cases[] = {
      {"generate " + wide + " -p ab --ctx 16777216", "512.0 KiB"},
      {"generate " + wide + " -p ab -n 16777216", "512.0 KiB"},
      {"bench " + wide + " -p 0 -n 1 -d 1048576 -r 1 --npl 64",
       "524288 bytes a token"}};
  for (const auto& [arguments, token] : cases) {
    const Outcome outcome = Invoke(arguments);
    ExpectPlainError(outcome, token, arguments);
    EXPECT_NE(outcome.err.find("free are "), std::string::npos) << outcome.err;
    EXPECT_NE(outcome.err.find("--ctx"), std::string::npos) << outcome.err;
  }
}

// Text of files reaches the terminal without control characters, and cut.
TEST_F(LimitsTest, MessagesCarryNoControlCharacters) {
  const std::string evil = "a\x1b[31m\x07\xC2\x9B\nb";
  Json config = SmallConfig("llama");
  SmallModel model(config);
  for (int i = 0; i < 30; ++i) {
    config["zz_" + std::to_string(i) + evil] = 1;
  }
  model.config = config;
  model.Write(folder_ / "m");
  for (const std::string& arguments :
       {"info " + (folder_ / "m"), "info '" + (folder_ / evil) + "'",
        "generate " + (folder_ / "m") + " -n 2 -p a", "'" + evil + "'"}) {
    const Outcome outcome = Invoke(arguments);
    for (const std::string& text : {outcome.err, outcome.out}) {
      EXPECT_EQ(text.find('\x1b'), std::string::npos) << text;
      EXPECT_EQ(text.find('\x07'), std::string::npos) << text;
      EXPECT_EQ(text.find("\xC2\x9B"), std::string::npos) << text;
    }
  }
  const Outcome info = Invoke("info " + (folder_ / "m"));
  size_t lines = 0;
  for (size_t at = 0; (at = info.err.find("zz_", at)) != std::string::npos;
       ++at) {
    ++lines;
  }
  EXPECT_EQ(lines, 10u) << info.err;
  EXPECT_NE(info.err.find("and 20 more"), std::string::npos) << info.err;
}

// Weights of NaN: what is not finite is named.
TEST_F(LimitsTest, NotANumberIsNamed) {
  SmallModel model(SmallConfig("llama"));
  for (NamedTensor& tensor : model.tensors) {
    if (tensor.name != "model.norm.weight") continue;
    tensor.tensor = Tensor::Full({64}, NAN);
  }
  const std::string path = folder_ / "m";
  model.Write(path);
  WriteFile(folder_ / "text", std::string(600, 'a'));
  const std::string line = folder_ / "line";
  WriteFile(line, "abc\n");
  const Tensor golden = Tensor::Full({1, 4, 50}, 1.0f);
  ASSERT_TRUE(
      WriteSafetensors(path + "/golden.safetensors",
                       std::vector<NamedTensor>{
                           {"input_ids", Tensor::Zeros({1, 4}, DType::kI32)},
                           {"logits", golden}})
          .ok());
  for (const std::string& arguments :
       {"generate " + path + " -n 1 -p a --json",
        "perplexity " + path + " --json --ctx 64 --text " + (folder_ / "text"),
        "verify " + path + " --json", "chat " + path + " < " + line}) {
    const Outcome outcome = Invoke(arguments);
    ExpectPlainError(outcome, "not finite", arguments);
    EXPECT_EQ(outcome.out.find("null"), std::string::npos) << outcome.out;
  }
  EXPECT_EQ(Invoke("verify " + path + " --json").json()["max_abs_error"],
            "nan");
}

// Recordings of other shapes and types than a model's.
TEST_F(LimitsTest, RecordingsThatDoNotFitAreRefused) {
  SmallModel(SmallConfig("llama")).Write(folder_ / "m");
  const std::string reference = folder_ / "g.safetensors";
  using Tensors = std::vector<NamedTensor>;
  const auto ids = [](int64_t n, int64_t t, DType dtype = DType::kI32) {
    return NamedTensor{"input_ids", Tensor::Zeros({n, t}, dtype)};
  };
  const auto logits = [](Shape shape, DType dtype = DType::kF32) {
    return NamedTensor{"logits", Tensor::Zeros(shape, dtype)};
  };
  const Tensors sound = {ids(1, 6), logits({1, 6, 50})};
  const auto with = [&](const char* name, Tensor tensor) {
    Tensors all = sound;
    all.push_back({name, std::move(tensor)});
    return all;
  };
  const Tensor one = Tensor::Zeros({1, 6}, DType::kI32);
  Tensors greedy = with("greedy_tokens", Tensor::Zeros({1, 4}));
  greedy.push_back({"greedy_margins", Tensor::Zeros({2})});
  Tensors margins = with("greedy_tokens", one);
  margins.push_back({"greedy_margins", Tensor::Zeros({2}, DType::kI32)});
  Tensors prompt = with("greedy_tokens", one);
  prompt.push_back({"greedy_margins", Tensor::Zeros({6})});
  Tensors outside =
      with("greedy_tokens", Tensor::From(std::vector<int32_t>{1, 99}, {1, 2}));
  outside.push_back({"greedy_margins", Tensor::Zeros({1})});
  for (const Tensors& tensors :
       {Tensors{ids(1, 6)}, Tensors{ids(1, 6, DType::kF32), sound[1]},
        Tensors{sound[0], logits({1, 6, 50}, DType::kBF16)},
        Tensors{sound[0], logits({1, 6, 49})},
        Tensors{sound[0], logits({6, 50})},
        Tensors{ids(1, 0), logits({1, 0, 50})},
        Tensors{ids(0, 6), logits({0, 6, 50})},
        Tensors{{"input_ids", Tensor::From(std::vector<int32_t>{50}, {1, 1})},
                logits({1, 1, 50})},
        Tensors{sound[0], {"logits", Tensor::Full({1, 6, 50}, NAN)}},
        with("hidden_states", Tensor::Zeros({3, 7, 64})),
        with("hidden_states", Tensor::Zeros({3, 6, 65})),
        with("hidden_states", Tensor::Zeros({3, 6, 64}, DType::kBF16)),
        with("greedy_tokens", one), greedy, margins, prompt, outside}) {
    ASSERT_TRUE(WriteSafetensors(reference, tensors).ok());
    ExpectPlainError(
        Invoke("verify " + (folder_ / "m") + " --reference " + reference),
        "g.safetensors", tensors.back().name);
  }
  // Short sequences, alike forwards and backwards.
  for (const int64_t length : {1, 2, 3, 5}) {
    const Tensors tensors = {ids(2, length), logits({2, length, 50})};
    ASSERT_TRUE(WriteSafetensors(reference, tensors).ok());
    ASSERT_TRUE(WriteSafetensors(folder_ / "m/grads.safetensors",
                                 Tensors{{"__loss__", Tensor::Zeros({1})}})
                    .ok());
    for (const char* flags : {"--batch-split", "--form recurrent", "--chunk 1",
                              "--form chunked", "--gradients"}) {
      ExpectPlainError(Invoke("verify " + (folder_ / "m") + " --reference " +
                              reference + " " + flags),
                       "[verify]", flags + std::to_string(length));
    }
  }
}

}  // namespace
}  // namespace intarsia
