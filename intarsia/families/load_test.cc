// Checkpoints become models: what ToForeign writes loads to the same weights,
// and a file that does not fit is refused by the name of its tensor.
#include "intarsia/families/load.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "intarsia/checkpoint/test_files.h"
#include "intarsia/families/open.h"
#include "intarsia/families/test_models.h"
#include "intarsia/formats/format.h"

namespace intarsia {
namespace {

using Json = nlohmann::json;
using testing::Contains;
using testing::HasSubstr;

// Random weights, to be edited and written as a folder.
class Folder : public RandomTensors {
 public:
  explicit Folder(Json config)
      : RandomTensors(RandomModel(config)), config_(std::move(config)) {}

  NamedTensor& At(const std::string& name) {
    const auto at = std::ranges::find(tensors, name, &NamedTensor::name);
    CHECK(at != tensors.end()) << name;
    return *at;
  }

  std::unique_ptr<Checkpoint> Open() const {
    const Status written =
        WriteSafetensors(folder_ / "model.safetensors", tensors);
    EXPECT_TRUE(written.ok()) << written.message();
    WriteFile(folder_ / "config.json", config_.dump());
    auto opened = Checkpoint::Open(folder_.path());
    EXPECT_TRUE(opened.ok()) << opened.status().message();
    return std::move(*opened);
  }

  std::string Refusal(const LoadOptions& options = {}) const {
    const auto loaded = LoadModel(*Open(), options);
    return loaded.ok() ? "loaded" : loaded.status().message();
  }

 private:
  TempFolder folder_;
  Json config_;
};

// GPT-2 has transposed and fused tensors, Mixtral one tensor an expert.
class RoundTripTest : public testing::TestWithParam<const char*> {};

TEST_P(RoundTripTest, WeightsComeBack) {
  const Folder folder(SmallConfig(GetParam()));
  ASSERT_FALSE(folder.native.empty());
  const auto checkpoint = folder.Open();
  size_t last = 0;
  const auto loaded =
      LoadModel(*checkpoint, {.progress = [&](size_t done, size_t total) {
        EXPECT_EQ(done, last + 1);
        EXPECT_EQ(total, folder.native.size());
        last = done;
        return true;
      }});
  ASSERT_TRUE(loaded.ok()) << loaded.status().message();
  EXPECT_EQ(last, folder.native.size());
  EXPECT_TRUE(loaded->warnings.empty()) << loaded->warnings[0];
  for (const auto& [path, values] : folder.native) {
    EXPECT_EQ(loaded->model->Find(path)->values().ToVector<float>(),
              values.ToVector<float>())
        << path;
  }
}

INSTANTIATE_TEST_SUITE_P(Families, RoundTripTest,
                         testing::Values("llama", "mistral", "qwen2", "qwen3",
                                         "mixtral", "gpt2"),
                         [](const auto& info) { return info.param; });

TEST(LoadTest, UndefinedValuesAreZeros) {
  const FamilyModel family =
      *FindFamily("gpt2")->from_config(SmallConfig("gpt2"));
  const auto model = *Model::Create(family.config);
  const auto foreign =
      ToForeign(family.tensors, *model, [](const auto&) { return Tensor(); });
  ASSERT_FALSE(foreign.empty());
  for (const auto& [name, values] : foreign) {
    for (const float value : values.ToVector<float>()) {
      ASSERT_EQ(value, 0) << name;
    }
  }
}

TEST(LoadTest, BlocksOfFp8StayBlocks) {
  Folder folder(SmallConfig("llama", 128));
  std::vector<uint8_t> codes(128 * 128);
  for (size_t i = 0; i < codes.size(); ++i) codes[i] = 0x38;  // 1
  const std::string name = "model.layers.0.self_attn.q_proj.weight";
  folder.At(name) = {.name = name,
                     .tensor = Tensor::From(codes, {128 * 128}),
                     .encoding = "f8_e4m3",
                     .shape = {128, 128}};
  folder.tensors.push_back(
      {.name = name + "_scale_inv",
       .tensor = Tensor::From(std::vector<float>{0.25f}, {1, 1})});
  const auto checkpoint = folder.Open();
  const auto loaded = LoadModel(*checkpoint);
  ASSERT_TRUE(loaded.ok()) << loaded.status().message();
  EXPECT_TRUE(loaded->warnings.empty()) << loaded->warnings[0];
  const auto map =
      std::ranges::find(loaded->tensors, name, &TensorMap::foreign);
  ASSERT_NE(map, loaded->tensors.end());
  const Weight& weight = *loaded->model->Find(map->native);
  EXPECT_EQ(weight.format().name(), "f8_e4m3_128");
  ThreadPool pool(1);
  const Tensor values = weight.format().Dequantize(pool, weight.values(), 128);
  for (const float value : values.ToVector<float>()) ASSERT_EQ(value, 0.25f);
}

TEST(LoadTest, TensorsThatDoNotFit) {
  const std::string norm = "model.norm.weight";
  {
    Folder folder(SmallConfig("llama"));
    folder.At(norm) = {.name = norm,
                       .tensor = Tensor::Zeros({64}, DType::kI32)};
    EXPECT_THAT(folder.Refusal(),
                HasSubstr("tensor model.norm.weight is stored as i32, which "
                          "this build cannot compute with"));
  }
  {
    Folder folder(SmallConfig("llama"));
    folder.At(norm).tensor = Tensor::Zeros(Shape());
    EXPECT_THAT(folder.Refusal(),
                HasSubstr("tensor model.norm.weight is a scalar"));
  }
  {
    Folder folder(SmallConfig("llama"));
    folder.At(norm).tensor = Tensor::Zeros({63});
    EXPECT_THAT(folder.Refusal(),
                HasSubstr("final_norm has shape [63] of f32, expected [64]"));
  }
  {
    Folder folder(SmallConfig("llama"));
    std::erase_if(folder.tensors,
                  [&](const NamedTensor& t) { return t.name == norm; });
    EXPECT_THAT(folder.Refusal(),
                HasSubstr("the checkpoint lacks model.norm.weight"));
  }
}

TEST(LoadTest, PartsThatDoNotFit) {
  {
    Folder folder(SmallConfig("gpt2"));
    folder.At("transformer.h.0.attn.c_attn.weight").tensor =
        Tensor::Zeros({64, 180});
    EXPECT_THAT(folder.Refusal(), HasSubstr("has 180 rows, needed are 128 to"));
  }
  {
    Folder folder(SmallConfig("gpt2", 128));
    const std::string name = "transformer.h.0.attn.c_attn.weight";
    const std::vector<uint8_t> codes(128 * 384);
    folder.At(name) = {.name = name,
                       .tensor = Tensor::From(codes, {128 * 384}),
                       .encoding = "f8_e4m3",
                       .shape = {128, 384}};
    folder.tensors.push_back(
        {.name = name + "_scale_inv", .tensor = Tensor::Zeros({1, 3})});
    EXPECT_THAT(folder.Refusal(),
                HasSubstr("must be a plain matrix to be transposed"));
  }
  {
    Folder folder(SmallConfig("mixtral"));
    NamedTensor& one =
        folder.At("model.layers.0.block_sparse_moe.experts.1.w1.weight");
    one.tensor = one.tensor.To(DType::kBF16);
    EXPECT_THAT(folder.Refusal(), HasSubstr("differ in shape or format"));
  }
}

TEST(LoadTest, OptionsThatDoNotFit) {
  Json config = SmallConfig("llama");
  config["intermediate_size"] = 90;
  EXPECT_THAT(Folder(config).Refusal({.matrices = FindFormat("q8_0")}),
              HasSubstr("does not divide into blocks of q8_0"));
  const auto stop = [](size_t, size_t) { return false; };
  EXPECT_THAT(Folder(SmallConfig("llama")).Refusal({.progress = stop}),
              HasSubstr("the load was cancelled"));
}

TEST(LoadTest, UnusedTensorsAreNamed) {
  Folder folder(SmallConfig("llama"));
  folder.tensors.push_back(
      {.name = "rotary.inv", .tensor = Tensor::Zeros({8})});
  const auto loaded = LoadModel(*folder.Open());
  ASSERT_TRUE(loaded.ok()) << loaded.status().message();
  EXPECT_THAT(loaded->warnings, Contains("tensor rotary.inv is not used"));
}

GgufEntries Words() {
  return {{"general.architecture", std::string("llama")},
          {"tokenizer.ggml.model", std::string("llama")},
          {"tokenizer.ggml.tokens",
           std::vector<std::string>{"<unk>", "<s>", "</s>", "a", "\u2581"}},
          {"tokenizer.ggml.token_type", std::vector<int32_t>{2, 3, 3, 1, 1}},
          {"tokenizer.ggml.scores", std::vector<float>{0, 0, 0, -1, -2}}};
}

TEST(OpenTokenizerTest, GgufMayNameSeveralChatTemplates) {
  const TempFolder folder;
  GgufEntries entries = Words();
  entries.push_back({"tokenizer.chat_template", std::string("plain")});
  entries.push_back({"tokenizer.chat_template.tool_use", std::string("tools")});
  ASSERT_TRUE(WriteGguf(folder / "m.gguf", entries, {}).ok());
  const auto checkpoint = Checkpoint::Open(folder / "m.gguf");
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
  const auto tokenizer = OpenTokenizer(**checkpoint);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().message();
  EXPECT_EQ((*tokenizer)->chat_template(), "plain");
  EXPECT_EQ((*tokenizer)->chat_template("tool_use"), "tools");
}

TEST(OpenTokenizerTest, WordsOfRwkvLieBesideTheWeights) {
  const TempFolder folder;
  ASSERT_TRUE(
      WriteSafetensors(folder / "model.safetensors",
                       std::vector<NamedTensor>{{"a", Tensor::Zeros({1})}})
          .ok());
  WriteFile(folder / "config.json", "{}");
  WriteFile(folder / "rwkv_vocab_v20230424.txt", "1 'a' 1\n2 'ab' 2\n");
  const auto checkpoint = Checkpoint::Open(folder.path());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
  const auto tokenizer = OpenTokenizer(**checkpoint);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().message();
  ASSERT_NE(*tokenizer, nullptr);
  EXPECT_EQ((*tokenizer)->Decode(std::vector<int32_t>{2, 1}), "aba");
}

}  // namespace
}  // namespace intarsia
