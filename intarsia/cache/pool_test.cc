#include "intarsia/cache/pool.h"

#include <gtest/gtest.h>

#include <set>

#include "intarsia/core/random.h"

namespace intarsia {
namespace {

StateSpec PerToken(const char* name) {
  StateSpec spec;
  spec.name = name;
  spec.role = StateSpec::Role::kKey;
  spec.shape = {2, 3};
  spec.growth = StateSpec::Growth::kToken;
  return spec;
}

StateSpec PerSequence(const char* name, float init) {
  StateSpec spec;
  spec.name = name;
  spec.shape = {4, 5};
  spec.init = init;
  return spec;
}

StatePool MakePool(int slots, int64_t tokens) {
  return StatePool({{PerToken("k"), PerToken("v")}, {PerSequence("S", 0.5f)}},
                   {.slots = slots,
                    .tokens = tokens,
                    .page = 64,
                    .token_dtype = DType::kF32,
                    .device = Cpu()});
}

// A batch of one segment of `length` tokens that starts at `position`.
Batch OneSegment(int slot, int32_t position, int32_t length) {
  Batch batch;
  batch.Add(std::vector<int32_t>(length, 1), position, slot);
  return batch;
}

void Fill(StatePool& pool, int slot, int32_t length, float base) {
  ASSERT_TRUE(pool.Reserve(slot, length));
  const Batch batch = OneSegment(slot, 0, length);
  std::vector<StateView> views = pool.View(batch);
  std::vector<float> rows(length * 6);
  for (size_t i = 0; i < rows.size(); ++i) rows[i] = base + float(i);
  for (int s = 0; s < 2; ++s) {
    AppendRows(batch, Tensor::From(rows, {length, 2, 3}), &views[0].tokens(s));
  }
  Tensor state = views[1].sequence(0).Select(0, slot);
  std::fill_n(state.mutable_data<float>(), state.numel(), base);
  pool.set_length(slot, length);
}

TEST(StatePoolTest, CountsItsBytes) {
  const StatePool pool = MakePool(3, 130);
  EXPECT_EQ(pool.bytes_per_token(), 2 * 6 * 4);
  EXPECT_EQ(pool.bytes_per_sequence(), 20 * 4);
  EXPECT_EQ(pool.free_pages(), 3);
  EXPECT_EQ(pool.bytes(), 3 * 64 * 48 + 3 * 80);
}

TEST(StatePoolTest, SlotsStartAtTheirInitValue) {
  StatePool pool = MakePool(2, 128);
  const int slot = pool.Acquire();
  Fill(pool, slot, 10, 7.0f);
  pool.Release(slot);
  ASSERT_EQ(pool.Acquire(), slot);
  EXPECT_EQ(pool.length(slot), 0);
  const auto views = pool.View(OneSegment(slot, 0, 0));
  for (float x :
       views[1].entries[0].sequence.Select(0, slot).ToVector<float>()) {
    EXPECT_EQ(x, 0.5f);
  }
}

TEST(StatePoolTest, RunsOutWithoutLosingAnything) {
  StatePool pool = MakePool(2, 128);
  const int a = pool.Acquire(), b = pool.Acquire();
  EXPECT_EQ(pool.Acquire(), -1);
  EXPECT_TRUE(pool.Reserve(a, 64));
  EXPECT_FALSE(pool.Reserve(b, 65));
  EXPECT_EQ(pool.free_pages(), 1);
  EXPECT_TRUE(pool.Reserve(b, 64));
  pool.Release(a);
  pool.Release(b);
  EXPECT_EQ(pool.free_pages(), 2);
  EXPECT_EQ(pool.free_slots(), 2);
  EXPECT_THROW(pool.Release(a), CheckError);
}

// Under random arrivals no page has two owners and all of them return.
TEST(StatePoolTest, PagesHaveOneOwner) {
  StatePool pool = MakePool(5, 64 * 12);
  Random random(3);
  std::set<int> open;
  for (int step = 0; step < 2000; ++step) {
    if (random.NextBelow(3) == 0 && !open.empty()) {
      const int slot = *std::next(open.begin(), random.NextBelow(open.size()));
      pool.Release(slot);
      open.erase(slot);
    } else if (const int slot = pool.Acquire(); slot >= 0) {
      open.insert(slot);
      pool.Reserve(slot, 1 + random.NextBelow(300));
    }
    if (open.empty()) continue;
    std::multiset<int32_t> owned;
    const auto views = pool.View(OneSegment(*open.begin(), 0, 0));
    for (const auto& table : views[0].entries[0].tokens.table) {
      owned.insert(table.begin(), table.end());
    }
    ASSERT_EQ(owned.size(),
              std::set<int32_t>(owned.begin(), owned.end()).size());
    ASSERT_EQ(static_cast<int64_t>(owned.size()) + pool.free_pages(), 12);
  }
  for (int slot : open) pool.Release(slot);
  EXPECT_EQ(pool.free_pages(), 12);
}

TEST(StatePoolTest, SavesAndRestoresTheSameBits) {
  StatePool pool = MakePool(3, 64 * 6);
  const int first = pool.Acquire();
  const int other = pool.Acquire();  // so that the pages interleave
  Fill(pool, first, 70, 1.0f);
  Fill(pool, other, 90, 1000.0f);
  const auto saved = pool.Save(first);
  const int second = pool.Acquire();
  ASSERT_TRUE(pool.Restore(second, saved, 70).ok());
  EXPECT_EQ(pool.length(second), 70);
  const auto again = pool.Save(second);
  ASSERT_EQ(saved.size(), again.size());
  for (size_t i = 0; i < saved.size(); ++i) {
    EXPECT_EQ(saved[i].name, again[i].name);
    EXPECT_EQ(saved[i].values.ToVector<float>(),
              again[i].values.ToVector<float>());
  }
}

TEST(StatePoolTest, RefusesStateOfAnotherModel) {
  StatePool pool = MakePool(2, 256);
  const int slot = pool.Acquire();
  Fill(pool, slot, 8, 1.0f);
  auto saved = pool.Save(slot);
  auto missing = saved;
  missing.pop_back();
  auto extra = saved;
  extra.push_back({"9.x", Tensor::Zeros({1})});
  auto shape = saved;
  shape[0].values = Tensor::Zeros({8, 3, 2});
  for (const auto& bad : {missing, extra, shape}) {
    const int fresh = pool.Acquire();
    EXPECT_FALSE(pool.Restore(fresh, bad, 8).ok());
    pool.Release(fresh);
  }
}

}  // namespace
}  // namespace intarsia
