#include "intarsia/mixers/short_conv/short_conv.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "intarsia/mixers/mixer_testing.h"

namespace intarsia {
namespace {

// One channel of three taps: y_t = out · c_t Σ_j w_{2−j} b_{t−j} x_{t−j}.
TEST(ShortConv, ThreeTokensByHand) {
  testing::MixerUnderTest mixer(&CreateShortConv, "{}", 1);
  const float values[] = {2, 3, 5};  // in_B, in_C, in_x
  for (int i = 0; i < 3; ++i) {
    mixer.weights[i].mutable_values().mutable_data<float>()[0] = values[i];
  }
  float* taps = mixer.weights[3].mutable_values().mutable_data<float>();
  taps[0] = 7, taps[1] = 11, taps[2] = 13;  // oldest first
  mixer.weights[4].mutable_values().mutable_data<float>()[0] = 0.5f;
  const Batch batch = Batch::OfLengths(std::vector<int32_t>{3});
  const Tensor x = Tensor::From<float>({1, -2, 3}, {3, 1});
  const Tensor y = mixer.Run(batch, x, mixer.weights);
  const float in[] = {10, 40, 90};  // b x
  EXPECT_FLOAT_EQ(y.data<float>()[0], 0.5f * 3 * 13 * in[0]);
  EXPECT_FLOAT_EQ(y.data<float>()[1], 0.5f * -6 * (13 * in[1] + 11 * in[0]));
  EXPECT_FLOAT_EQ(y.data<float>()[2],
                  0.5f * 9 * (13 * in[2] + 11 * in[1] + 7 * in[0]));
}

TEST(ShortConv, ConfigurationsAreChecked) {
  testing::ExpectRefused(CreateShortConv, R"({"width": 1})", "\"width\"");
  testing::ExpectRefused(CreateShortConv, R"({"taps": 3})", "taps");
  const auto mixer = CreateShortConv(Json::parse(R"({"width": 5})"), 6);
  ASSERT_TRUE(mixer.ok()) << mixer.status().message();
  EXPECT_EQ(mixer.value()->state().at(0).shape, Shape({6, 4}));
}

}  // namespace
}  // namespace intarsia
