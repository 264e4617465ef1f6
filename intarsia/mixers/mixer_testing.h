// What the tests of mixer rooms share, beyond the conformance suite.
#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "intarsia/distributed/communicator.h"
#include "intarsia/distributed/tensor_parallel.h"
#include "intarsia/mixers/mixer.h"
#include "intarsia/ops/common/testing.h"

namespace intarsia::testing {

using Creator = Result<std::unique_ptr<Mixer>> (*)(const Json&, int);

// A mixer with random fp32 weights.
struct MixerUnderTest {
  MixerUnderTest(Creator create, const std::string& config, int width)
      : dim(width) {
    auto made = create(Json::parse(config), width);
    CHECK(made.ok()) << made.status().message();
    mixer = std::move(made).value();
    Random random(3);
    for (const WeightSpec& spec : mixer->weights()) {
      const float scale =
          spec.role == WeightSpec::Role::kVector
              ? 0.5f
              : 1.0f / std::sqrt(static_cast<float>(spec.shape[-1]));
      weights.push_back(
          Weight::F32(spec, RandomTensor(random, spec.shape, scale)));
    }
  }

  Tensor Input(const Batch& batch) const {
    Random random(4);
    return RandomTensor(random, {batch.size(), dim});
  }

  Tensor Run(const Batch& batch, const Tensor& x,
             const std::vector<Weight>& with, ThreadPool* pool = nullptr,
             Communicator* group = nullptr) const {
    std::vector<const Weight*> handles;
    for (const Weight& w : with) handles.push_back(&w);
    Context ctx;
    ctx.batch = &batch;
    ctx.pool = pool;
    ctx.weights = handles;
    ctx.tensor_parallel = group;
    return mixer->Forward(ctx, x);
  }

  std::vector<double> Reference(const Batch& batch, const Tensor& x) const {
    std::vector<std::vector<double>> wide;
    for (const Weight& w : weights) wide.push_back(Widen(w.values()));
    return mixer->Reference(batch, wide, Widen(x));
  }

  static std::vector<double> Widen(const Tensor& x) {
    const std::vector<float> values = x.ToVector<float>();
    return std::vector<double>(values.begin(), values.end());
  }

  std::unique_ptr<Mixer> mixer;
  std::vector<Weight> weights;
  int dim;
};

// A rank of a group; mixers only ask which one they are.
class OneRank final : public Communicator {
 public:
  OneRank(int rank, int size) : rank_(rank), size_(size) {}
  int rank() const override { return rank_; }
  int size() const override { return size_; }
  void AllReduceSum(Tensor*) override { CHECK(false) << "a mixer reduced"; }
  void Barrier() override { CHECK(false) << "a mixer waited"; }

 private:
  int rank_, size_;
};

// The partial results of `size` ranks that hold their shards add up to the
// result of one.
inline void ExpectRanksAddUp(const MixerUnderTest& whole, const Batch& batch,
                             int size) {
  const Tensor x = whole.Input(batch);
  std::vector<double> sum(batch.size() * whole.dim);
  for (int rank = 0; rank < size; ++rank) {
    std::vector<Weight> shards;
    for (const Weight& w : whole.weights) {
      auto part = ShardWeight(w.spec(), w.format(), w.values(), rank, size);
      ASSERT_TRUE(part.ok()) << part.status().message();
      WeightSpec spec = w.spec();
      spec.shape = part->shape();
      shards.push_back(Weight::F32(std::move(spec), *part));
    }
    OneRank group(rank, size);
    const Tensor y = whole.Run(batch, x, shards, nullptr, &group);
    for (size_t i = 0; i < sum.size(); ++i) sum[i] += y.data<float>()[i];
  }
  EXPECT_TRUE(Near(whole.Run(batch, x, whole.weights), sum, 2e-6));
}

// The weights of a configuration, each as "q_proj[8, 10]", in their order.
inline std::vector<std::string> WeightNames(Creator create,
                                            const std::string& config,
                                            int dim) {
  std::vector<std::string> names;
  for (const WeightSpec& spec :
       MixerUnderTest(create, config, dim).mixer->weights()) {
    names.push_back(spec.name + spec.shape.ToString());
  }
  return names;
}

// `create` refuses the configuration with a message that holds `what`.
inline void ExpectRefused(Creator create, const std::string& config,
                          const std::string& what, int dim = 16) {
  const auto made = create(Json::parse(config), dim);
  ASSERT_FALSE(made.ok()) << config;
  EXPECT_NE(made.status().message().find(what), std::string::npos)
      << config << " says: " << made.status().message();
}

}  // namespace intarsia::testing
