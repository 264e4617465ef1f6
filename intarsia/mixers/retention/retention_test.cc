#include "intarsia/mixers/retention/retention.h"

#include <gtest/gtest.h>

#include <cmath>

#include "intarsia/mixers/mixer_testing.h"

namespace intarsia {
namespace {

TEST(Retention, DecaysFollowTheHeadsNumber) {
  const Tensor decay = RetentionLogDecay(0, 4), later = RetentionLogDecay(2, 2);
  EXPECT_FLOAT_EQ(std::exp(decay.data<float>()[0]), 31.0f / 32.0f);
  EXPECT_FLOAT_EQ(std::exp(decay.data<float>()[1]), 63.0f / 64.0f);
  EXPECT_EQ(later.data<float>()[0], decay.data<float>()[2]);
  EXPECT_EQ(later.data<float>()[1], decay.data<float>()[3]);
}

TEST(Retention, WhatTheRotationNeeds) {
  using testing::ExpectRefused;
  constexpr char kOdd[] = R"({"heads": 2, "key_dim": 7, "value_dim": 8})";
  ExpectRefused(&CreateRetention, kOdd, "even \"key_dim\"");
  ExpectRefused(&CreateRetention,
                R"({"heads": 1, "key_dim": 8, "value_dim": 8,
                    "rope": {"scaling": {"type": "dynamic",
                             "original_max_positions": 8}}})",
                "the state has no tokens to turn again");
}

TEST(Retention, WeightsFollowTheConfiguration) {
  EXPECT_EQ(testing::WeightNames(&CreateRetention,
                                 R"({"heads": 2, "key_dim": 4, "value_dim": 6,
                    "norm": {"type": "layer"}, "gate": false})",
                                 10),
            (std::vector<std::string>{"q_proj[8, 10]", "k_proj[8, 10]",
                                      "v_proj[12, 10]", "norm[6]",
                                      "norm_bias[6]", "o_proj[10, 12]"}));
}

}  // namespace
}  // namespace intarsia
