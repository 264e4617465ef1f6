// examples/composed.json: a parallel branch, a shared block with low-rank
// additions, a recursion, a routed pair and a second residual stream in one
// model. It trains, and serving computes what training did.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "intarsia/autograd/tape.h"
#include "intarsia/engine/model_runner.h"
#include "intarsia/model/model.h"
#include "intarsia/ops/cross_entropy/cross_entropy.h"

namespace intarsia {
namespace {

constexpr char kText[] =
    "one model is made of unlike parts, and every part keeps its own state. ";

std::vector<int32_t> Bytes(size_t begin, size_t count) {
  std::vector<int32_t> tokens;
  for (size_t i = 0; i < count; ++i) {
    tokens.push_back(
        static_cast<unsigned char>(kText[(begin + i) % (sizeof(kText) - 1)]));
  }
  return tokens;
}

// Adam without decay: Kingma and Ba 2015.
class Adam {
 public:
  void Step(const Model& model, Model* weights, const Tape& tape, int step) {
    const double c1 = 1 - std::pow(0.9, step), c2 = 1 - std::pow(0.95, step);
    for (const std::string& path : model.paths()) {
      Weight* weight = weights->Find(path);
      const Tensor gradient = tape.WeightGradient(*weight);
      if (!gradient.defined()) continue;
      seen_.insert(path);
      auto& [first, second] = moments_[path];
      first.resize(gradient.numel());
      second.resize(gradient.numel());
      float* w = weight->mutable_values().mutable_data<float>();
      for (int64_t i = 0; i < gradient.numel(); ++i) {
        const double g = gradient.data<float>()[i];
        first[i] = 0.9 * first[i] + 0.1 * g;
        second[i] = 0.95 * second[i] + 0.05 * g * g;
        w[i] -= static_cast<float>(3e-3 * first[i] / c1 /
                                   (std::sqrt(second[i] / c2) + 1e-8));
      }
    }
  }
  const std::set<std::string>& seen() const { return seen_; }

 private:
  std::map<std::string, std::pair<std::vector<double>, std::vector<double>>>
      moments_;
  std::set<std::string> seen_;
};

TEST(ComposedTest, TrainsAndGenerates) {
  std::ifstream file("examples/composed.json");
  auto config = ParseModelConfig(Json::parse(file));
  ASSERT_TRUE(config.ok()) << config.status().message();
  const Json again = ToJson(*config);
  EXPECT_EQ(ToJson(*ParseModelConfig(again)), again);
  auto created = Model::Create(std::move(config).value());
  ASSERT_TRUE(created.ok()) << created.status().message();
  Model& model = **created;
  model.InitWeights(3);
  model.SetTrainable(true);

  // Weights have one place, states one a use.
  EXPECT_EQ(std::ranges::count(model.paths(), "shared.unit.0.q_proj"), 1);
  EXPECT_NE(model.Find("blocks.1.0.lora.0.a"), nullptr);
  EXPECT_NE(model.Find("blocks.3.0.lora.0.a"), nullptr);
  std::vector<std::string> states;
  for (const Model::SublayerState& sublayer : model.state()) {
    for (const StateSpec& spec : sublayer.specs) {
      states.push_back(sublayer.name + "." + spec.name);
    }
  }
  for (const char* name :
       {"blocks.0.0.0.k", "blocks.0.0.1.ssm", "blocks.1.0.0.k",
        "blocks.3.0.0.k", "blocks.2.0.pass0.0.k", "blocks.2.0.pass1.0.k"}) {
    EXPECT_EQ(std::ranges::count(states, name), 1) << name;
  }

  ThreadPool pool(2);
  Adam adam;
  std::vector<float> losses;
  for (int step = 1; step <= 200; ++step) {
    Batch batch;
    batch.cu_seqlens = {0};
    std::vector<int32_t> targets;
    for (size_t n = 0; n < 2; ++n) {
      const size_t begin = 17 * step + 31 * n;
      batch.Add(Bytes(begin, 112));
      const std::vector<int32_t> next = Bytes(begin + 1, 112);
      targets.insert(targets.end(), next.begin(), next.end());
    }
    Tape tape;
    Context ctx;
    ctx.batch = &batch;
    ctx.pool = &pool;
    ctx.tape = &tape;
    const Tensor loss = CrossEntropy(ctx, model.Forward(ctx), targets);
    tape.Backward(ctx, loss);
    adam.Step(model, &model, tape, step);
    losses.push_back(loss.data<float>()[0]);
    ASSERT_TRUE(std::isfinite(losses.back())) << step;
  }
  EXPECT_GT(losses.front(), 4.0f);
  EXPECT_LT(losses.back(), 0.3f);
  EXPECT_EQ(adam.seen().size(), model.paths().size());

  // Serving continues the text, from prefill in pieces and one token at a time.
  ModelRunner::Options options;
  options.threads = 2;
  options.sequences = 2;
  options.context = 160;
  options.token_dtype = DType::kF32;
  ModelRunner runner(model, options);
  const int slot = runner.Open();
  std::vector<int32_t> tokens = Bytes(5, 70);
  auto logits = runner.Run({{slot, tokens}});
  ASSERT_TRUE(logits.ok()) << logits.status().message();
  for (int i = 0; i < 40; ++i) {
    const std::vector<float> row = logits->ToVector<float>();
    const int32_t best =
        static_cast<int32_t>(std::ranges::max_element(row) - row.begin());
    tokens.push_back(best);
    logits = runner.Run({{slot, std::vector<int32_t>{best}}});
    ASSERT_TRUE(logits.ok()) << logits.status().message();
  }
  EXPECT_EQ(tokens, Bytes(5, tokens.size()));

  const Batch batch = Batch::Of({tokens});
  Context ctx;
  ctx.batch = &batch;
  ctx.pool = &pool;
  const std::vector<int32_t> last = {static_cast<int32_t>(tokens.size()) - 1};
  const std::vector<float> whole =
      model.Forward(ctx, nullptr, last).ToVector<float>();
  const std::vector<float> served = logits->ToVector<float>();
  double largest = 0, square = 0;
  for (size_t i = 0; i < whole.size(); ++i) {
    largest = std::max(largest, std::abs(double{whole[i]} - served[i]));
    square += double{whole[i]} * whole[i] / whole.size();
  }
  EXPECT_LE(largest, 1e-4 * std::sqrt(square));
}

}  // namespace
}  // namespace intarsia
