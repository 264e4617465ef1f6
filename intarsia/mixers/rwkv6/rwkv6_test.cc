#include "intarsia/mixers/rwkv6/rwkv6.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace intarsia {
namespace {

TEST(Rwkv6, ConfigurationsAreChecked) {
  const auto message = [](const char* more) {
    const std::string text =
        std::string(R"({"heads": 2, "head_dim": 8)") + more + "}";
    const auto parsed =
        ParseFields<Rwkv6Config>(Json::parse(text), "rwkv6", {.dim = 16});
    return parsed.ok() ? std::string() : parsed.status().message();
  };
  EXPECT_EQ(message(""), "");
  EXPECT_EQ(message(R"(, "mix_rank": 0, "decay_rank": 0,
                      "mix_of": "current")"),
            "");
  EXPECT_NE(message(R"(, "decay_rank": 0)").find("need decays by token"),
            std::string::npos);
  EXPECT_NE(message(R"(, "mix_of": "current")").find("\"mix_rank\" must be 0"),
            std::string::npos);
  EXPECT_NE(message(R"(, "mix_of": "next")").find("\"mix_of\" must be"),
            std::string::npos);
}

TEST(Rwkv6, WeightsAndStateFollowTheConfiguration) {
  const auto mixer =
      CreateRwkv6(Json::parse(R"({"heads": 2, "head_dim": 3, "mix_rank": 0,
                                  "decay_rank": 0, "mix_of": "current"})"),
                  6);
  ASSERT_TRUE(mixer.ok()) << mixer.status().message();
  std::vector<std::string> names;
  for (const WeightSpec& spec : mixer.value()->weights()) {
    names.push_back(spec.name + spec.shape.ToString());
  }
  EXPECT_EQ(names,
            (std::vector<std::string>{
                "x_r[6]", "x_k[6]", "x_v[6]", "x_g[6]", "r_proj[6, 6]",
                "k_proj[6, 6]", "v_proj[6, 6]", "g_proj[6, 6]", "decay[6]",
                "bonus[2, 3]", "norm[6]", "norm_bias[6]", "o_proj[6, 6]"}));
  EXPECT_EQ(mixer.value()->state().at(1).shape, Shape({2, 3, 3}));
}

}  // namespace
}  // namespace intarsia
