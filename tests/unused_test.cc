// Nothing that changes the result is passed over in silence: what of a model is
// not used is an error in every verb and in the C library, which --allow-unused
// makes a warning; other parts are warnings, shown once.
#include <gtest/gtest.h>

#include "intarsia/intarsia.h"
#include "tests/program.h"
#include "tests/small_models.h"

namespace intarsia {
namespace {

size_t Occurrences(const std::string& text, const std::string& part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != std::string::npos;
       at = text.find(part, at + 1)) {
    ++count;
  }
  return count;
}

class UnusedTest : public testing::Test {
 protected:
  UnusedTest() : model_(SmallConfig("llama")) {}

  void AddTensor(const std::string& name) {
    model_.tensors.push_back(
        {.name = name, .tensor = Tensor::Zeros({4}, DType::kF32)});
  }

  // The verbs that open a model, each without what follows the model.
  std::vector<std::string> Write() {
    model_.Write(folder_ / "m");
    std::string text;
    for (int i = 0; i < 30; ++i) text += "some words. ";
    WriteFile(folder_ / "text", text);
    const std::string m = " " + (folder_ / "m");
    return {
        "generate" + m + " --prompt abc -n 2 --json",
        "chat" + m + " < /dev/null",
        "perplexity" + m + " --text " + (folder_ / "text") + " --ctx 32 --json",
        "bench" + m + " -p 4 -n 2 -r 1 --json",
        "quantize" + m + " " + (folder_ / "q.gguf") + " --type q8_0",
        "convert" + m + " " + (folder_ / "c.gguf"),
        "convert" + m + " " + (folder_ / "hf") + " --to hf",
        "convert" + m + " " + (folder_ / "native") + " --to native"};
  }

  void ExpectRefusal(const std::string& part) {
    for (const std::string& verb : Write()) {
      const Outcome refused = Invoke(verb);
      EXPECT_EQ(refused.code, 1) << verb;
      EXPECT_NE(refused.err.find(part), std::string::npos)
          << verb << refused.err;
      EXPECT_NE(refused.err.find("--allow-unused"), std::string::npos)
          << verb << refused.err;
    }
    const Outcome verified = Invoke("verify " + (folder_ / "m"));
    EXPECT_NE(verified.err.find(part), std::string::npos) << verified.err;
    for (std::string verb : Write()) {
      verb.insert(verb.find(' '), " --allow-unused");
      const Outcome allowed = Invoke(verb);
      EXPECT_EQ(allowed.code, 0) << verb << allowed.err;
      // convert and quantize also say what is lost by that.
      EXPECT_EQ(Occurrences(allowed.err, "not used: " + part), 1u)
          << verb << allowed.err;
      EXPECT_NE(allowed.err.find("warning: "), std::string::npos) << verb;
    }
  }

  void ExpectWarning(const std::string& part) {
    for (const std::string& verb : Write()) {
      const Outcome outcome = Invoke(verb);
      EXPECT_EQ(outcome.code, 0) << verb << outcome.err;
      EXPECT_EQ(Occurrences(outcome.err, part), 1u) << verb << outcome.err;
    }
  }

  TempFolder folder_;
  SmallModel model_;
};

TEST_F(UnusedTest, ATensorOfABlockIsAnError) {
  const std::string name = "model.layers.1.self_attn.sinks";
  AddTensor(name);
  ExpectRefusal(name);
  const Outcome info = Invoke("info --json " + (folder_ / "m"));
  EXPECT_EQ(info.code, 0) << info.err;
  EXPECT_EQ(info.json()["unused_tensors"], Json({name}));
}

TEST_F(UnusedTest, AFieldThatTheLibraryReadsIsAnError) {
  model_.config["per_layer_config"] = {{"1", {{"num_attention_heads", 2}}}};
  ExpectRefusal("per_layer_config");
  const Outcome info = Invoke("info --json " + (folder_ / "m"));
  EXPECT_EQ(info.code, 0) << info.err;
  EXPECT_EQ(info.json()["unused_fields"], Json({"per_layer_config"}));
}

TEST_F(UnusedTest, OtherFieldsAreOneWarning) {
  for (int i = 0; i < 12; ++i) {
    model_.config["field_" + std::to_string(10 + i)] = i + 1;
  }
  model_.config["per_layer_config"] = nullptr;
  model_.config["is_encoder_decoder"] = false;
  model_.config["another"] = nullptr;
  ExpectWarning(
      "12 fields of the configuration are not known and not used: field_10, ");
  const Outcome info = Invoke("info " + (folder_ / "m"));
  EXPECT_NE(info.err.find("field_19 and 2 more"), std::string::npos)
      << info.err;
  EXPECT_EQ(info.err.find("another"), std::string::npos) << info.err;
}

// Many files say that it is false; no class reads it.
TEST_F(UnusedTest, InterleavedRotationIsNotKnown) {
  model_.config["rope_interleaved"] = false;
  Write();
  const Outcome info = Invoke("info " + (folder_ / "m"));
  EXPECT_EQ(info.err.find("rope_interleaved"), std::string::npos) << info.err;
  model_.config["rope_interleaved"] = true;
  ExpectWarning(
      "1 field of the configuration is not known and not used: "
      "rope_interleaved");
}

// As Python reads it.
TEST_F(UnusedTest, OfAKeyGivenTwiceTheLastCounts) {
  model_.config["vocab_size"] = 50;
  Write();
  std::string text = ReadAll(folder_ / "m/config.json");
  text.insert(1, R"("vocab_size": 7, "hidden_act": "relu",)");
  text.insert(text.size() - 1, R"(, "hidden_act": "silu")");
  WriteFile(folder_ / "m/config.json", text);
  const Outcome info = Invoke("info " + (folder_ / "m"));
  EXPECT_EQ(info.code, 0) << info.err;
  EXPECT_NE(info.err.find("config.json gives more than once, and the last "
                          "counts: hidden_act, vocab_size"),
            std::string::npos)
      << info.err;
  const Outcome outcome =
      Invoke("generate " + (folder_ / "m") + " --prompt abc -n 1");
  EXPECT_EQ(outcome.code, 0) << outcome.err;
}

TEST_F(UnusedTest, TowersAreNamedAndSkipped) {
  AddTensor("model.visual.blocks.0.attn.qkv.weight");
  AddTensor("model.visual.merger.mlp.0.weight");
  ExpectWarning("model.visual.*: 2 tensors of a vision tower are skipped");
}

TEST_F(UnusedTest, TheCLibraryRefusesAndHasTheWarnings) {
  AddTensor("model.layers.0.mlp.extra.weight");
  AddTensor("audio_tower.conv1.weight");
  Write();
  intarsia_load_options options;
  intarsia_load_options_init(&options, sizeof(options));
  intarsia_model* model = nullptr;
  EXPECT_EQ(intarsia_model_load((folder_ / "m").c_str(), &options, &model),
            INTARSIA_UNSUPPORTED);
  EXPECT_EQ(model, nullptr);
  EXPECT_NE(std::string(intarsia_last_error()).find("mlp.extra.weight"),
            std::string::npos);
  options.allow_unused = 1;
  ASSERT_EQ(intarsia_model_load((folder_ / "m").c_str(), &options, &model),
            INTARSIA_OK)
      << intarsia_last_error();
  const std::string warnings = intarsia_model_warnings(model);
  EXPECT_NE(warnings.find("mlp.extra.weight"), std::string::npos) << warnings;
  EXPECT_NE(warnings.find("\n"), std::string::npos) << warnings;
  EXPECT_NE(warnings.find("audio_tower.*: 1 tensor of an audio tower"),
            std::string::npos)
      << warnings;
  intarsia_model_free(model);
}

}  // namespace
}  // namespace intarsia
