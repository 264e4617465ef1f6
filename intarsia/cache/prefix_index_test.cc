#include "intarsia/cache/prefix_index.h"

#include <gtest/gtest.h>

#include "intarsia/core/random.h"

namespace intarsia {
namespace {

using Tokens = std::vector<int32_t>;
using Reason = PrefixIndex::Reason;

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
    return PrefixIndex({.bytes = bytes, .truncates = pool_.truncates()});
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
  EXPECT_EQ(index.Find(Tokens{1, 2}).reason, Reason::kUnknown);
  for (const Tokens& tokens : {Tokens{1, 2, 3}, Tokens{1, 2, 3, 4, 5, 6},
                               Tokens{1, 2, 9}, Tokens{7}}) {
    index.Add(tokens, Snap(tokens));
  }
  const auto exact = index.Find(Tokens{1, 2, 3, 4, 5, 6});
  EXPECT_EQ(exact.length, 6);
  EXPECT_EQ(exact.reason, Reason::kWhole);
  const auto more = index.Find(Tokens{1, 2, 3, 4, 5, 6, 7, 8});
  EXPECT_EQ(more.length, 6);
  EXPECT_EQ(more.reason, Reason::kDiverged);
  // Where two part, a recurrent state is that of a snapshot's own length.
  const auto between = index.Find(Tokens{1, 2, 3, 4, 8});
  EXPECT_EQ(between.length, recurrent() ? 3 : 4);
  EXPECT_EQ(between.common, 4);
  EXPECT_EQ(between.reason, recurrent() ? Reason::kBetween : Reason::kDiverged);
  const auto early = index.Find(Tokens{1, 2, 4});
  EXPECT_EQ(early.length, recurrent() ? 0 : 2);
  EXPECT_EQ(early.snapshot == nullptr, recurrent());
  EXPECT_EQ(index.Find(Tokens{8, 1}).reason, Reason::kUnknown);
  EXPECT_EQ(index.counts().finds, 6);
  EXPECT_EQ(index.counts().hits, recurrent() ? 3 : 4);
}

TEST_P(PrefixIndexTest, PagesCountOnceAndReturn) {
  PrefixIndex index = Index();
  Tokens tokens(32);
  for (int i = 0; i < 32; ++i) tokens[i] = i;
  const auto first = Snap(tokens);
  index.Add(tokens, first);
  const int64_t copied = recurrent() ? 8 * 4 : 0;
  EXPECT_EQ(index.bytes(), 2 * 16 * 4 + copied);
  Tokens longer = tokens;
  longer.resize(50, 99);
  index.Add(longer, Snap(longer, first.get()));
  EXPECT_EQ(index.bytes(), 4 * 16 * 4 + 2 * copied);
  index.Add(longer, Snap(longer));  // known already
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
      index.Add(tokens, Snap(tokens));
      ASSERT_LE(index.bytes(), kBudget);
      known[tokens] = true;
      continue;
    }
    const auto match = index.Find(tokens);
    ASSERT_LE(match.length, match.common);
    if (match.snapshot == nullptr) {
      ASSERT_EQ(match.length, 0);
      continue;
    }
    ++hits;
    const int64_t length = match.snapshot->length();
    ASSERT_GE(length, match.length);
    if (recurrent()) {
      ASSERT_EQ(length, match.length);
      // It was added, with these very tokens.
      ASSERT_TRUE(
          known.count(Tokens(tokens.begin(), tokens.begin() + match.length)));
    }
  }
  EXPECT_GT(hits, recurrent() ? 300 : 1000);
  EXPECT_GT(index.counts().evictions, 100);
  // Without a budget nothing is lost: the longest of all that were added.
  PrefixIndex whole = Index();
  std::vector<Tokens> added;
  for (int i = 0; i < 150; ++i) {
    added.push_back(sequence());
    whole.Add(added.back(), Snap(added.back()));
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
    const auto match = whole.Find(tokens);
    ASSERT_EQ(match.length, best);
    ASSERT_EQ(match.common, common);
  }
}

TEST_P(PrefixIndexTest, EvictsWhatIsCheapestToComputeAgain) {
  PrefixIndex index = Index();
  Tokens a(40, 1), b(48, 2);
  const auto long_a = Snap(a);
  index.Add(a, long_a);
  index.Add(b, Snap(b));
  // One more token than `a`: little is lost with either of the two, and the
  // older one goes where a shorter beginning serves as well.
  Tokens more = a;
  more.push_back(5);
  index.Add(more, Snap(more, long_a.get()));
  ASSERT_TRUE(index.Evict());
  EXPECT_EQ(index.Find(b).length, 48);
  EXPECT_GE(index.Find(more).length, 40);
  EXPECT_EQ(index.size(), 2);
}

TEST_P(PrefixIndexTest, AResumedMatchIsThatLong) {
  PrefixIndex index = Index();
  Tokens tokens(50, 3);
  index.Add(tokens, Snap(tokens));
  Tokens other(tokens.begin(), tokens.begin() + 37);
  if (recurrent()) index.Add(other, Snap(other));
  other.push_back(4);
  const auto match = index.Find(other);
  ASSERT_EQ(match.length, 37);
  const int slot = pool_.Acquire();
  pool_.Resume(slot, *match.snapshot);
  EXPECT_EQ(pool_.Truncate(slot, match.length).value(), 37);
  EXPECT_EQ(pool_.length(slot), 37);
}

}  // namespace
}  // namespace intarsia
