// What the conformance suite does not see of mixers made of mixers: errors, and
// how a model joins them.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "intarsia/model/model.h"
#include "intarsia/wiring/primitives.h"
#include "intarsia/wiring/recursion/recursion.h"
#include "intarsia/wiring/stack/stack.h"

namespace intarsia {
namespace {

Status Create(const std::string& sublayers, const std::string& more = "") {
  const auto config = ParseModelConfig(
      Json::parse(R"({"intarsia": 1, "vocab_size": 11, "dim": 12, )" + more +
                  R"("blocks": [{"sublayers": )" + sublayers + "}]}"));
  if (!config.ok()) return config.status();
  return Model::Create(*config).status();
}

void ExpectRefused(const std::string& sublayers, const std::string& what,
                   const std::string& more = "") {
  const Status status = Create(sublayers, more);
  ASSERT_FALSE(status.ok()) << sublayers;
  EXPECT_NE(status.message().find(what), std::string::npos) << status.message();
}

TEST(WiringTest, NamedValuesAreDeclared) {
  constexpr char kJoined[] = R"([{"mixer": "linear", "config": {"out_dim": 12},
      "concat": [{"name": "memory", "dim": 12}]}])";
  ExpectRefused(kJoined, "\"memory\" [12], which nobody wrote before");
  EXPECT_TRUE(Create(kJoined, R"("streams": ["memory"], )").ok());
  ExpectRefused(R"([{"mixer": "linear", "config": {"out_dim": 12},
                     "concat": [{"name": "embedding", "dim": 10}]}])",
                "which is [12]");
  ExpectRefused(R"([{"mixer": "linear",
                     "concat": [{"name": "embedding", "dim": 12}]}])",
                "24 wide, the residual 12");
  ExpectRefused(R"([{"mixer": "linear", "to": "memory"}])", "nobody wrote");
  ExpectRefused(R"([{"mixer": "linear", "save_as": "embedding"}])", "stays");
  ExpectRefused(R"([{"mixer": "linear"}])", "\"streams\"",
                R"("streams": ["embedding"], )");
  EXPECT_TRUE(Create(R"([{"mixer": "linear", "save_as": "a"},
                         {"mixer": "linear", "from": "a", "to": "a"}])")
                  .ok());
}

TEST(WiringTest, SharedWeightsHaveOneShape) {
  constexpr char kUse[] = R"({"mixer": "shared", "config":
      {"name": "u", "mixer": "glu", "config": {"hidden": 6}}})";
  constexpr char kOther[] = R"({"mixer": "shared", "config":
      {"name": "u", "mixer": "glu", "config": {"hidden": 7}}})";
  const std::string use = kUse, other = kOther;
  EXPECT_TRUE(Create("[" + use + "," + use + "]").ok());
  ExpectRefused("[" + use + "," + other + "]",
                "blocks.0.1.gate is to be shared.u.gate, which is [6, 12]");
  ExpectRefused(R"([{"mixer": "shared", "config": {"name": "u",
      "mixer": "glu", "config": {"hidden": 6},
      "lora": [{"weights": ["gate", "down"], "rank": 2}]}}])",
                "down has another input than gate");
  ExpectRefused(R"([{"mixer": "shared", "config": {"name": "u",
      "mixer": "glu", "config": {"hidden": 6},
      "lora": [{"weights": ["router"], "rank": 2}]}}])",
                "\"router\", which is no matrix of glu");
  ExpectRefused(R"([{"mixer": "shared", "config": {"name": "a.b",
      "mixer": "glu", "config": {"hidden": 6}}}])",
                "\"name\"");
}

TEST(WiringTest, PartsMustFit) {
  ExpectRefused(R"([{"mixer": "parallel", "config": {"branches": [
      {"mixer": "linear"}, {"mixer": "linear", "config": {"out_dim": 7}}]}}])",
                "branches[1] returns 7 channels, others 12");
  ExpectRefused(R"([{"mixer": "routed", "config": {"branches": [
      {"mixer": "linear"}]}}])",
                "2 to 64");
  ExpectRefused(R"([{"mixer": "routed", "config": {"branches": [
      {"mixer": "linear"}, {"mixer": "linear", "config": {"out_dim": 7}}]}}])",
                "as many channels");
  ExpectRefused(R"([{"mixer": "recursion", "config": {"times": 2,
      "sublayers": [{"mixer": "telepathy"}]}}])",
                "telepathy");
}

TEST(WiringTest, NestingEnds) {
  Json config = {{"mixer", "linear"}};
  for (int i = 0; i <= kMaxNesting; ++i) {
    config = {{"mixer", "stack"},
              {"config", {{"sublayers", Json::array({config})}}}};
    if (i == kMaxNesting / 2) {
      EXPECT_TRUE(Create(Json::array({config}).dump()).ok());
    }
  }
  ExpectRefused(Json::array({config}).dump(), "deep");
}

// A small file must not ask for an endless step.
TEST(Recursion, NestedPassesMultiplyAndAreLimited) {
  std::string config =
      R"({"times": 200, "sublayers": [{"mixer": "glu", "config": {"hidden": 4}}]})";
  for (int depth = 0; depth < 2; ++depth) {
    config =
        R"({"times": 200, "sublayers": [{"mixer": "recursion", "config": )" +
        config + "}]}";
  }
  const auto mixer = CreateRecursion(Json::parse(config), 8);
  ASSERT_FALSE(mixer.ok());
  EXPECT_NE(mixer.status().message().find("\"times\""), std::string::npos)
      << mixer.status().message();
}

TEST(Stack, WidthsOfNamedValuesMustFit) {
  const auto mixer = CreateStack(Json::parse(R"({"sublayers": [
      {"mixer": "mlp", "config": {"hidden": 4}, "save_as": "a"},
      {"mixer": "attention", "concat": [{"name": "a", "dim": 7}],
       "config": {"heads": 2, "head_dim": 8, "out_dim": 12}}]})"),
                                 12);
  ASSERT_FALSE(mixer.ok());
  EXPECT_NE(mixer.status().message().find("\"a\""), std::string::npos)
      << mixer.status().message();
}

}  // namespace
}  // namespace intarsia
