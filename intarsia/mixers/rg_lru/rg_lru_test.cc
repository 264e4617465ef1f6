#include "intarsia/mixers/rg_lru/rg_lru.h"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "intarsia/mixers/mixer_testing.h"

namespace intarsia {
namespace {

using testing::ExpectRefused;

Weight One(const std::string& name, float value) {
  WeightSpec spec;
  spec.name = name;
  spec.shape = Shape({1});
  spec.role = WeightSpec::Role::kVector;
  return Weight::F32(std::move(spec), Tensor::From<float>({value}, {1}));
}

// One channel and three tokens: the first is not scaled, and a decay near 1
// lets in what √(1 − a²) says, not what its rounding leaves.
TEST(RgLru, ThreeTokensByHand) {
  ThreadPool pool(1);
  const Batch batch = Batch::OfLengths(std::vector<int32_t>{3});
  Context ctx;
  ctx.batch = &batch;
  ctx.pool = &pool;
  const Weight param = One("recurrent_param", -12.0f);
  const Weight r_bias = One("r", 0.5f), g_bias = One("g", -0.25f);
  const auto column = [](std::vector<float> v) {
    return Tensor::From(v, Shape({3, 1}));
  };
  const float x[] = {2, -1, 3}, r[] = {0, 1, -2}, g[] = {1, 0.5f, 0};
  Tensor states = Tensor::Zeros({1, 1});
  const Tensor y = RgLruCore(ctx,
                             {column({x, x + 3}), column({r, r + 3}),
                              column({g, g + 3}), param, r_bias, g_bias},
                             &states);
  const auto sigmoid = [](double v) { return 1 / (1 + std::exp(-v)); };
  double h = 0;
  for (int t = 0; t < 3; ++t) {
    const double fade = -8 * sigmoid(r[t] + 0.5) * std::log1p(std::exp(-12.0));
    const double keep = t == 0 ? 1 : std::sqrt(-std::expm1(2 * fade));
    h = std::exp(fade) * h + keep * sigmoid(g[t] - 0.25) * x[t];
    EXPECT_NEAR(y.data<float>()[t], h, 1e-6) << t;
  }
  EXPECT_EQ(states.data<float>()[0], y.data<float>()[2]);
}

TEST(RgLru, ConfigurationsAreChecked) {
  ExpectRefused(CreateRgLru, R"({"heads": 2})", "\"inner\"");
  ExpectRefused(CreateRgLru, R"({"inner": 9, "heads": 2})",
                "multiple of \"heads\"");
  ExpectRefused(CreateRgLru, R"({"inner": 8, "heads": 2, "conv_width": 1})",
                "\"conv_width\"");
  const auto mixer =
      CreateRgLru(Json::parse(R"({"inner": 8, "heads": 2, "bias": false})"), 6);
  ASSERT_TRUE(mixer.ok()) << mixer.status().message();
  std::vector<std::string> names;
  for (const WeightSpec& spec : mixer.value()->weights()) {
    names.push_back(spec.name + spec.shape.ToString());
  }
  EXPECT_EQ(names,
            (std::vector<std::string>{
                "in_x[8, 6]", "in_y[8, 6]", "conv_x[8, 4]", "conv_x_bias[8]",
                "recurrent_gate[2, 4, 4]", "input_gate[2, 4, 4]",
                "recurrent_gate_bias[8]", "input_gate_bias[8]",
                "recurrent_param[8]", "out_proj[6, 8]"}));
  EXPECT_EQ(mixer.value()->state().at(1).shape, Shape({8}));
}

}  // namespace
}  // namespace intarsia
