#include "intarsia/mixers/mamba2/mamba2.h"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "intarsia/autograd/gradient_check.h"
#include "intarsia/ops/elementwise/elementwise.h"

namespace intarsia {
namespace {

Weight Vector(const std::string& name, std::vector<float> values) {
  WeightSpec spec;
  spec.name = name;
  spec.shape = Shape({static_cast<int64_t>(values.size())});
  spec.role = WeightSpec::Role::kVector;
  const Shape shape = spec.shape;
  return Weight::F32(std::move(spec), Tensor::From(values, shape));
}

struct Fixture : public ::testing::Test {
  Fixture() {
    ctx.batch = &batch;
    ctx.pool = &pool;
  }
  ThreadPool pool{2};
  Batch batch = Batch::OfLengths(std::vector<int32_t>{5});
  Context ctx;
};

using Mamba2Test = Fixture;

TEST_F(Mamba2Test, StepsAreSoftplusWithinTheirLimits) {
  const Weight bias = Vector("dt_bias", {0.0f, 1.0f});
  const Weight a_log = Vector("A_log", {0.0f, std::log(4.0f)});
  const Tensor raw =
      Tensor::From(std::vector<float>{0.0f, -1.0f, 50.0f, -60.0f}, {2, 2});
  const Tensor x = Tensor::From(std::vector<float>{1, 2, 3, 4}, {2, 2, 1});
  const Mamba2Steps steps = Discretize(ctx, raw, x, bias, a_log, 0.01f, 10.0f);
  const float log2 = std::log(2.0f);
  const float delta[4] = {log2, log2, 10.0f, 0.01f};
  for (int i = 0; i < 4; ++i) {
    EXPECT_FLOAT_EQ(steps.value.data<float>()[i], delta[i] * (i + 1));
    EXPECT_FLOAT_EQ(steps.log_decay.data<float>()[i],
                    -delta[i] * (i % 2 ? 4.0f : 1.0f));
  }
}

TEST_F(Mamba2Test, GradientsOfStepsAndSkipMatchDifferences) {
  Random random(3);
  auto normal = [&](const Shape& shape) {
    Tensor t = Tensor::Empty(shape);
    for (int64_t i = 0; i < t.numel(); ++i) {
      t.mutable_data<float>()[i] = random.NextNormal();
    }
    return t;
  };
  Weight bias = Vector("dt_bias", {0.3f, -0.5f, 0.1f});
  Weight a_log = Vector("A_log", {0.2f, 1.1f, -0.4f});
  Weight d = Vector("D", {1.0f, -0.7f, 0.4f});
  const float inf = std::numeric_limits<float>::infinity();
  for (const GradientError& error : CheckGradients(
           ctx, {normal({5, 3}), normal({5, 3, 4})}, {&bias, &a_log, &d},
           [&](Context&c, const std::vector<Tensor>&in) {
             const Mamba2Steps steps =
                 Discretize(c, in[0], in[1], bias, a_log, 0.0f, inf);
             const Tensor y = AddSkip(c, steps.value, in[1], d);
             // Both results matter.
             const Tensor decay =
                 ReshapeView(c, steps.log_decay, Shape({5, 3, 1}));
             return GatedLinear(c, decay, decay,
                                ReshapeView(c, y, Shape({5, 3, 4})),
                                steps.log_decay, Tensor(), GatedLinearOptions())
                 .out;
           })) {
    EXPECT_LT(error.max_relative, 5e-3) << error.name;
  }
}

TEST_F(Mamba2Test, ConfigurationsAreChecked) {
  auto message = [](const char* rest) {
    const auto parsed = ParseFields<Mamba2Config>(
        Json::parse(std::string(R"({"heads": 6, "head_dim": 4,
                                    "state_dim": 8)") +
                    rest + "}"),
        "mamba2", {.dim = 16});
    return parsed.ok() ? std::string() : parsed.status().message();
  };
  EXPECT_EQ(message(""), "");
  EXPECT_EQ(message(R"(, "dt_max": null)"), "");
  EXPECT_NE(message(R"(, "groups": 4)").find("multiple of \"groups\""),
            std::string::npos);
  EXPECT_NE(message(R"(, "norm_groups": 5)").find("\"norm_groups\""),
            std::string::npos);
  EXPECT_NE(message(R"(, "conv_width": 1)").find("\"conv_width\""),
            std::string::npos);
  EXPECT_NE(message(R"(, "dt_min": 2, "dt_max": 1)").find("\"dt_min\""),
            std::string::npos);
}

TEST_F(Mamba2Test, StatesAndWeightsAreCutByHeadsAndGroups) {
  auto create = [](int groups) {
    auto mixer =
        CreateMamba2(Json::parse(R"({"heads": 4, "head_dim": 8, "state_dim": 16,
                        "groups": )" +
                                 std::to_string(groups) + "}"),
                     24);
    CHECK(mixer.ok()) << mixer.status().message();
    return std::move(mixer).value();
  };
  for (const int groups : {1, 2}) {
    for (const WeightSpec& spec : create(groups)->weights()) {
      const bool shared = spec.name.find("_B") != std::string::npos ||
                          spec.name.find("_C") != std::string::npos;
      const int axis = spec.name == "out_proj" ? 1
                       : shared && groups == 1 ? -1
                                               : 0;
      EXPECT_EQ(spec.shard.axis, axis) << spec.name;
    }
    const std::vector<StateSpec> state = create(groups)->state();
    EXPECT_EQ(state.at(3).shape, Shape({4, 8, 16}));
    EXPECT_EQ(state.at(1).shape, Shape({groups * 16, 3}));
    EXPECT_EQ(state.at(1).shard_axis, groups == 1 ? -1 : 0);
  }
}

}  // namespace
}  // namespace intarsia
