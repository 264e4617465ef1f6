// Small models as files really are, against what transformers computes for
// them: tests/oracles/small_models.py records the configurations, the names and
// shapes of tensors, and logits; numbers follow from the names.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "intarsia/checkpoint/test_files.h"
#include "intarsia/checkpoint/write.h"
#include "intarsia/convert/test_convert.h"
#include "intarsia/families/open.h"

namespace intarsia {
namespace {

using Json = nlohmann::json;

uint64_t Fnv1a(const std::string& text) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const char c : text) {
    hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001b3;
  }
  return hash;
}

uint64_t SplitMix64(uint64_t x) {
  uint64_t z = x + 0x9e3779b97f4a7c15;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

Tensor ValuesOf(const std::string& name, const Shape& shape) {
  Tensor out = Tensor::Empty(shape);
  const bool norm = name.find("norm") != std::string::npos ||
                    name.find("ln_") != std::string::npos;
  const float mean = norm && name.ends_with("weight") ? 1.0f : 0.0f;
  const uint64_t seed = Fnv1a(name);
  for (int64_t i = 0; i < out.numel(); ++i) {
    const auto step = static_cast<int>(SplitMix64(seed + i) >> 56) - 128;
    out.mutable_data<float>()[i] = mean + static_cast<float>(step) / 512;
  }
  return out;
}

const Json& Recorded() {
  static const auto* const json = [] {
    std::ifstream file("tests/golden/small_models.json");
    return new Json(Json::parse(file));
  }();
  return *json;
}

class SmallModelTest : public testing::TestWithParam<size_t> {
 protected:
  const Json& recorded() const { return Recorded()["cases"][GetParam()]; }

  void Write(const std::string& folder) const {
    std::filesystem::create_directories(folder);
    std::vector<NamedTensor> tensors;
    for (const auto& [name, shape] : recorded()["tensors"].items()) {
      tensors.push_back(
          {.name = name,
           .tensor = ValuesOf(name, Shape(shape.get<std::vector<int64_t>>()))});
    }
    ASSERT_TRUE(WriteSafetensors(folder + "/model.safetensors", tensors).ok());
    WriteFile(folder + "/config.json", recorded()["config"].dump());
  }
  void ExpectLogits(const std::string& path, double tolerance) const;

  // What `convert` says that a GGUF file of the case would lose; "": nothing.
  std::string LostInGguf() const {
    const std::string name = recorded()["name"];
    for (const auto& [part, lost] :
         {std::pair("mamba2", "\"mamba2\" are not written as GGUF"),
          std::pair("gemma2", "\"gemma2\" are not written as GGUF"),
          std::pair("phi", "\"phi\" are not written as GGUF"),
          std::pair("falcon", "\"falcon\" are not written as GGUF"),
          std::pair("mistral_layer_types", "a sliding_window of some layers"),
          std::pair("qwen2_layer_types", "a sliding_window of some layers"),
          std::pair("window_from_1", "a sliding_window of some layers"),
          std::pair("llama_quick_gelu", "no place for hidden_act"),
          std::pair("gpt2_quick_gelu", "no place for activation_function"),
          std::pair("gpt2_not_scaled", "no place for scale_attn_weights"),
          std::pair("gpt2_scaled_by_layer_alone",
                    "no place for scale_attn_weights"),
          std::pair("gpt2_scaled_by_layer",
                    "no place for scale_attn_by_inverse_layer_idx")}) {
      if (name.starts_with(part) || name.ends_with(part)) return lost;
    }
    return "";
  }
};

void SmallModelTest::ExpectLogits(const std::string& path,
                                  double tolerance) const {
  const Json& recorded = this->recorded();
  const auto opened = OpenModel(path);
  ASSERT_TRUE(opened.ok()) << opened.status().message();

  const Batch batch =
      Batch::Of({recorded["tokens"].get<std::vector<int32_t>>()});
  ThreadPool pool(1);
  Context ctx;
  ctx.batch = &batch;
  ctx.pool = &pool;
  const auto logits = opened->model().Forward(ctx).ToVector<float>();
  const auto want = recorded["logits"].get<std::vector<std::vector<float>>>();
  const size_t vocab = want[0].size();
  const size_t first = batch.tokens.size() - want.size();
  ASSERT_EQ(logits.size(), batch.tokens.size() * vocab);
  double deviation = 0;
  for (size_t r = 0; r < want.size(); ++r) {
    for (size_t v = 0; v < vocab; ++v) {
      EXPECT_NEAR(logits[(first + r) * vocab + v], want[r][v], tolerance);
      deviation = std::max<double>(deviation, std::abs(want[r][v]));
    }
  }
  EXPECT_GT(deviation, 0.1);  // the comparison sees something
}

TEST_P(SmallModelTest, LogitsAreTheLibrarys) {
  const TempFolder folder;
  Write(folder / "m");
  ExpectLogits(folder / "m", 1e-5);
}

// What `convert` writes of it computes the same, or `convert` says what it
// would lose.
TEST_P(SmallModelTest, TheSameInEveryForm) {
  const TempFolder folder;
  Write(folder / "m");
  const auto checkpoint = OpenPath(folder / "m");
  const auto gguf = ToGgufModel(*checkpoint);
  const std::string refusal = gguf.status().message();
  if (gguf.ok()) {
    ToGguf(folder / "m", folder / "m.gguf");
    ExpectLogits(folder / "m.gguf", 1e-5);
    ToHf(folder / "m.gguf", folder / "back");
    ExpectLogits(folder / "back", 1e-5);
  }
  EXPECT_EQ(gguf.ok(), LostInGguf().empty()) << refusal;
  EXPECT_NE(refusal.find(LostInGguf()), std::string::npos) << refusal;
  ToHf(folder / "m", folder / "hf");
  ExpectLogits(folder / "hf", 1e-5);
  ToNative(folder / "m", folder / "native");
  ExpectLogits(folder / "native", 1e-5);
}

INSTANTIATE_TEST_SUITE_P(
    Transformers, SmallModelTest,
    testing::Range<size_t>(0, Recorded()["cases"].size()),
    [](const testing::TestParamInfo<size_t>& info) {
      return Recorded()["cases"][info.param]["name"].get<std::string>();
    });

}  // namespace
}  // namespace intarsia
