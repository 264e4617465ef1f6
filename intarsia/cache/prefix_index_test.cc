#include "intarsia/cache/prefix_index.h"

#include <gtest/gtest.h>

#include "intarsia/core/random.h"

namespace intarsia {
namespace {

using Tokens = std::vector<int32_t>;
using Why = PrefixMatch::Why;

std::vector<std::vector<StateSpec>> Specs(bool recurrent) {
  StateSpec keys;
  keys.name = "k";
  keys.shape = {1};
  keys.growth = StateSpec::Growth::kToken;
  keys.rollback = StateSpec::Rollback::kTruncate;
  StateSpec sum;
  sum.name = "sum";
  sum.shape = {8};
  std::vector<std::vector<StateSpec>> specs = {{keys}};
  if (recurrent) specs.push_back({sum});
  return specs;
}

class PrefixIndexTest : public testing::TestWithParam<bool> {
 protected:
  bool recurrent() const { return GetParam(); }

  // A snapshot of a sequence of these tokens, whose pages are shared with
  // `from` as far as it goes.
  std::shared_ptr<const StateSnapshot> Snap(
      const Tokens& tokens, const StateSnapshot* from = nullptr) {
    const int slot = pool_.Acquire();
    if (from != nullptr) pool_.Resume(slot, *from);
    const auto length = static_cast<int64_t>(tokens.size());
    EXPECT_TRUE(pool_.Reserve(slot, length));
    Batch batch;
    batch.Add(Tokens(length - pool_.length(slot), 1),
              static_cast<int32_t>(pool_.length(slot)), slot);
    pool_.View(batch);
    pool_.set_length(slot, length);
    auto snapshot = pool_.Snapshot(slot);
    pool_.Release(slot);
    return snapshot;
  }
  PrefixIndex Index(int64_t bytes = 1 << 20) const {
    return PrefixIndex(
        {.bytes = bytes, .truncates = pool_.truncates(), .grid = 16});
  }
  static void Add(PrefixIndex* index, const Tokens& tokens,
                  std::shared_ptr<const StateSnapshot> snapshot) {
    index->Add({.tokens = tokens}, std::move(snapshot));
  }
  static PrefixIndex::Match Find(PrefixIndex* index, const Tokens& tokens) {
    return index->Find({.tokens = tokens}, Reuse::kAll);
  }

  StatePool pool_{Specs(GetParam()),
                  {.slots = 2,
                   .tokens = 16 * 4000,
                   .page = 16,
                   .token_dtype = DType::kF32,
                   .device = Cpu()}};
};

INSTANTIATE_TEST_SUITE_P(States, PrefixIndexTest, testing::Bool(),
                         [](const auto& test) {
                           return std::string(test.param ? "recurrent"
                                                         : "attention");
                         });

TEST_P(PrefixIndexTest, FindsTheLongestBeginningAndSaysWhyNotMore) {
  EXPECT_EQ(pool_.truncates(), !recurrent());
  PrefixIndex index = Index();
  EXPECT_EQ(Find(&index, Tokens{1, 2}).why, Why::kUnknown);
  for (const Tokens& tokens : {Tokens{1, 2, 3}, Tokens{1, 2, 3, 4, 5, 6},
                               Tokens{1, 2, 9}, Tokens{7}}) {
    Add(&index, tokens, Snap(tokens));
  }
  const auto exact = Find(&index, Tokens{1, 2, 3, 4, 5, 6});
  EXPECT_EQ(exact.tokens, 6);
  EXPECT_EQ(exact.why, Why::kWhole);
  const auto more = Find(&index, Tokens{1, 2, 3, 4, 5, 6, 7, 8});
  EXPECT_EQ(more.tokens, 6);
  EXPECT_EQ(more.why, Why::kDiverged);
  // Where two part, a recurrent state is that of a snapshot's own length.
  const auto between = Find(&index, Tokens{1, 2, 3, 4, 8});
  EXPECT_EQ(between.tokens, recurrent() ? 3 : 4);
  EXPECT_EQ(between.common, 4);
  EXPECT_EQ(between.why, recurrent() ? Why::kNoState : Why::kDiverged);
  const auto early = Find(&index, Tokens{1, 2, 4});
  EXPECT_EQ(early.tokens, recurrent() ? 0 : 2);
  EXPECT_EQ(early.snapshot == nullptr, recurrent());
  EXPECT_NE(Describe(early, 3).find("of 3 tokens reused: "), std::string::npos);
  EXPECT_EQ(Find(&index, Tokens{8, 1}).why, Why::kUnknown);
  EXPECT_EQ(index.counts().finds, 6);
  EXPECT_EQ(index.counts().hits, recurrent() ? 3 : 4);
}

TEST_P(PrefixIndexTest, PagesCountOnceAndReturn) {
  PrefixIndex index = Index();
  Tokens tokens(32);
  for (int i = 0; i < 32; ++i) tokens[i] = i;
  const auto first = Snap(tokens);
  Add(&index, tokens, first);
  const int64_t copied = recurrent() ? 8 * 4 : 0;
  EXPECT_EQ(index.bytes(), 2 * 16 * 4 + copied);
  Tokens longer = tokens;
  longer.resize(50, 99);
  Add(&index, longer, Snap(longer, first.get()));
  EXPECT_EQ(index.bytes(), 4 * 16 * 4 + 2 * copied);
  Add(&index, longer, Snap(longer));  // known already
  EXPECT_EQ(index.size(), 2);
  while (index.Evict()) continue;
  EXPECT_EQ(index.bytes(), 0);
  EXPECT_EQ(pool_.bytes_held(), first->bytes() - copied);
}

// Against a plain search, within a budget.
TEST_P(PrefixIndexTest, RandomSequencesAgreeWithAPlainSearch) {
  constexpr int64_t kBudget = 4000;
  PrefixIndex index = Index(kBudget);
  std::map<Tokens, bool> known;  // all ever added
  Random random(9);
  const auto sequence = [&] {
    Tokens tokens(1 + random.NextBelow(40));
    for (int32_t& t : tokens) t = random.NextBelow(10) == 0 ? 1 : 0;
    return tokens;
  };
  int hits = 0;
  for (int event = 0; event < 20000; ++event) {
    const Tokens tokens = sequence();
    if (event % 3 == 0) {
      Add(&index, tokens, Snap(tokens));
      ASSERT_LE(index.bytes(), kBudget);
      known[tokens] = true;
      continue;
    }
    const auto match = Find(&index, tokens);
    ASSERT_LE(match.tokens, match.common);
    if (match.snapshot == nullptr) {
      ASSERT_EQ(match.tokens, 0);
      continue;
    }
    ++hits;
    const int64_t length = match.snapshot->length();
    ASSERT_GE(length, match.tokens);
    if (recurrent()) {
      ASSERT_EQ(length, match.tokens);
      // It was added, with these very tokens.
      ASSERT_TRUE(
          known.count(Tokens(tokens.begin(), tokens.begin() + match.tokens)));
    }
  }
  EXPECT_GT(hits, recurrent() ? 300 : 1000);
  EXPECT_GT(index.counts().evictions, 100);
  // Without a budget nothing is lost: the longest of all that were added.
  PrefixIndex whole = Index();
  std::vector<Tokens> added;
  for (int i = 0; i < 150; ++i) {
    added.push_back(sequence());
    Add(&whole, added.back(), Snap(added.back()));
  }
  for (int i = 0; i < 2000; ++i) {
    const Tokens tokens = sequence();
    int64_t best = 0, common = 0;
    for (const Tokens& other : added) {
      const auto shared = std::mismatch(tokens.begin(), tokens.end(),
                                        other.begin(), other.end())
                              .first -
                          tokens.begin();
      common = std::max<int64_t>(common, shared);
      const bool beginning = shared == static_cast<int64_t>(other.size());
      if (beginning || !recurrent()) best = std::max<int64_t>(best, shared);
    }
    const auto match = Find(&whole, tokens);
    ASSERT_EQ(match.tokens, best);
    ASSERT_EQ(match.common, common);
  }
}

TEST_P(PrefixIndexTest, EvictsWhatIsCheapestToComputeAgain) {
  PrefixIndex index = Index();
  Tokens a(40, 1), b(48, 2);
  const auto long_a = Snap(a);
  Add(&index, a, long_a);
  Add(&index, b, Snap(b));
  // One more token than `a`: little is lost with either of the two, and the
  // older one goes where a shorter beginning serves as well.
  Tokens more = a;
  more.push_back(5);
  Add(&index, more, Snap(more, long_a.get()));
  ASSERT_TRUE(index.Evict());
  EXPECT_EQ(Find(&index, b).tokens, 48);
  EXPECT_GE(Find(&index, more).tokens, 40);
  EXPECT_EQ(index.size(), 2);
}

// What ran in other pieces serves only who doesn't mind.
TEST_P(PrefixIndexTest, ExactReuseWantsTheSamePieces) {
  PrefixIndex index = Index();
  Tokens tokens(60);
  for (int i = 0; i < 60; ++i) tokens[i] = i;
  // Its run was cut at 10 and at its end, tokens past 50 ran one by one.
  const std::vector<int64_t> cuts = {10, 50};
  const auto add = [&](int64_t length) {
    const Tokens part(tokens.begin(), tokens.begin() + length);
    index.Add(
        {.tokens = part, .cuts = cuts, .exact = std::min<int64_t>(length, 50)},
        Snap(part));
  };
  for (const int64_t length : {10, 32, 50, 60}) add(length);
  struct Asked {
    int64_t length;
    std::vector<int64_t> cuts;
    int64_t found, attention;  // the latter cuts a longer one
    Why why;
  };
  for (const Asked& asked : std::vector<Asked>{
           {60, {10, 50}, 50, 50, Why::kCuts},
           {60, {10}, 32, 48, Why::kCuts},
           {60, {10, 40, 50}, 32, 32, Why::kCuts},
           {60, {}, 0, 0, Why::kCuts},
           {9, {}, 0, 0, recurrent() ? Why::kNoState : Why::kCuts},
           {10, {10}, 10, 10, Why::kWhole},
           {40, {10}, 32, 32, recurrent() ? Why::kNoState : Why::kCuts}}) {
    const Tokens part(tokens.begin(), tokens.begin() + asked.length);
    const PrefixKey key{.tokens = part, .cuts = asked.cuts};
    const int64_t expected = recurrent() ? asked.found : asked.attention;
    EXPECT_EQ(index.Peek(key, Reuse::kExact), expected);
    const auto match = index.Find(key, Reuse::kExact);
    EXPECT_EQ(match.tokens, expected);
    EXPECT_EQ(match.exact, expected);
    EXPECT_EQ(match.why, asked.why) << asked.length;
    EXPECT_EQ(index.Find(key, Reuse::kNone).snapshot, nullptr);
    EXPECT_GE(index.Find(key, Reuse::kAll).tokens, expected);
  }
  // Another era's states are none of its own.
  EXPECT_EQ(index.Find({.tokens = tokens, .cuts = cuts, .era = 1}, Reuse::kAll)
                .tokens,
            0);
  const auto all = index.Find({.tokens = tokens, .cuts = cuts}, Reuse::kAll);
  EXPECT_EQ(all.tokens, 60);
  EXPECT_EQ(all.exact, 50);
  // Of two runs of the same tokens the one in better pieces stays.
  EXPECT_TRUE(index.Knows({.tokens = tokens, .exact = 50}));
  EXPECT_FALSE(index.Knows({.tokens = tokens, .exact = 60}));
  index.Add({.tokens = tokens, .exact = 60}, Snap(tokens));
  EXPECT_EQ(index.size(), 4);
  const std::vector<int64_t> end = {60};
  EXPECT_EQ(index.Find({.tokens = tokens, .cuts = end}, Reuse::kExact).tokens,
            60);
}

TEST_P(PrefixIndexTest, SaysWhatWasEvictedAndWhatIsIdle) {
  PrefixIndex index = Index();
  const Tokens tokens(40, 1);
  const int slot = pool_.Acquire();
  const auto snapshot = Snap(tokens);
  pool_.Resume(slot, *snapshot);
  Add(&index, tokens, snapshot);
  EXPECT_EQ(index.idle_bytes(), 0);  // a sequence has them too
  pool_.Release(slot);
  EXPECT_EQ(index.idle_bytes(), 3 * 16 * 4);
  EXPECT_TRUE(index.Evict());
  EXPECT_FALSE(index.Evict());
  EXPECT_EQ(index.idle_bytes(), 0);
  Tokens longer = tokens;
  longer.push_back(2);
  const auto match = Find(&index, longer);
  EXPECT_EQ(match.why, Why::kEvicted);
  EXPECT_EQ(match.common, 40);
  EXPECT_EQ(Find(&index, Tokens(30, 1)).why, Why::kUnknown);
  EXPECT_EQ(index.counts().why.at(Why::kEvicted), 1);
}

TEST_P(PrefixIndexTest, AResumedMatchIsThatLong) {
  PrefixIndex index = Index();
  Tokens tokens(50, 3);
  Add(&index, tokens, Snap(tokens));
  Tokens other(tokens.begin(), tokens.begin() + 37);
  if (recurrent()) Add(&index, other, Snap(other));
  other.push_back(4);
  const auto match = Find(&index, other);
  ASSERT_EQ(match.tokens, 37);
  const int slot = pool_.Acquire();
  pool_.Resume(slot, *match.snapshot);
  EXPECT_EQ(pool_.Truncate(slot, match.tokens).value(), 37);
  EXPECT_EQ(pool_.length(slot), 37);
}

}  // namespace
}  // namespace intarsia
