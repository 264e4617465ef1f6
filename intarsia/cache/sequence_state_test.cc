// Sequences as a whole: forks, snapshots, truncation, windows, saving.
#include <gtest/gtest.h>

#include <map>
#include <optional>

#include "intarsia/cache/pool.h"
#include "intarsia/core/random.h"

namespace intarsia {
namespace {

using Rollback = StateSpec::Rollback;

StateSpec Keys(const char* name, int64_t window = 0, int64_t first = 0) {
  StateSpec spec;
  spec.name = name;
  spec.shape = {1, 2};
  spec.growth = StateSpec::Growth::kToken;
  spec.rollback = Rollback::kTruncate;
  spec.keep_last = window;
  spec.keep_first = first;
  return spec;
}

StateSpec Sum(Rollback rollback = Rollback::kSnapshot) {
  StateSpec spec;
  spec.name = "sum";
  spec.shape = {1};
  spec.rollback = rollback;
  return spec;
}

constexpr int64_t kWindow = 40, kFirst = 10, kStep = 32;

// A pool and, for each open sequence, the numbers that it has seen. A sequence
// of numbers x has entries (x, -x) in the whole and the windowed group, and
// their sum in its state.
class Book {
 public:
  explicit Book(int slots, int64_t tokens,
                std::optional<Rollback> sum = Rollback::kSnapshot)
      : pool_(Specs(sum), {.slots = slots,
                           .tokens = tokens,
                           .context = tokens,
                           .step = kStep,
                           .page = 16,
                           .token_dtype = DType::kF32,
                           .device = Cpu()}) {}

  StatePool& pool() { return pool_; }
  std::map<int, std::vector<float>>& open() { return open_; }

  int Open() {
    const int slot = pool_.Acquire();
    if (slot >= 0) open_[slot] = {};
    return slot;
  }
  void Close(int slot) {
    pool_.Release(slot);
    open_.erase(slot);
  }
  // Appends n numbers in one batch; they are reserved.
  void Append(int slot, int64_t n) {
    std::vector<float>& seen = open_.at(slot);
    Batch batch;
    batch.Add(std::vector<int32_t>(n, 1), static_cast<int32_t>(seen.size()),
              slot);
    std::vector<StateView> views = pool_.View(batch);
    std::vector<float> rows;
    for (int64_t i = 0; i < n; ++i) {
      const float x = static_cast<float>(++last_ % 100000);
      seen.push_back(x);
      rows.push_back(x);
      rows.push_back(-x);
    }
    const Tensor values = Tensor::From(rows, {n, 1, 2});
    AppendRows(batch, values, &views[0].tokens(0));
    AppendRows(batch, values, &views[0].tokens(1));
    if (views.size() > 1) {
      Tensor row = views[1].sequence(0).Select(0, slot);
      for (int64_t i = 0; i < n; ++i) {
        row.mutable_data<float>()[0] += rows[2 * i];
      }
    }
    pool_.set_length(slot, static_cast<int64_t>(seen.size()));
  }
  bool Grow(int slot, int64_t n) {
    const auto length = static_cast<int64_t>(open_.at(slot).size());
    if (!pool_.Reserve(slot, length + n)) return false;
    for (; n > 0; n -= kStep) Append(slot, std::min(n, kStep));
    return true;
  }
  // What the pool has is what the sequence saw.
  void Check(int slot) {
    const std::vector<float>& seen = open_.at(slot);
    const auto length = static_cast<int64_t>(seen.size());
    ASSERT_EQ(pool_.length(slot), length);
    const std::vector<StatePool::Saved> saved = pool_.Save(slot);
    std::vector<float> whole, window, sum = {0};
    for (int64_t i = 0; i < length; ++i) {
      for (const float x : {seen[i], -seen[i]}) {
        whole.push_back(x);
        if (i < kFirst || i >= length - kWindow) window.push_back(x);
      }
      sum[0] += seen[i];
    }
    ASSERT_EQ(saved[0].values.ToVector<float>(), whole);
    ASSERT_EQ(saved[1].values.ToVector<float>(), window);
    if (saved.size() > 2) {
      ASSERT_EQ(saved[2].values.ToVector<float>(), sum);
    }
  }
  void CheckAll() {
    for (const auto& [slot, seen] : open_) Check(slot);
  }

 private:
  static std::vector<std::vector<StateSpec>> Specs(
      std::optional<Rollback> sum) {
    std::vector<std::vector<StateSpec>> specs = {
        {Keys("all"), Keys("last", kWindow, kFirst)}};
    if (sum) specs.push_back({Sum(*sum)});
    return specs;
  }

  StatePool pool_;
  std::map<int, std::vector<float>> open_;
  int64_t last_ = 0;
};

TEST(SequenceStateTest, AForkSharesPagesUntilOneWrites) {
  Book book(3, 16 * 20);
  const int a = book.Open();
  ASSERT_TRUE(book.Grow(a, 37));  // two whole pages of each group and a part
  const int64_t held = book.pool().bytes_held();
  const int b = book.pool().Fork(a);
  ASSERT_GE(b, 0);
  book.open()[b] = book.open()[a];
  EXPECT_EQ(book.pool().bytes_held(), held + book.pool().bytes_per_sequence());
  book.CheckAll();
  // Each writes: only the part page is copied, once.
  ASSERT_TRUE(book.Grow(b, 3));
  ASSERT_TRUE(book.Grow(a, 3));
  const int64_t page = 16 * 2 * 4 * 2;  // of both groups
  EXPECT_EQ(book.pool().bytes_held(),
            held + book.pool().bytes_per_sequence() + page);
  book.CheckAll();
  book.Close(a);
  book.CheckAll();
  ASSERT_TRUE(book.Grow(b, 60));
  book.CheckAll();
}

TEST(SequenceStateTest, AForkWithoutASlotOrAPageIsRefused) {
  Book book(2, 16 * 2);
  const int a = book.Open();
  ASSERT_TRUE(book.Grow(a, 17));
  ASSERT_TRUE(book.pool().Reserve(a, 20));  // in the page that it has
  EXPECT_EQ(book.pool().Fork(a), -1);       // no page for what it writes
  EXPECT_EQ(book.pool().Snapshot(a), nullptr);
  book.Append(a, 3);
  const int b = book.pool().Fork(a);
  ASSERT_GE(b, 0);
  EXPECT_EQ(book.pool().Fork(a), -1);
  EXPECT_FALSE(book.pool().Reserve(a, 21));
  book.pool().Release(b);
  EXPECT_TRUE(book.Grow(a, 1));
  book.Check(a);
}

TEST(SequenceStateTest, ASnapshotOutlivesItsSequence) {
  Book book(2, 16 * 12);
  const int a = book.Open();
  ASSERT_TRUE(book.Grow(a, 70));
  const std::vector<float> seen = book.open()[a];
  auto snapshot = book.pool().Snapshot(a);
  ASSERT_NE(snapshot, nullptr);
  EXPECT_EQ(snapshot->length(), 70);
  ASSERT_TRUE(book.Grow(a, 20));
  book.Close(a);
  EXPECT_EQ(book.pool().bytes_held(), snapshot->bytes() - 4);
  const int b = book.Open();
  ASSERT_TRUE(book.Grow(b, 5));
  book.pool().Resume(b, *snapshot);
  book.open()[b] = seen;
  book.Check(b);
  ASSERT_TRUE(book.Grow(b, 30));
  book.Check(b);
  book.Close(b);
  snapshot.reset();
  EXPECT_EQ(book.pool().bytes_held(), 0);
}

TEST(SequenceStateTest, EntriesAreDroppedWhereAllStatesAllowIt) {
  Book book(1, 16 * 20, std::nullopt);
  const int a = book.Open();
  ASSERT_TRUE(book.Grow(a, 100));
  const auto back = book.pool().Truncate(a, 97);
  ASSERT_TRUE(back.ok()) << back.status().message();
  EXPECT_EQ(*back, 97);
  book.open()[a].resize(97);
  book.Check(a);
  ASSERT_TRUE(book.Grow(a, 9));
  book.Check(a);
  // The window's older entries were given back: there is no way, and nothing
  // has changed.
  const auto gone = book.pool().Truncate(a, 50);
  ASSERT_FALSE(gone.ok());
  EXPECT_NE(gone.status().message().find("given back"), std::string::npos);
  book.Check(a);
}

TEST(SequenceStateTest, ASnapshotUndoesTheRest) {
  Book book(1, 16 * 20, Rollback::kSnapshot);
  const int a = book.Open();
  ASSERT_TRUE(book.Grow(a, 50));
  const std::vector<float> seen = book.open()[a];
  const auto snapshot = book.pool().Snapshot(a);
  ASSERT_TRUE(book.Grow(a, 10));
  const auto refused = book.pool().Truncate(a, 55, snapshot.get());
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.status().message().find("1.sum"), std::string::npos)
      << refused.status().message();
  EXPECT_FALSE(book.pool().Truncate(a, 50).ok());
  book.Check(a);
  const auto back = book.pool().Truncate(a, 50, snapshot.get());
  ASSERT_TRUE(back.ok());
  EXPECT_EQ(*back, 50);
  book.open()[a] = seen;
  book.Check(a);
}

TEST(SequenceStateTest, ReplaySaysFromWhere) {
  Book book(1, 16 * 20, Rollback::kReplay);
  const int a = book.Open();
  ASSERT_TRUE(book.Grow(a, 50));
  const std::vector<float> seen = book.open()[a];
  const auto snapshot = book.pool().Snapshot(a);
  ASSERT_TRUE(book.Grow(a, 10));
  EXPECT_EQ(book.pool().Truncate(a, 55, snapshot.get()).value(), 50);
  book.open()[a] = seen;
  book.Check(a);
  EXPECT_EQ(book.pool().Truncate(a, 20).value(), 0);
  book.open()[a].clear();
  book.Check(a);
}

TEST(SequenceStateTest, AWindowIsFlatInDepth) {
  StatePool pool({{Keys("k", 100)}}, {.slots = 2,
                                      .tokens = 2 << 16,
                                      .context = 1 << 16,
                                      .step = 256,
                                      .token_dtype = DType::kF32,
                                      .device = Cpu()});
  EXPECT_LE(pool.bytes(), 2 * (100 + 256 + 2 * 64) * 8);
  const int slot = pool.Acquire();
  ASSERT_TRUE(pool.Reserve(slot, 1 << 16));
  int64_t early = 0;
  for (int32_t at = 0; at < 1 << 16; at += 256) {
    Batch batch;
    batch.Add(std::vector<int32_t>(256, 1), at, slot);
    pool.View(batch);
    pool.set_length(slot, at + 256);
    if (at == 1024) early = pool.bytes_taken();
  }
  EXPECT_GT(early, 0);
  EXPECT_EQ(pool.bytes_taken(), early);
  EXPECT_LE(pool.bytes_held(), (100 + 2 * 64) * 8);
}

TEST(SequenceStateTest, SavedWindowsRestoreFromAllEntriesToo) {
  Book book(3, 16 * 30);
  const int a = book.Open();
  ASSERT_TRUE(book.Grow(a, 117));
  std::vector<StatePool::Saved> saved = book.pool().Save(a);
  const int b = book.Open();
  ASSERT_TRUE(book.pool().Restore(b, saved, 117).ok());
  book.open()[b] = book.open()[a];
  book.Check(b);
  // As files have it that know no windows.
  saved[1].values = saved[0].values;
  const int c = book.Open();
  ASSERT_TRUE(book.pool().Restore(c, saved, 117).ok());
  book.open()[c] = book.open()[a];
  book.Check(c);
  for (const int slot : {a, b, c}) ASSERT_TRUE(book.Grow(slot, 41));
  book.CheckAll();
}

// 100,000 events against the book: no page is owned twice, a promise holds,
// and all pages return.
TEST(SequenceStateTest, RandomEventsKeepEverySequence) {
  constexpr int kEvents = 100000;
  Book book(6, 16 * 40);
  StatePool& pool = book.pool();
  const int64_t pages = pool.free_pages();
  Random random(5);
  struct Kept {
    std::shared_ptr<const StateSnapshot> snapshot;
    std::vector<float> seen;
  };
  std::vector<Kept> snapshots;
  int forks = 0, resumed = 0, refused = 0, back = 0;
  for (int event = 0; event < kEvents; ++event) {
    const uint32_t kind = random.NextBelow(12);
    if (kind == 0 || book.open().empty()) {
      book.Open();
      continue;
    }
    const auto it =
        std::next(book.open().begin(),
                  random.NextBelow(static_cast<uint32_t>(book.open().size())));
    const int slot = it->first;
    if (kind <= 5) {  // grows, in steps, or is promised and cut short
      const int64_t n = 1 + random.NextBelow(kind == 1 ? 120 : 12);
      refused += book.Grow(slot, n) ? 0 : 1;
      if (kind == 2) pool.Reserve(slot, pool.length(slot) + 50);
    } else if (kind == 6) {
      const int fork = pool.Fork(slot);
      if (fork < 0) continue;
      book.open()[fork] = book.open()[slot];
      ++forks;
    } else if (kind == 7 && snapshots.size() < 4) {
      auto snapshot = pool.Snapshot(slot);
      if (snapshot) snapshots.push_back({snapshot, book.open()[slot]});
    } else if (kind == 8 && !snapshots.empty()) {
      const Kept& kept =
          snapshots[random.NextBelow(static_cast<uint32_t>(snapshots.size()))];
      pool.Resume(slot, *kept.snapshot);
      book.open()[slot] = kept.seen;
      ++resumed;
    } else if (kind == 9 && !snapshots.empty()) {
      snapshots.erase(snapshots.begin());
    } else if (kind == 10 && !snapshots.empty()) {
      const Kept& kept = snapshots.back();
      std::vector<float>& seen = book.open()[slot];
      if (seen.size() <= kept.seen.size() ||
          !std::equal(kept.seen.begin(), kept.seen.end(), seen.begin())) {
        continue;
      }
      const auto length = static_cast<int64_t>(kept.seen.size());
      ASSERT_EQ(pool.Truncate(slot, length, kept.snapshot.get()).value(),
                length);
      seen = kept.seen;
      ++back;
    } else if (kind == 11) {
      book.Close(slot);
    }
    if (event % 50 == 0) {
      ASSERT_NO_FATAL_FAILURE(book.CheckAll()) << event;
    }
  }
  EXPECT_GT(forks, 1000);
  EXPECT_GT(resumed, 1000);
  EXPECT_GT(refused, 100);
  EXPECT_GT(back, 100);
  snapshots.clear();
  while (!book.open().empty()) book.Close(book.open().begin()->first);
  EXPECT_EQ(pool.free_pages(), pages);
  EXPECT_EQ(pool.bytes_held(), 0);
  EXPECT_EQ(pool.free_slots(), 6);
}

}  // namespace
}  // namespace intarsia
