#include "intarsia/mixers/mla/mla.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace intarsia {
namespace {

TEST(Mla, ConfigurationsAreChecked) {
  const auto message = [](const char* more) {
    const std::string text =
        std::string(R"({"heads": 2, "rank": 8, "key_dim": 4, "value_dim": 4)") +
        more + "}";
    const auto parsed =
        ParseFields<MlaConfig>(Json::parse(text), "mla", {.dim = 16});
    return parsed.ok() ? std::string() : parsed.status().message();
  };
  EXPECT_EQ(message(R"(, "rope_dim": 2)"), "");
  EXPECT_NE(message("").find("\"rope_dim\""), std::string::npos);
  EXPECT_NE(message(R"(, "rope_dim": 3)").find("must be even"),
            std::string::npos);
  EXPECT_EQ(message(R"(, "rope_dim": 3, "rope": false)"), "");
  EXPECT_NE(message(R"(, "rope_dim": 2, "scale": -1)").find("\"scale\""),
            std::string::npos);
}

// DeepSeek-V3's: what is kept of a token.
TEST(Mla, KeepsOneEntryForAllHeads) {
  const auto mixer =
      CreateMla(Json::parse(R"({"heads": 128, "query_rank": 1536, "rank": 512,
                      "key_dim": 128, "rope_dim": 64, "value_dim": 128})"),
                7168);
  ASSERT_TRUE(mixer.ok());
  ASSERT_EQ(mixer.value()->state().size(), 1u);
  EXPECT_EQ(mixer.value()->state()[0].shape.numel(), 576);
  EXPECT_EQ(mixer.value()->state()[0].growth, StateSpec::Growth::kToken);
}

// Two heads of two rows, three columns.
TEST(Mla, HeadsGoThroughTheirOwnParts) {
  ThreadPool pool(1);
  Context ctx;
  ctx.pool = &pool;
  const Weight w = Weight::F32(
      {.name = "w", .shape = {4, 3}},
      Tensor::From(std::vector<float>{1, 2, 3, 4, 5, 6, 1, 0, 0, 0, 1, 0},
                   {4, 3}));
  const Tensor x = Tensor::From(std::vector<float>{10, 1, 7, 9}, {1, 2, 2});
  EXPECT_EQ(MapHeads(ctx, x, w, false).ToVector<float>(),
            (std::vector<float>{14, 25, 36, 7, 9, 0}));
  // Channels behind the columns are not read.
  const Tensor wide =
      Tensor::From(std::vector<float>{1, 1, 1, 50, 2, 3, 4, 60}, {1, 2, 4});
  EXPECT_EQ(MapHeads(ctx, wide, w, true).ToVector<float>(),
            (std::vector<float>{6, 15, 2, 3}));
}

}  // namespace
}  // namespace intarsia
