#include "intarsia/channel_mixers/mlp/mlp.h"

#include "intarsia/mixers/mixer_testing.h"

namespace intarsia {
namespace {

using testing::ExpectRanksAddUp;
using testing::ExpectRefused;
using testing::MixerUnderTest;

TEST(Mlp, RanksAddUp) {
  const Batch batch = Batch::OfLengths(std::vector<int32_t>{9, 1});
  for (const char* config :
       {R"({"hidden": 24})", R"({"hidden": 24, "bias": false})"}) {
    const MixerUnderTest mlp(&CreateMlp, config, 16);
    for (int size : {2, 3, 4}) ExpectRanksAddUp(mlp, batch, size);
  }
}

TEST(Mlp, BiasesComeFirst) {
  // One channel: y = 2 relu(3 x + 1) − 5.
  MixerUnderTest mlp(&CreateMlp, R"({"hidden": 1, "activation": "relu"})", 1);
  ASSERT_EQ(mlp.weights.size(), 4u);
  const float values[] = {3, 1, 2, -5};
  for (int i = 0; i < 4; ++i) {
    mlp.weights[i].mutable_values().mutable_data<float>()[0] = values[i];
  }
  const Batch batch = Batch::OfLengths(std::vector<int32_t>{2});
  const Tensor x = Tensor::From<float>({2.0f, -1.0f}, {2, 1});
  const std::vector<float> y = mlp.Run(batch, x, mlp.weights).ToVector<float>();
  EXPECT_EQ(y, (std::vector<float>{9, -5}));
}

TEST(Mlp, RefusesBadConfigurations) {
  ExpectRefused(&CreateMlp, "{}", "[mlp] \"hidden\" is missing");
  ExpectRefused(&CreateMlp, R"({"hidden": "4"})", "\"hidden\" must be");
  ExpectRefused(&CreateMlp, R"({"hidden": 4, "activation": 1})",
                "\"activation\" must be a string");
  ExpectRefused(&CreateMlp, R"({"hidden": 4, "gate": true})", "gate");
}

}  // namespace
}  // namespace intarsia
