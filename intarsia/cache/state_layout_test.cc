#include "intarsia/cache/state_layout.h"

#include <gtest/gtest.h>

namespace intarsia {
namespace {

StateSpec Keys(int64_t window = 0, int64_t first = 0) {
  StateSpec spec;
  spec.name = "k";
  spec.shape = {4, 64};
  spec.growth = StateSpec::Growth::kToken;
  spec.rollback = StateSpec::Rollback::kTruncate;
  spec.keep_last = window;
  spec.keep_first = first;
  spec.shard_axis = 0;
  return spec;
}

StateSpec Matrix() {
  StateSpec spec;
  spec.name = "S";
  spec.shape = {6, 8, 8};
  spec.shard_axis = 0;
  return spec;
}

StateLayout Layout(const std::vector<std::vector<StateSpec>>& sublayers,
                   const StateLayout::Options& options = {}) {
  auto layout = StateLayout::Make(sublayers, options);
  CHECK(layout.ok()) << layout.status().message();
  return std::move(layout).value();
}

std::string Refusal(const std::vector<std::vector<StateSpec>>& sublayers,
                    const StateLayout::Options& options = {}) {
  const auto layout = StateLayout::Make(sublayers, options);
  return layout.ok() ? "" : layout.status().message();
}

TEST(StateLayoutTest, StatesThatGrowAlikeShareAGroup) {
  StateSpec every = Keys();
  every.stride = 4;
  const StateLayout layout =
      Layout({{Keys(), Keys(128)}, {Matrix()}, {Keys(), Keys(128, 4), every}});
  ASSERT_EQ(layout.groups.size(), 4u);
  ASSERT_EQ(layout.stores.size(), 6u);
  EXPECT_EQ(layout.stores[0].group, layout.stores[3].group);
  EXPECT_NE(layout.stores[1].group, layout.stores[4].group);
  EXPECT_EQ(layout.stores[2].group, -1);
  constexpr int64_t kEntry = 4 * 64 * 2;
  EXPECT_EQ(layout.groups[0].entry_bytes, 2 * kEntry);
  EXPECT_EQ(layout.groups[1].entry_bytes, kEntry);
  EXPECT_EQ(layout.bytes_per_token(), 2 * kEntry + kEntry / 4);
  EXPECT_EQ(layout.bytes_per_sequence(), 6 * 64 * 4);
  EXPECT_EQ(layout.stores[3].name, "2.k");
}

TEST(StateLayoutTest, ASmallWindowHasSmallPages) {
  EXPECT_EQ(Layout({{Keys(20)}}).groups[0].page, 32);
  EXPECT_EQ(Layout({{Keys(4096)}}).groups[0].page, 64);
  EXPECT_EQ(Layout({{Keys()}}, {.page = 16}).groups[0].page, 16);
}

TEST(StateLayoutTest, AWindowHoldsTheSamePagesAtEveryDepth) {
  const StateLayout layout = Layout({{Keys(128, 70)}});
  const StateLayout::Group& group = layout.groups[0];
  EXPECT_EQ(group.PagesHeld(64, 512), 1);
  // Two pages of the first 70, (128 + 512) / 64 of the last and of a batch, and
  // one that is part of either.
  EXPECT_EQ(group.PagesHeld(1 << 20, 512), 2 + 10 + 1);
  EXPECT_EQ(group.FirstKept(100), 0);
  EXPECT_EQ(group.FirstKept(1000), 872);
  const int64_t at_8k = layout.Bytes(
      {.slots = 2, .tokens = 2 * 8192, .context = 8192, .step = 512});
  EXPECT_EQ(
      at_8k,
      layout.Bytes(
          {.slots = 2, .tokens = 2 << 20, .context = 1 << 20, .step = 512}));
  EXPECT_EQ(at_8k, 2 * 13 * 64 * 4 * 64 * 2);
  EXPECT_EQ(layout.window_bytes(8192, 512), at_8k / 2);
}

TEST(StateLayoutTest, TheMostTokensThatFit) {
  const StateLayout layout = Layout({{Keys()}, {Matrix()}});
  const PoolSize size{.slots = 2, .tokens = 8192, .context = 4096, .step = 512};
  const int64_t whole = layout.Bytes(size);
  EXPECT_EQ(layout.FitTokens(size, whole), 8192);
  EXPECT_EQ(layout.FitTokens(size, whole - 1), 8192 - 64);
  const int64_t rows = 2 * layout.bytes_per_sequence();
  EXPECT_EQ(layout.FitTokens(size, rows + 64 * 512), 64);
  EXPECT_EQ(layout.FitTokens(size, rows + 64 * 512 - 1), 0);
}

TEST(StateLayoutTest, Int8HasAScaleForEach32Channels) {
  StateSpec odd = Keys();
  odd.name = "odd";
  odd.shape = {3, 20};
  const StateLayout layout =
      Layout({{Keys(), odd}}, {.token_dtype = DType::kI8});
  EXPECT_EQ(layout.stores[0].entry_bytes, 4 * 64 + 4 * 2 * 2);
  EXPECT_EQ(layout.stores[1].entry_bytes, 3 * 20 + 3 * 2);
  const auto parts = layout.Parts(100);
  ASSERT_EQ(parts.size(), 4u);
  EXPECT_EQ(parts[1].name, "0.k.scale");
  EXPECT_EQ(parts[1].shape, Shape({100, 4, 2}));
  EXPECT_EQ(parts[1].dtype, DType::kBF16);
  EXPECT_EQ(parts[3].shape, Shape({100, 3, 1}));
}

TEST(StateLayoutTest, ARankKeepsItsShard) {
  const StateLayout layout = Layout({{Keys(), Matrix()}}, {.ranks = 2});
  EXPECT_EQ(layout.stores[0].spec.shape, Shape({2, 64}));
  EXPECT_EQ(layout.stores[1].spec.shape, Shape({3, 8, 8}));
  StateSpec copy = Matrix();
  copy.shard_axis = -1;
  EXPECT_EQ(Layout({{copy}}, {.ranks = 2}).stores[0].spec.shape,
            Shape({6, 8, 8}));
  EXPECT_NE(Refusal({{Keys()}, {Matrix()}}, {.ranks = 4}).find("1.S"),
            std::string::npos);
}

TEST(StateLayoutTest, SharersNameTheOwnersStore) {
  StateSpec shared = Keys(256);
  shared.owner = 0;
  const StateLayout layout = Layout({{Keys(128)}, {Matrix()}, {shared}});
  ASSERT_EQ(layout.stores.size(), 2u);
  EXPECT_EQ(layout.stores_of[2], layout.stores_of[0]);
  // The wider window is kept.
  EXPECT_EQ(layout.groups[layout.stores[0].group].keep_last, 256);
  EXPECT_EQ(layout.Parts(10).size(), 2u);

  StateSpec other = shared;
  other.shape = {4, 32};
  EXPECT_NE(Refusal({{Keys()}, {}, {other}}).find("differs from 0.k"),
            std::string::npos);
  StateSpec absent = shared;
  absent.name = "v";
  EXPECT_NE(Refusal({{Keys()}, {absent}}).find("no such state"),
            std::string::npos);
  StateSpec later = shared;
  later.owner = 1;
  EXPECT_NE(Refusal({{Keys()}, {later}}).find("not an earlier"),
            std::string::npos);
}

TEST(StateLayoutTest, RefusesWhatPoolsCannotKeep) {
  StateSpec selected = Keys();
  selected.growth = StateSpec::Growth::kSelected;
  EXPECT_NE(Refusal({{selected}}).find("selected"), std::string::npos);
  StateSpec wide = Matrix();
  wide.dtype = DType::kF64;
  EXPECT_NE(Refusal({{wide}}).find("f64"), std::string::npos);
}

TEST(StateLayoutTest, PartsHaveTheEntriesThatAreKept) {
  const StateLayout layout = Layout({{Keys(128, 4), Matrix()}});
  const auto early = layout.Parts(100), late = layout.Parts(1000);
  EXPECT_EQ(early[0].shape, Shape({100, 4, 64}));
  EXPECT_EQ(late[0].shape, Shape({132, 4, 64}));
  EXPECT_EQ(late[0].whole, Shape({1000, 4, 64}));
  EXPECT_EQ(late[1].shape, Shape({6, 8, 8}));
}

}  // namespace
}  // namespace intarsia
