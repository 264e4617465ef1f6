#include "intarsia/channel_mixers/glu/glu.h"

#include "intarsia/mixers/mixer_testing.h"

namespace intarsia {
namespace {

using testing::ExpectRanksAddUp;
using testing::ExpectRefused;
using testing::MixerUnderTest;

TEST(Glu, RanksAddUp) {
  const Batch batch = Batch::OfLengths(std::vector<int32_t>{9, 1});
  for (const char* config :
       {R"({"hidden": 24})", R"({"hidden": 24, "bias": true})"}) {
    const MixerUnderTest glu(&CreateGlu, config, 16);
    for (int size : {2, 3, 4}) ExpectRanksAddUp(glu, batch, size);
  }
}

TEST(Glu, AcceptsAnyFormat) {
  const MixerUnderTest glu(&CreateGlu, R"({"hidden": 96})", 64);
  const Batch batch = Batch::OfLengths(std::vector<int32_t>{5});
  const Tensor x = glu.Input(batch);
  ThreadPool pool(2);
  const std::vector<double> want = glu.Reference(batch, x);
  const std::pair<const char*, double> formats[] = {
      {"f32", 2e-6}, {"bf16", 2e-2}, {"f16", 2e-3}, {"q8_0", 2e-2}};
  for (const auto& [name, tolerance] : formats) {
    const Format* format = FindFormat(name);
    ASSERT_NE(format, nullptr) << name;
    std::vector<Weight> weights;
    for (const Weight& w : glu.weights) {
      weights.emplace_back(w.spec(), format,
                           format->Quantize(pool, w.values()));
    }
    EXPECT_TRUE(
        testing::Near(glu.Run(batch, x, weights, &pool), want, tolerance))
        << name;
  }
}

TEST(Glu, RefusesBadConfigurations) {
  ExpectRefused(&CreateGlu, "{}", "[glu] \"hidden\" is missing");
  ExpectRefused(&CreateGlu, R"({"hidden": 0})", "\"hidden\" must be a whole");
  ExpectRefused(&CreateGlu, R"({"hidden": 1e300})", "\"hidden\" must be");
  ExpectRefused(&CreateGlu, R"({"hidden": 4, "activation": "sulu"})", "sulu");
  ExpectRefused(&CreateGlu, R"({"hidden": 4, "bias": 1})", "\"bias\" must be");
  ExpectRefused(&CreateGlu, R"({"hidden": 4, "hiden": 1})", "hiden");
}

}  // namespace
}  // namespace intarsia
