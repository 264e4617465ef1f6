#include "intarsia/mixers/gla/gla.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace intarsia {
namespace {

TEST(Gla, ConfigurationsAreChecked) {
  const auto message = [](const char* more) {
    const std::string text =
        std::string(R"({"heads": 2, "key_dim": 8, "value_dim": 8)") + more +
        "}";
    const auto parsed =
        ParseFields<GlaConfig>(Json::parse(text), "gla", {.dim = 16});
    return parsed.ok() ? std::string() : parsed.status().message();
  };
  EXPECT_EQ(message(""), "");
  EXPECT_NE(message(R"(, "normalizer": 0)").find("must be positive"),
            std::string::npos);
  EXPECT_NE(message(R"(, "decay_rank": 0)").find("\"decay_rank\""),
            std::string::npos);
  EXPECT_NE(message(R"(, "gate": "no such")"), "");
}

TEST(Gla, WeightsAndStateFollowTheConfiguration) {
  const auto mixer =
      CreateGla(Json::parse(R"({"heads": 2, "key_dim": 4, "value_dim": 6,
                      "decay_rank": 3, "gate": false})"),
                10);
  ASSERT_TRUE(mixer.ok());
  std::vector<std::string> names;
  for (const WeightSpec& spec : mixer.value()->weights()) {
    names.push_back(spec.name + spec.shape.ToString());
  }
  EXPECT_EQ(names, (std::vector<std::string>{"q_proj[8, 10]", "k_proj[8, 10]",
                                             "v_proj[12, 10]", "decay_a[3, 10]",
                                             "decay_b[8, 3]", "decay_b_bias[8]",
                                             "norm[6]", "o_proj[10, 12]"}));
  EXPECT_EQ(mixer.value()->state().at(0).shape, Shape({2, 4, 6}));
}

// Biases that let nothing fade leave plain linear attention: a token's output
// under its own key is what all tokens before wrote there.
TEST(Gla, WithoutFadingItIsLinearAttention) {
  const auto mixer =
      CreateGla(Json::parse(R"({"heads": 1, "key_dim": 1, "value_dim": 1,
                      "decay_rank": 1, "norm": {"type": "none"},
                      "gate": false})"),
                1);
  ASSERT_TRUE(mixer.ok());
  const Batch batch = Batch::OfLengths(std::vector<int32_t>{3});
  // q = k = v = x, y = Σ x_m² · x_n.
  const std::vector<double> y = mixer.value()->Reference(
      batch, {{1}, {1}, {1}, {0}, {0}, {60}, {1}}, {1, 2, 3});
  EXPECT_NEAR(y[0], 1, 1e-9);
  EXPECT_NEAR(y[1], 2 * 5, 1e-9);
  EXPECT_NEAR(y[2], 3 * 14, 1e-9);
}

}  // namespace
}  // namespace intarsia
