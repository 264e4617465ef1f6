#include "intarsia/mixers/mamba/mamba.h"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "intarsia/mixers/mixer_testing.h"

namespace intarsia {
namespace {

using testing::ExpectRefused;

Weight Vector(const std::string& name, std::vector<float> values,
              const Shape& shape) {
  WeightSpec spec;
  spec.name = name;
  spec.shape = shape;
  spec.role = WeightSpec::Role::kVector;
  return Weight::F32(std::move(spec), Tensor::From(values, shape));
}

struct Core {
  Weight a_log, d, dt_bias;
  Tensor Run(Context& ctx, const Tensor& x, const Tensor& dt, const Tensor& b,
             const Tensor& c, const Tensor& z, Tensor* states) const {
    return SelectiveScan(ctx, {x, dt, b, c, z, a_log, d, dt_bias}, states);
  }
};

// One channel of two states and two tokens, with a state carried in.
TEST(Mamba, TwoTokensByHand) {
  ThreadPool pool(1);
  const Batch batch = Batch::OfLengths(std::vector<int32_t>{2});
  Context ctx;
  ctx.batch = &batch;
  ctx.pool = &pool;
  const Core core = {Vector("A_log", {0.0f, std::log(3.0f)}, {1, 2}),
                     Vector("D", {0.5f}, {1}), Vector("dt_bias", {0.25f}, {1})};
  const auto row = [](std::vector<float> v, int64_t width) {
    const Shape shape({2, width});
    return Tensor::From(v, shape);
  };
  Tensor states = Tensor::From(std::vector<float>{1, -2}, {1, 1, 2});
  const Tensor y = core.Run(ctx, row({2, -1}, 1), row({-0.25, 0.75}, 1),
                            row({1, 2, 3, 4}, 2), row({5, 6, 7, 8}, 2),
                            row({1, -2}, 1), &states);
  const double steps[] = {std::log(2.0), std::log1p(std::exp(1.0))};
  const double x[] = {2, -1}, z[] = {1, -2};
  const double b[][2] = {{1, 2}, {3, 4}}, c[][2] = {{5, 6}, {7, 8}};
  double h[2] = {1, -2};
  for (int t = 0; t < 2; ++t) {
    double want = 0.5 * x[t];
    for (int n = 0; n < 2; ++n) {
      h[n] = std::exp(-steps[t] * (n == 0 ? 1 : 3)) * h[n] +
             steps[t] * b[t][n] * x[t];
      want += c[t][n] * h[n];
    }
    want *= z[t] / (1 + std::exp(-z[t]));
    EXPECT_NEAR(y.data<float>()[t], want, 2e-6 * std::abs(want)) << t;
  }
  for (int n = 0; n < 2; ++n) {
    EXPECT_NEAR(states.data<float>()[n], h[n], 2e-6 * std::abs(h[n]));
  }
}

// A gate of one: z with silu(z) = 1 gives what no gate gives.
TEST(Mamba, WithoutAGate) {
  ThreadPool pool(2);
  const Batch batch = Batch::OfLengths(std::vector<int32_t>{7, 3});
  Context ctx;
  ctx.batch = &batch;
  ctx.pool = &pool;
  Random random(1);
  const Core core = {Weight::F32({.name = "A_log", .shape = {40, 3}},
                                 testing::RandomTensor(random, {40, 3})),
                     Weight::F32({.name = "D", .shape = {40}},
                                 testing::RandomTensor(random, {40})),
                     Weight::F32({.name = "dt_bias", .shape = {40}},
                                 testing::RandomTensor(random, {40}))};
  const Tensor x = testing::RandomTensor(random, {10, 40});
  const Tensor dt = testing::RandomTensor(random, {10, 40});
  const Tensor b = testing::RandomTensor(random, {10, 3});
  const Tensor c = testing::RandomTensor(random, {10, 3});
  Tensor one = Tensor::Empty({10, 40});
  std::fill_n(one.mutable_data<float>(), one.numel(), 1.2784645427610738f);
  const Tensor free = core.Run(ctx, x, dt, b, c, Tensor(), nullptr);
  const Tensor gated = core.Run(ctx, x, dt, b, c, one, nullptr);
  for (int64_t i = 0; i < free.numel(); ++i) {
    ASSERT_NEAR(free.data<float>()[i], gated.data<float>()[i], 1e-5);
  }
}

TEST(Mamba, ConfigurationsAreChecked) {
  ExpectRefused(CreateMamba, R"({"state_dim": 4, "dt_rank": 1})", "\"inner\"");
  ExpectRefused(CreateMamba, R"({"inner": 8, "dt_rank": 1})", "\"state_dim\"");
  ExpectRefused(CreateMamba, R"({"inner": 8, "state_dim": 4})", "\"dt_rank\"");
  ExpectRefused(CreateMamba,
                R"({"inner": 8, "state_dim": 4, "dt_rank": 1,
                    "conv_width": 1})",
                "\"conv_width\"");
  ExpectRefused(CreateMamba,
                R"({"inner": 8, "state_dim": 4, "dt_rank": 1,
                    "norm": {"type": "no such"}})",
                "norm");
}

TEST(Mamba, WeightsFollowTheConfiguration) {
  const auto mixer =
      CreateMamba(Json::parse(R"({"inner": 8, "state_dim": 4, "dt_rank": 2,
                      "conv_bias": false, "norm": {"type": "rms"}})"),
                  6);
  ASSERT_TRUE(mixer.ok()) << mixer.status().message();
  std::vector<std::string> names;
  for (const WeightSpec& spec : mixer.value()->weights()) {
    names.push_back(spec.name + spec.shape.ToString());
  }
  EXPECT_EQ(names, (std::vector<std::string>{
                       "in_x[8, 6]", "in_z[8, 6]", "conv_x[8, 4]", "x_dt[2, 8]",
                       "x_B[4, 8]", "x_C[4, 8]", "dt_norm[2]", "B_norm[4]",
                       "C_norm[4]", "dt_proj[8, 2]", "dt_bias[8]",
                       "A_log[8, 4]", "D[8]", "out_proj[6, 8]"}));
  EXPECT_EQ(mixer.value()->state().at(0).shape, Shape({8, 3}));
  EXPECT_EQ(mixer.value()->state().at(1).shape, Shape({8, 4}));
}

}  // namespace
}  // namespace intarsia
