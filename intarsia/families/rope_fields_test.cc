#include "intarsia/families/rope_fields.h"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "intarsia/checkpoint/test_files.h"
#include "intarsia/checkpoint/write.h"
#include "intarsia/families/test_models.h"
#include "intarsia/families/translate.h"
#include "intarsia/ops/rope/rope.h"

namespace intarsia {
namespace {

using Json = nlohmann::json;

struct Outcome {
  Json rope;
  std::string error;
  std::vector<std::string> warnings;
};

Outcome Read(const std::string& config, const std::string& layer_type = "",
             bool partial = false) {
  const Json json = Json::parse(config);
  JsonReader reader(json, "llama");
  Outcome out;
  out.rope = RopeFromConfig(&reader,
                            {.family = "llama",
                             .head_dim = 16,
                             .max_positions = 256,
                             .partial = partial},
                            layer_type, &out.warnings);
  if (!reader.status().ok()) out.error = reader.status().message();
  return out;
}

// What the settings compute is compared in tests/rope_models_test.cc; here are
// the words for those that are at fault or change nothing.
TEST(RopeFromConfigTest, NamesWhatItDoesNotUse) {
  EXPECT_EQ(
      Read(R"({"rope_scaling": {"type": "linear", "factor": 2,
                      "finetuned": true, "attn_factor": 1}})")
          .warnings,
      (std::vector<std::string>{"\"rope_scaling.attn_factor\" is not used",
                                "\"rope_scaling.finetuned\" is not used"}));
  const Outcome both = Read(R"({"rope_scaling": {"type": "linear",
      "factor": 2}, "rope_parameters": {"rope_theta": 5}})");
  ASSERT_EQ(both.warnings.size(), 1u);
  EXPECT_NE(both.warnings[0].find("rope_parameters"), std::string::npos);
  const Outcome partial = Read(R"({"partial_rotary_factor": 0.5})");
  ASSERT_EQ(partial.warnings.size(), 1u);
  EXPECT_FALSE(partial.rope.contains("dim"));
  EXPECT_TRUE(Read(R"({"rope_scaling": {"type": "yarn", "factor": null,
                       "beta_fast": null, "mscale": 1}})")
                  .warnings.empty());
}

TEST(RopeFromConfigTest, PartialRotationCountsWithAScaling) {
  EXPECT_EQ(Read(R"({"partial_rotary_factor": 0.5,
                     "rope_scaling": {"type": "linear", "factor": 2}})")
                .rope["dim"],
            8);
  EXPECT_EQ(Read(R"({"partial_rotary_factor": 0.5})", "", true).rope["dim"], 8);
}

TEST(RopeFromConfigTest, ByLayerType) {
  const char* nested = R"({"rope_parameters": {
      "full_attention": {"rope_type": "linear", "factor": 2,
                         "rope_theta": 5000},
      "sliding_attention": {"rope_type": "default"},
      "other_attention": null}, "rope_theta": 77})";
  const Outcome full = Read(nested, "full_attention");
  EXPECT_EQ(full.error, "");
  EXPECT_EQ(full.rope["theta"], 5000.0);
  EXPECT_EQ(full.rope["scaling"]["factor"], 2.0);
  const Outcome sliding = Read(nested, "sliding_attention");
  EXPECT_EQ(sliding.rope["theta"], 77.0);
  EXPECT_FALSE(sliding.rope.contains("scaling"));
  EXPECT_EQ(Read(nested, "other_attention").rope, Json(false));
  EXPECT_NE(Read(nested, "linear_attention").error.find("linear_attention"),
            std::string::npos);
  EXPECT_NE(Read(nested).error.find("layer_types"), std::string::npos);
}

TEST(RopeFromConfigTest, FaultsNameTheField) {
  const auto fault = [](const std::string& scaling, const std::string& part) {
    const std::string error =
        Read(R"({"rope_scaling": )" + scaling + "}").error;
    EXPECT_EQ(error.find("[llama] "), 0u) << scaling << ": " << error;
    EXPECT_NE(error.find(part), std::string::npos) << scaling << ": " << error;
  };
  fault(R"({"type": "ntk", "factor": 2})", "\"ntk\" is not supported");
  fault(R"({"type": 3})", "\"rope_scaling.type\"");
  fault(R"({"type": "linear"})", "\"rope_scaling.factor\"");
  fault(R"({"type": "linear", "factor": null})", "\"rope_scaling.factor\"");
  fault(R"({"type": "linear", "factor": "2"})", "\"rope_scaling.factor\"");
  fault(R"({"type": "linear", "factor": 0})", "\"rope_scaling.factor\"");
  fault(R"({"type": "llama3", "factor": 8, "high_freq_factor": 4})",
        "\"rope_scaling.low_freq_factor\"");
  fault(R"({"type": "yarn", "factor": 2,
            "original_max_position_embeddings": 1.5})",
        "\"rope_scaling.original_max_position_embeddings\"");
  fault(R"({"type": "yarn", "factor": 2, "attention_factor": -1})",
        "\"rope_scaling.attention_factor\"");
  fault(R"({"type": "longrope", "short_factor": [1]})",
        "\"rope_scaling.short_factor\" must be a list of 8 positive numbers");
  fault(R"({"type": "longrope", "short_factor": [1, 1, 1, 1, 1, 1, 1, 1]})",
        "\"rope_scaling.long_factor\"");
  fault(R"({"type": "linear", "factor": 2, "partial_rotary_factor": 0.2})",
        "\"rope_scaling.partial_rotary_factor\"");
  fault(R"({"rope_theta": 0})", "\"rope_scaling.rope_theta\"");
  EXPECT_NE(Read(R"({"rope_theta": "1e4"})").error.find("\"rope_theta\""),
            std::string::npos);
  EXPECT_NE(Read(R"({"rope_scaling": "linear"})").error, "");
}

Outcome FromGguf(const std::string& metadata) {
  const Json json = Json::parse(metadata);
  JsonReader reader(json, "llama", {.key_prefix = "llama."});
  Outcome out;
  out.rope = RopeFromGguf(&reader, 16, true, 256, &out.warnings);
  if (!reader.status().ok()) out.error = reader.status().message();
  for (const std::string& name : reader.Unread()) out.warnings.push_back(name);
  return out;
}

TEST(RopeFromGgufTest, KeysAsLlamaCppReadsThem) {
  EXPECT_EQ(FromGguf(R"({"llama.rope.freq_base": 500000.0})").rope,
            Json({{"theta", 500000.0}, {"interleaved", true}}));
  // Linear is what a factor without a type means; "none" scales nothing.
  for (const char* linear :
       {R"({"llama.rope.scaling.factor": 4.0})",
        R"({"llama.rope.scale_linear": 4.0})",
        R"({"llama.rope.scaling.type": "linear", "llama.rope.scaling.factor":
            4.0, "llama.rope.scale_linear": 8.0})"}) {
    EXPECT_EQ(FromGguf(linear).rope["scaling"],
              Json({{"type", "linear"}, {"factor", 4.0}}))
        << linear;
  }
  EXPECT_FALSE(FromGguf(R"({"llama.rope.scaling.type": "none",
                            "llama.rope.scaling.factor": 4.0})")
                   .rope.contains("scaling"));
  const Outcome yarn = FromGguf(
      R"({"llama.rope.scaling.type": "yarn", "llama.rope.scaling.factor": 4.0,
          "llama.rope.scaling.original_context_length": 64,
          "llama.rope.scaling.yarn_beta_fast": 16.0,
          "llama.rope.scaling.finetuned": true})");
  EXPECT_TRUE(yarn.warnings.empty());
  EXPECT_EQ(yarn.rope["scaling"], Json({{"type", "yarn"},
                                        {"factor", 4.0},
                                        {"original_max_positions", 64},
                                        {"beta_fast", 16.0},
                                        {"beta_slow", 1.0}}));
  const Outcome twice = FromGguf(
      R"({"llama.rope.scaling.type": "yarn", "llama.rope.scaling.factor": 4.0,
          "llama.rope.scaling.original_context_length": 64,
          "llama.rope.scaling.yarn_attn_factor": 0.87})");
  EXPECT_FALSE(twice.rope["scaling"].contains("attention_factor"));
  ASSERT_EQ(twice.warnings.size(), 1u);
  EXPECT_NE(twice.warnings[0].find("yarn_attn_factor"), std::string::npos);
  // The factor of cosine and sine, in llama.cpp's reckoning.
  const auto scale = [](const std::string& more) {
    const Outcome read = FromGguf(
        R"({"llama.rope.scaling.type": "yarn", "llama.rope.scaling.factor":
            4.0, "llama.rope.scaling.original_context_length": 64)" +
        more + "}");
    return double{RopeScale(*ParseRope(read.rope, 16, "test"))};
  };
  const double own = 0.1 * std::log(4.0) + 1;
  EXPECT_NEAR(scale(""), own, 1e-6);
  EXPECT_NEAR(scale(R"(, "llama.rope.scaling.attn_factor": 0.5)"), own / 2,
              1e-6);
  EXPECT_NEAR(scale(R"(, "llama.rope.scaling.yarn_log_multiplier": 1.0)"), 1.0,
              1e-6);
  EXPECT_NEAR(scale(R"(, "llama.rope.scaling.yarn_log_multiplier": 0.5,
                        "llama.rope.scaling.attn_factor": 0.5)"),
              own / (0.05 * std::log(4.0) + 1) / 2, 1e-6);
}

TEST(RopeFromGgufTest, FaultsNameTheKey) {
  EXPECT_NE(FromGguf(R"({"llama.rope.scaling.type": "su"})")
                .error.find("\"rope.scaling.type\" \"su\""),
            std::string::npos);
  EXPECT_NE(FromGguf(R"({"llama.rope.scaling.type": "yarn",
                         "llama.rope.scaling.yarn_ext_factor": 0.5})")
                .error.find("yarn_ext_factor"),
            std::string::npos);
  EXPECT_NE(FromGguf(R"({"llama.rope.dimension_count": 18})")
                .error.find("rope.dimension_count"),
            std::string::npos);
  EXPECT_NE(
      FromGguf(R"({"llama.rope.freq_base": 0.0})").error.find("rope.freq_base"),
      std::string::npos);
  EXPECT_NE(FromGguf(R"({"llama.rope.scaling.factor": -1.0})")
                .error.find("rope.scaling.factor"),
            std::string::npos);
}

// A GGUF file of a small model with these tensors beside its own.
std::string Load(const std::string& type, GgufEntries more,
                 const std::map<std::string, std::vector<float>>& tensors) {
  const Json config = SmallConfig(type);
  GgufEntries metadata = {{"general.architecture", std::string("llama")},
                          {"llama.block_count", uint32_t{2}},
                          {"llama.embedding_length", uint32_t{64}},
                          {"llama.feed_forward_length", uint32_t{96}},
                          {"llama.attention.head_count", uint32_t{4}},
                          {"llama.attention.head_count_kv", uint32_t{2}},
                          {"llama.attention.layer_norm_rms_epsilon", 1e-5f},
                          {"llama.context_length", uint32_t{128}}};
  if (type == "gpt2") {
    metadata = {{"general.architecture", std::string("gpt2")},
                {"gpt2.block_count", uint32_t{2}},
                {"gpt2.embedding_length", uint32_t{64}},
                {"gpt2.feed_forward_length", uint32_t{256}},
                {"gpt2.attention.head_count", uint32_t{4}},
                {"gpt2.attention.layer_norm_epsilon", 1e-5f},
                {"gpt2.context_length", uint32_t{128}}};
  }
  metadata.insert(metadata.end(), more.begin(), more.end());
  std::vector<LazyTensor> written;
  for (const auto& [name, values] : tensors) {
    const auto n = static_cast<int64_t>(values.size());
    const Tensor tensor = Tensor::From(values, {n});
    written.push_back(
        {.name = name,
         .encoding = "f32",
         .shape = Shape{n},
         .values = [tensor]() -> Result<Tensor> { return tensor; }});
  }
  const TempFolder folder;
  const auto paths = WriteGgufParts(folder / "m.gguf", metadata, written, 0);
  EXPECT_TRUE(paths.ok()) << paths.status().message();
  const auto file = *Checkpoint::Open(folder / "m.gguf");
  const auto translated = Translate(*file);
  if (!translated.ok()) return translated.status().message();
  return Json::parse(
             translated->model->config().blocks[1].sublayers[0].config)["rope"]
      .dump();
}

TEST(GgufRopeTensorsTest, StandInTheConfigurationOrAreRefused) {
  const std::vector<float> eight = {1, 1, 1, 1, 2, 4, 8, 8};
  const std::vector<float> seven(7, 1.0f);
  EXPECT_NE(Load("llama", {}, {{"rope_freqs.weight", eight}})
                .find("\"factors\":[1.0,1.0,1.0,1.0,2.0,4.0,8.0,8.0]"),
            std::string::npos);
  const auto fault = [](const std::string& text, const std::string& part) {
    EXPECT_EQ(text.find("[load] "), 0u) << text;
    EXPECT_NE(text.find(".gguf"), std::string::npos) << text;
    EXPECT_NE(text.find(part), std::string::npos) << text;
  };
  fault(Load("llama", {}, {{"rope_freqs.weight", seven}}),
        "holds 7 numbers, a head turns 8 pairs");
  fault(Load("llama", {}, {{"rope_freqs.weight", {1, 0}}}),
        "finite numbers above 0");
  fault(Load("gpt2", {}, {{"rope_freqs.weight", eight}}),
        "the model turns none");
  fault(Load("llama", {}, {{"rope_factors_long.weight", eight}}),
        "one is missing");
  const std::map<std::string, std::vector<float>> both = {
      {"rope_factors_long.weight", eight},
      {"rope_factors_short.weight", eight}};
  fault(Load("llama",
             {{"llama.rope.scaling.type", std::string("linear")},
              {"llama.rope.scaling.factor", 2.0f}},
             both),
        "other than longrope");
  // As Phi-3's converter writes it, and with no more than the tensors.
  const Json typeless = Json::parse(
      Load("llama",
           {{"llama.rope.scaling.original_context_length", uint32_t{32}},
            {"llama.rope.scaling.attn_factor", 1.25f}},
           both));
  EXPECT_EQ(typeless["scaling"]["type"], "longrope");
  EXPECT_EQ(typeless["scaling"]["original_max_positions"], 32);
  EXPECT_EQ(typeless["scaling"]["attention_factor"], 1.25);
  const Json bare = Json::parse(Load("llama", {}, both));
  EXPECT_EQ(bare["scaling"]["original_max_positions"], 128);
  EXPECT_EQ(bare["scaling"]["attention_factor"], 1.0);
  const GgufEntries longrope = {
      {"llama.rope.scaling.type", std::string("longrope")},
      {"llama.rope.scaling.original_context_length", uint32_t{32}},
      {"llama.rope.scaling.attn_factor", 1.25f}};
  fault(Load("llama", longrope, {}), "needs the tensors");
  const Json rope = Json::parse(Load("llama", longrope, both));
  EXPECT_EQ(rope["scaling"]["original_max_positions"], 32);
  EXPECT_EQ(rope["scaling"]["attention_factor"], 1.25);
  EXPECT_EQ(rope["scaling"]["long_factor"], Json(eight));
}

}  // namespace
}  // namespace intarsia
