// One model under every published rotary setting: what transformers recorded
// (tests/oracles/rope_models.py) is what the folder computes, whole, in pieces
// and decoded, and what it computes as GGUF, as a folder made from that, and as
// a native folder.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "intarsia/checkpoint/test_files.h"
#include "intarsia/checkpoint/write.h"
#include "intarsia/convert/hf_model.h"
#include "intarsia/convert/rope_layout.h"
#include "intarsia/engine/model_runner.h"
#include "intarsia/eval/verify.h"
#include "intarsia/families/open.h"

namespace intarsia {
namespace {

const std::string kFolder = "tests/golden/rope/";
constexpr uint64_t kShard = 1 << 30;

const Json& Configs() {
  static const Json configs =
      Json::parse(std::ifstream(kFolder + "configs.json"));
  return configs;
}

std::vector<std::string> Names() {
  std::vector<std::string> names;
  for (const auto& item : Configs().items()) names.push_back(item.key());
  return names;
}

// The folder NAME and what was recorded for it, as verify wants it.
void Write(const TempFolder& temp, const std::string& name, bool decoded) {
  const Json& entry = Configs().at(name);
  std::filesystem::create_directories(temp / "hf");
  std::filesystem::copy_file(kFolder + "model.safetensors",
                             temp / "hf/model.safetensors",
                             std::filesystem::copy_options::overwrite_existing);
  WriteFile(temp / "hf/config.json", entry["config"].dump());
  const auto recorded = *Checkpoint::Open(kFolder + "recorded.safetensors");
  std::vector<NamedTensor> tensors;
  const auto take = [&](const std::string& from, const std::string& to) {
    const StoredTensor* stored = recorded->Find(from);
    if (stored == nullptr) return;
    tensors.push_back({.name = to, .tensor = *stored->AsTensor()});
  };
  take("input_ids", "input_ids");
  take("logits." + entry.value("same", name), "logits");
  ASSERT_EQ(tensors.size(), 2u);
  if (decoded) {
    take("greedy." + name, "greedy_tokens");
    take("margins." + name, "greedy_margins");
  }
  ASSERT_TRUE(WriteSafetensors(temp / "golden.safetensors", tensors).ok());
}

void ExpectRecorded(const TempFolder& temp, const std::string& path,
                    bool pieces = false) {
  auto opened = OpenModel(temp / path);
  ASSERT_TRUE(opened.ok()) << path << ": " << opened.status().message();
  VerifyOptions options;
  options.golden = temp / "golden.safetensors";
  options.threads = 1;
  for (const bool split : {false, true}) {
    options.batch_split = split;
    if (pieces) options.chunks = {1, 7, 64};
    const auto report = Verify(opened->loaded, options);
    ASSERT_TRUE(report.ok()) << path << ": " << report.status().message();
    for (const VerifyReport::Run& run : report->runs) {
      // Sums in another order alone.
      EXPECT_LE(run.max_abs_error, 5e-5) << path << ", " << run.name;
    }
    EXPECT_TRUE(report->passed) << path << " decodes otherwise";
    if (!pieces) return;
  }
}

class RopeModelsTest : public testing::TestWithParam<std::string> {};

TEST_P(RopeModelsTest, FolderIsTheRecorded) {
  const TempFolder temp;
  Write(temp, GetParam(), true);
  ExpectRecorded(temp, "hf", true);
}

TEST_P(RopeModelsTest, ConversionsAreTheRecorded) {
  const TempFolder temp;
  Write(temp, GetParam(), false);
  const auto folder = *Checkpoint::Open(temp / "hf");
  ASSERT_TRUE(WriteNativeFolder(*folder, *ReadModelFiles(*folder),
                                temp / "native", kShard, false, nullptr)
                  .ok());
  ExpectRecorded(temp, "native");
  auto gguf = ToGgufModel(*folder);
  if (GetParam() == "dynamic") {
    ASSERT_FALSE(gguf.ok());
    EXPECT_NE(gguf.status().message().find("no place for rope scaling of type "
                                           "dynamic"),
              std::string::npos)
        << gguf.status().message();
    return;
  }
  ASSERT_TRUE(gguf.ok()) << gguf.status().message();
  // As llama.cpp's files are: without the configuration that it came with.
  std::erase_if(gguf->metadata,
                [](const auto& entry) { return entry.first == kSourceConfig; });
  ASSERT_TRUE(
      WriteGgufParts(temp / "m.gguf", gguf->metadata, gguf->tensors, 0).ok());
  ExpectRecorded(temp, "m.gguf");
  const auto file = *Checkpoint::Open(temp / "m.gguf");
  const auto back = ReadHfModel(*file);
  ASSERT_TRUE(back.ok()) << back.status().message();
  ASSERT_TRUE(WriteHfFolder(*back, temp / "back", kShard).ok());
  ExpectRecorded(temp, "back");
  ASSERT_TRUE(WriteNativeFolder(*file, *ReadModelFiles(*file), temp / "native2",
                                kShard, false, nullptr)
                  .ok());
  ExpectRecorded(temp, "native2");
}

INSTANTIATE_TEST_SUITE_P(All, RopeModelsTest, testing::ValuesIn(Names()),
                         [](const testing::TestParamInfo<std::string>& info) {
                           return info.param;
                         });

// Past the original length longrope turns even the first tokens otherwise. A
// sequence that grows past it is what the whole pass computes all the same,
// from a saved state too.
TEST(RopeByLengthTest, StateGoesOnPastTheOriginalLength) {
  const TempFolder temp;
  Write(temp, "longrope", false);
  auto opened = OpenModel(temp / "hf");
  ASSERT_TRUE(opened.ok());
  const auto recorded = *Checkpoint::Open(kFolder + "recorded.safetensors");
  const auto ids = recorded->Find("input_ids")->AsTensor()->ToVector<int32_t>();
  const auto logits =
      recorded->Find("logits.longrope")->AsTensor()->ToVector<float>();
  const size_t vocab = logits.size() / ids.size();
  ModelRunner::Options options;
  options.threads = 1;
  options.context = 64;
  options.token_dtype = DType::kF32;
  options.prefill_chunk = 8;
  ModelRunner runner(opened->model(), options);
  const auto tokens = [&](size_t begin, size_t end) {
    return std::span<const int32_t>(ids).subspan(begin, end - begin);
  };
  // Rows `begin` to 39 of the whole pass.
  const auto expect_rows = [&](const Tensor& rows, size_t begin) {
    const std::vector<float> ours = rows.ToVector<float>();
    ASSERT_EQ(ours.size(), (ids.size() - begin) * vocab);
    for (size_t i = 0; i < ours.size(); ++i) {
      ASSERT_NEAR(ours[i], logits[begin * vocab + i], 5e-5) << i / vocab;
    }
  };
  int slot = runner.Open();
  ASSERT_TRUE(runner.Run({{slot, tokens(0, 20)}}).ok());
  ASSERT_TRUE(runner.Save(slot, temp / "state").ok());
  auto rows = runner.Run({{slot, tokens(20, 40)}}, true);
  ASSERT_TRUE(rows.ok()) << rows.status().message();
  expect_rows(*rows, 20);
  EXPECT_EQ(runner.length(slot), 40);
  runner.Close(slot);

  slot = runner.Open();
  ASSERT_TRUE(runner.Restore(slot, temp / "state").ok());
  EXPECT_EQ(runner.length(slot), 20);
  for (size_t t = 20; t < 40; ++t) {
    rows = runner.Run({{slot, tokens(t, t + 1)}});
    ASSERT_TRUE(rows.ok()) << rows.status().message();
  }
  expect_rows(*rows, 39);
  runner.Close(slot);

  // Such a state has its tokens.
  const auto state = *Checkpoint::Open(temp / "state");
  std::vector<NamedTensor> bare;
  for (const StoredTensor& stored : state->tensors()) {
    if (stored.name == "tokens") continue;
    bare.push_back({.name = stored.name, .tensor = *stored.AsTensor()});
  }
  ASSERT_EQ(bare.size() + 1, state->tensors().size());
  SafetensorsMetadata metadata(state->metadata().begin(),
                               state->metadata().end());
  ASSERT_TRUE(WriteSafetensors(temp / "bare", bare, metadata).ok());
  slot = runner.Open();
  const Status lacks = runner.Restore(slot, temp / "bare");
  ASSERT_FALSE(lacks.ok());
  EXPECT_NE(lacks.message().find("tokens that the state has seen are missing"),
            std::string::npos)
      << lacks.message();
}

// Llama 3.1's scaling lies in GGUF as llama.cpp's converter has it, and comes
// back from there as the same numbers.
TEST(RopeGgufTest, Llama3IsRopeFreqs) {
  const TempFolder temp;
  Write(temp, "llama3", false);
  const auto folder = *Checkpoint::Open(temp / "hf");
  const auto gguf = ToGgufModel(*folder);
  ASSERT_TRUE(gguf.ok());
  const auto recorded = *Checkpoint::Open(kFolder + "recorded.safetensors");
  const std::vector<float> expected =
      recorded->Find("rope_freqs")->AsTensor()->ToVector<float>();
  bool found = false;
  for (const LazyTensor& tensor : gguf->tensors) {
    if (tensor.name != "rope_freqs.weight") continue;
    found = true;
    EXPECT_EQ(tensor.encoding, "f32");
    const std::vector<float> divisors = tensor.values()->ToVector<float>();
    ASSERT_EQ(divisors.size(), expected.size());
    for (size_t i = 0; i < divisors.size(); ++i) {
      EXPECT_FLOAT_EQ(divisors[i], expected[i]) << i;
    }
  }
  EXPECT_TRUE(found);
  EXPECT_EQ(gguf->Text("llama.rope.scaling.type"), "");
}

ModelConfig ModelWith(const Json& rope) {
  ModelConfig model;
  model.max_positions = 131072;
  BlockConfig block;
  block.sublayers.push_back(
      {"attention",
       Json{{"heads", 1}, {"head_dim", 128}, {"rope", rope}}.dump(),
       {},
       1.0f});
  model.blocks.push_back(block);
  return model;
}

// The configuration that RopeToConfig makes of a model with this rope.
Json Config(const Json& rope) {
  const auto config = RopeToConfig(ModelWith(rope));
  EXPECT_TRUE(config.ok()) << config.status().message();
  return config.ok() ? *config : Json();
}

std::vector<float> FreqsOf(const Json& rope) {
  const auto gguf = RopeToGguf(ModelWith(rope));
  EXPECT_TRUE(gguf.ok()) << gguf.status().message();
  return gguf.ok() && !gguf->tensors.empty() ? gguf->tensors[0].second
                                             : std::vector<float>();
}

TEST(RopeGgufTest, Llama3IsFoundInItsDivisors) {
  for (const auto& [factor, high, original, theta] :
       {std::tuple(8.0, 4.0, 8192, 500000.0),
        {32.0, 4.0, 8192, 500000.0},
        {4.0, 6.0, 4096, 10000.0},
        {16.0, 2.5, 1000, 1e6}}) {
    const Json rope = {{"theta", theta},
                       {"scaling",
                        {{"type", "llama3"},
                         {"factor", factor},
                         {"low_freq_factor", 1.0},
                         {"high_freq_factor", high},
                         {"original_max_positions", original}}}};
    const Json config = Config({{"theta", theta}, {"factors", FreqsOf(rope)}});
    const Json expected = {{"rope_type", "llama3"},
                           {"factor", factor},
                           {"low_freq_factor", 1.0},
                           {"high_freq_factor", high},
                           {"original_max_position_embeddings", original}};
    EXPECT_EQ(config["rope_scaling"], expected);
    EXPECT_EQ(config["rope_theta"], theta);
  }
  // Other divisors are kept one by one.
  std::vector<float> odd(64, 1.0f);
  for (int i = 0; i < 64; ++i) odd[i] += 0.25f * float(i % 5);
  const Json config = Config({{"theta", 10000.0}, {"factors", odd}});
  EXPECT_EQ(config["rope_scaling"]["rope_type"], "longrope");
  EXPECT_EQ(config["rope_scaling"]["short_factor"], Json(odd));
  EXPECT_EQ(config["rope_scaling"]["long_factor"], Json(odd));
  EXPECT_EQ(config["rope_scaling"]["attention_factor"], 1.0);
}

}  // namespace
}  // namespace intarsia
