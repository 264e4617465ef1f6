#include "intarsia/mixers/rwkv4/rwkv4.h"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

namespace intarsia {
namespace {

TEST(Rwkv4, ConfigurationsAreChecked) {
  EXPECT_TRUE(
      ParseFields<Rwkv4Config>(Json::object(), "rwkv4", {.dim = 8}).ok());
  EXPECT_EQ(ParseFields<Rwkv4Config>(Json::object(), "rwkv4", {.dim = 8})
                .value()
                .width,
            8);
  const auto parsed = ParseFields<Rwkv4Config>(Json::parse(R"({"width": 0})"),
                                               "rwkv4", {.dim = 8});
  ASSERT_FALSE(parsed.ok());
  EXPECT_NE(parsed.status().message().find("\"width\""), std::string::npos);
}

// Keys far beyond the range of e^k give the mean that their differences give.
TEST(Rwkv4, LargeKeysDoNotOverflow) {
  ThreadPool pool(1);
  const Batch batch = Batch::OfLengths(std::vector<int32_t>{3});
  Context ctx;
  ctx.batch = &batch;
  ctx.pool = &pool;
  const auto weight = [](float value) {
    return Weight::F32({.name = "w", .shape = {1}},
                       Tensor::From(std::vector<float>{value}, {1}));
  };
  const Weight decay = weight(std::log(0.5f)), bonus = weight(0.0f);
  const auto run = [&](float offset) {
    const Tensor k = Tensor::From(
        std::vector<float>{offset + 1, offset + 2, offset}, {3, 1});
    const Tensor v = Tensor::From(std::vector<float>{4, -2, 7}, {3, 1});
    return Wkv(ctx, k, v, decay, bonus).ToVector<float>();
  };
  const std::vector<float> small = run(0), large = run(1000), tiny = run(-1000);
  for (int t = 0; t < 3; ++t) {
    EXPECT_NEAR(large[t], small[t], 1e-4);
    EXPECT_NEAR(tiny[t], small[t], 1e-4);
  }
  EXPECT_FLOAT_EQ(small[0], 4);
  // The state that comes in has faded once per token behind the key's own.
  const double e = std::exp(1.0);
  EXPECT_NEAR(small[1], (e * 4 - e * e * 2) / (e + e * e), 1e-5);
  const double f = std::exp(-0.5);
  EXPECT_NEAR(small[2], (f * e * 4 - e * e * 2 + 7) / (f * e + e * e + 1),
              1e-5);
}

}  // namespace
}  // namespace intarsia
