// Decode steps from recorded graphs, padded to a bucket, on a GPU.
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "intarsia/engine/model_runner.h"

namespace intarsia {
namespace {

constexpr int kVocab = 61;

// What tuned kernels take.
std::unique_ptr<Model> MakeModel() {
  const Json attention = {{"heads", 4},
                          {"kv_heads", 2},
                          {"head_dim", 64},
                          {"rope", {{"theta", 10000}}}};
  const Json mamba = {{"heads", 4}, {"head_dim", 64}, {"state_dim", 64}};
  Json sublayers = Json::array();
  const auto add = [&](const char* mixer, const Json& config) {
    sublayers.push_back(
        {{"mixer", mixer}, {"norm", {{"type", "rms"}}}, {"config", config}});
  };
  add("attention", attention);
  add("glu", {{"hidden", 256}});
  add("mamba2", mamba);
  const Json json = {
      {"intarsia", 1},
      {"name", "small"},
      {"vocab_size", kVocab},
      {"dim", 128},
      {"final_norm", {{"type", "rms"}}},
      {"blocks", Json::array({{{"repeat", 2}, {"sublayers", sublayers}}})}};
  auto model = Model::Create(ParseModelConfig(json).value()).value();
  model->InitWeights(5);
  return model;
}

// The logits of `steps` steps of so many sequences of unlike lengths, of which
// the last leaves after half of them; by step.
std::vector<std::vector<float>> Decode(const Model& model, Device device,
                                       DType dtype, int slots, int sequences,
                                       int steps, int64_t* launches) {
  ModelRunner::Options options;
  options.threads = 1;
  options.sequences = slots;
  options.context = 300;
  options.device = device;
  options.dtype = dtype;
  options.token_dtype = dtype;
  ModelRunner runner(model, options);
  std::vector<int> open;
  for (int s = 0; s < sequences; ++s) {
    open.push_back(runner.Open());
    Random random(7, s);
    std::vector<int32_t> prompt(5 + 23 * s);
    for (int32_t& t : prompt) {
      t = static_cast<int32_t>(random.NextBelow(kVocab));
    }
    EXPECT_TRUE(runner.Run({{open.back(), prompt}}).ok());
  }
  std::vector<std::vector<float>> all;
  for (int i = 0; i < steps; ++i) {
    if (i == steps / 2) {
      runner.Close(open.back());
      open.pop_back();
    }
    std::vector<int32_t> tokens;
    for (size_t s = 0; s < open.size(); ++s) {
      tokens.push_back(static_cast<int32_t>((7 * i + 3 * s) % kVocab));
    }
    std::vector<ModelRunner::Segment> segments;
    for (size_t s = 0; s < open.size(); ++s) {
      segments.push_back({open[s], {&tokens[s], 1}});
    }
    const auto logits = runner.Run(segments);
    EXPECT_TRUE(logits.ok());
    all.push_back(logits->ToVector<float>());
  }
  *launches = runner.graph_launches();
  return all;
}

class DecodeGraphTest : public ::testing::TestWithParam<DType> {
 protected:
  void SetUp() override {
    if (CudaBackendOrNull() == nullptr) GTEST_SKIP() << "no GPU";
  }
};

// Five sequences of five slots have no padding; of eleven slots they run with
// three segments of it, and after one left, with none.
TEST_P(DecodeGraphTest, PaddingChangesNoSequence) {
  const auto model = MakeModel();
  model->MoveTo(Cuda());
  int64_t launches = 0, padded_launches = 0;
  const auto plain = Decode(*model, Cuda(), GetParam(), 5, 5, 8, &launches);
  const auto padded =
      Decode(*model, Cuda(), GetParam(), 11, 5, 8, &padded_launches);
  // The first step of a size runs plainly.
  EXPECT_EQ(launches, 6);
  EXPECT_EQ(padded_launches, 6);
  EXPECT_EQ(plain, padded);
}

TEST_P(DecodeGraphTest, GraphsComputeWhatTheCpuDoes) {
  const auto model = MakeModel();
  int64_t launches = 0;
  const auto cpu = Decode(*model, Cpu(), DType::kF32, 11, 5, 8, &launches);
  EXPECT_EQ(launches, 0);
  model->MoveTo(Cuda());
  const auto gpu = Decode(*model, Cuda(), GetParam(), 11, 5, 8, &launches);
  EXPECT_EQ(launches, 6);
  const double tolerance = GetParam() == DType::kF32 ? 1e-4 : 9e-2;
  for (size_t i = 0; i < cpu.size(); ++i) {
    ASSERT_EQ(cpu[i].size(), gpu[i].size());
    double squares = 0, largest = 0;
    for (size_t j = 0; j < cpu[i].size(); ++j) {
      squares += double{cpu[i][j]} * cpu[i][j];
      largest = std::max(largest, std::abs(double{cpu[i][j]} - gpu[i][j]));
    }
    const double deviation =
        std::sqrt(squares / static_cast<double>(cpu[i].size()));
    EXPECT_LE(largest, tolerance * deviation) << "step " << i;
  }
}

INSTANTIATE_TEST_SUITE_P(Types, DecodeGraphTest,
                         ::testing::Values(DType::kF32, DType::kBF16),
                         [](const auto& info) {
                           return info.param == DType::kF32 ? "f32" : "bf16";
                         });

}  // namespace
}  // namespace intarsia
