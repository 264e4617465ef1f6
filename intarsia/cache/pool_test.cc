#include "intarsia/cache/pool.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
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

TEST(StatePoolTest, TakesNoMoreThanItsBudget) {
  const std::vector<std::vector<StateSpec>> specs = {{PerToken("k")},
                                                     {PerSequence("S", 0)}};
  const auto make = [&](int64_t bytes) {
    return std::make_unique<StatePool>(
        specs, StatePool::Options{.slots = 3,
                                  .tokens = 640,
                                  .token_dtype = DType::kF32,
                                  .device = Cpu(),
                                  .bytes = bytes});
  };
  constexpr int64_t kPage = 64 * 24, kRows = 3 * 80;
  EXPECT_EQ(make(0)->free_pages(), 10);
  EXPECT_EQ(make(1 << 20)->free_pages(), 10);
  const auto pool = make(kRows + 4 * kPage + 5);
  EXPECT_EQ(pool->free_pages(), 4);
  EXPECT_EQ(pool->bytes(), kRows + 4 * kPage);
  EXPECT_EQ(pool->tokens(), 256);
  EXPECT_THROW(make(kRows + kPage - 1), EngineError);
}

TEST(StatePoolTest, KeepsIntegersAsTheyAre) {
  StateSpec counter = PerSequence("count", 7);
  counter.dtype = DType::kI32;
  StateSpec ids = PerToken("ids");
  ids.dtype = DType::kI32;
  ids.shape = {3};
  StatePool pool(
      {{counter, ids}},
      {.slots = 2, .tokens = 128, .token_dtype = DType::kI8, .device = Cpu()});
  const int slot = pool.Acquire();
  ASSERT_TRUE(pool.Reserve(slot, 2));
  auto views = pool.View(OneSegment(slot, 0, 2));
  EXPECT_EQ(views[0].sequence(0).Select(0, slot).ToVector<int32_t>(),
            std::vector<int32_t>(20, 7));
  const std::vector<int32_t> values = {1 << 30, -5, 0, 16777217, 2, 3};
  AppendRows(OneSegment(slot, 0, 2), Tensor::From(values, {2, 3}),
             &views[0].tokens(1));
  std::vector<int32_t> counts(20);
  for (int i = 0; i < 20; ++i) counts[i] = (1 << 24) + 2 * i + 1;  // no float
  views[0].sequence(0).Select(0, slot).CopyFrom(Tensor::From(counts, {4, 5}));
  pool.set_length(slot, 2);
  const auto saved = pool.Save(slot);
  ASSERT_EQ(saved.size(), 2u);
  const auto expect_same = [&](int of) {
    const auto now = pool.Save(of);
    EXPECT_EQ(now[0].values.ToVector<int32_t>(), counts);
    EXPECT_EQ(now[1].values.ToVector<int32_t>(), values);
  };
  expect_same(slot);
  const auto snapshot = pool.Snapshot(slot);
  const int other = pool.Acquire();
  ASSERT_TRUE(pool.Restore(other, saved, 2).ok());
  expect_same(other);
  pool.Release(slot);
  const int third = pool.Acquire();
  pool.Resume(third, *snapshot);
  expect_same(third);
}

TEST(StatePoolTest, AnEntryEveryFewTokens) {
  StateSpec spec = PerToken("summary");
  spec.stride = 16;
  StatePool pool({{spec}}, {.slots = 1,
                            .tokens = 4096,
                            .token_dtype = DType::kF32,
                            .device = Cpu()});
  EXPECT_EQ(pool.free_pages(), 4);
  const int slot = pool.Acquire();
  ASSERT_TRUE(pool.Reserve(slot, 1100));
  const auto views = pool.View(OneSegment(slot, 0, 1100));
  EXPECT_EQ(views[0].entries[0].tokens.table[slot].size(), 2u);  // 68 entries
  pool.set_length(slot, 1100);
  ASSERT_TRUE(pool.Reserve(slot, 1101));
  EXPECT_EQ(pool.View(OneSegment(slot, 1100, 1))[0]
                .entries[0]
                .tokens.entries_before[0],
            68);
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
      const auto length = static_cast<int32_t>(1 + random.NextBelow(300));
      if (pool.Reserve(slot, length)) Fill(pool, slot, length, 0.0f);
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

TEST(EncodeInt8Test, ScalesFitAndWhatIsNotFiniteStaysSo) {
  const float inf = std::numeric_limits<float>::infinity();
  const std::vector<std::vector<float>> rows = {
      {1.0f, -0.5f, 0.25f, 0.0f},
      {0.0f, 0.0f, 0.0f, 0.0f},
      {3e38f, -3e38f, 1e30f, 0.0f},
      {1e-40f, -1e-40f, 0.0f, 3e-41f},
      {1.0f, std::numeric_limits<float>::quiet_NaN(), 0.0f, 0.0f},
      {inf, 1.0f, 0.0f, 0.0f}};
  for (size_t r = 0; r < rows.size(); ++r) {
    std::vector<int8_t> codes(4);
    bf16 scale;
    EncodeInt8(rows[r].data(), 4, 4, codes.data(), &scale);
    float most = 0;
    for (const float x : rows[r]) most = std::max(most, std::abs(x));
    for (int i = 0; i < 4; ++i) {
      const float decoded = ToFloat(scale) * static_cast<float>(codes[i]);
      if (r >= 4) {
        EXPECT_TRUE(std::isnan(decoded)) << r;
      } else {
        // Half a step of 1 / 127, which rounding the scale up to a bf16 widens
        // by up to 1 / 128 (of a subnormal one, by its last bit).
        EXPECT_NEAR(decoded, rows[r][i],
                    std::max(most * 0.5f * 1.01f / 127, 1e-40f))
            << r;
      }
    }
  }
}

// What one group's table says of a batch, on the host and on the "device".
TEST(StatePoolTest, UploadsOnlyWhatChanged) {
  constexpr int kSlots = 64;
  constexpr int64_t kContext = 8192;
  StatePool pool({{PerToken("k"), PerToken("v")}}, {.slots = kSlots,
                                                    .tokens = kSlots * kContext,
                                                    .context = kContext,
                                                    .step = 512,
                                                    .token_dtype = DType::kBF16,
                                                    .device = Cpu(),
                                                    .device_tables = true});
  for (int s = 0; s < kSlots; ++s) ASSERT_GE(pool.Acquire(), 0);
  const auto step = [&](int32_t position, int32_t length,
                        const std::vector<int>& slots) {
    Batch batch;
    batch.cu_seqlens = {0};
    for (const int slot : slots) {
      EXPECT_TRUE(pool.Reserve(slot, position + length));
      batch.Add(std::vector<int32_t>(length, 1), position, slot);
    }
    const int64_t before = pool.uploaded_bytes();
    const auto views = pool.View(batch);
    const TokenPages& pages = views[0].entries[0].tokens;
    EXPECT_EQ(pages.device_table.dim(1), kContext / 64);
    for (const int slot : slots) {
      const std::span<const int32_t> row = pages.table[slot];
      const std::vector<int32_t> sent =
          pages.device_table.Select(0, slot).ToVector<int32_t>();
      EXPECT_TRUE(std::equal(row.begin(), row.end(), sent.begin()));
      pool.set_length(slot, position + length);
    }
    return pool.uploaded_bytes() - before;
  };
  std::vector<int> all(kSlots);
  for (int s = 0; s < kSlots; ++s) all[s] = s;
  int64_t most = 0, total = 0;
  for (int32_t at = 0; at < 8064; at += 512) {
    most = std::max(most, step(at, std::min(512, 8064 - at), all));
  }
  EXPECT_LE(most, 64 << 10);
  // Decode: a page number of four bytes every 64 tokens of a sequence, and
  // nothing for the sequences that are not in the batch.
  for (int32_t at = 8064; at < 8064 + 128; ++at) {
    const int64_t bytes = step(at, 1, all);
    EXPECT_LE(bytes, kSlots * 4);
    total += bytes;
  }
  EXPECT_EQ(total, 2 * kSlots * 4);
  // Another sequence in the slot: only numbers that differ are sent.
  pool.Release(3);
  ASSERT_EQ(pool.Acquire(), 3);
  EXPECT_LE(step(0, 64, {3}), 4);
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
