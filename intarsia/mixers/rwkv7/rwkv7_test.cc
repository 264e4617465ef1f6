#include "intarsia/mixers/rwkv7/rwkv7.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace intarsia {
namespace {

TEST(Rwkv7, ConfigurationsAreChecked) {
  const auto message = [](const char* more) {
    const std::string text =
        std::string(R"({"heads": 2, "head_dim": 8)") + more + "}";
    const auto parsed =
        ParseFields<Rwkv7Config>(Json::parse(text), "rwkv7", {.dim = 16});
    return parsed.ok() ? std::string() : parsed.status().message();
  };
  EXPECT_EQ(message(""), "");
  EXPECT_NE(message(R"(, "values": "last")").find("\"values\" must be"),
            std::string::npos);
  EXPECT_NE(message(R"(, "decay_rank": 0)").find("\"decay_rank\""),
            std::string::npos);
  EXPECT_NE(message(R"(, "norm_eps": -1)").find("\"norm_eps\""),
            std::string::npos);
}

TEST(Rwkv7, LaterLayersReadWhatTheFirstWrites) {
  const auto create = [](const char* values) {
    return CreateRwkv7(Json::parse(std::string(R"({"heads": 2, "head_dim": 3,
                           "values": ")") +
                                   values + "\"}"),
                       6)
        .value();
  };
  const auto own = create("own"), first = create("first"),
             later = create("later");
  EXPECT_TRUE(own->writes().empty() && own->reads().empty());
  ASSERT_EQ(first->writes().size(), 1u);
  ASSERT_EQ(later->reads().size(), 1u);
  EXPECT_EQ(first->writes()[0].name, later->reads()[0].name);
  EXPECT_EQ(first->writes()[0].shape, Shape({6}));
  EXPECT_EQ(later->weights().size(), first->weights().size() + 3);
  EXPECT_EQ(first->state().at(1).shape, Shape({2, 3, 3}));
  EXPECT_EQ(first->state().at(0).role, StateSpec::Role::kShift);
}

}  // namespace
}  // namespace intarsia
