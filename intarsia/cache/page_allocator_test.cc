#include "intarsia/cache/page_allocator.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "intarsia/core/check.h"
#include "intarsia/core/random.h"

namespace intarsia {
namespace {

TEST(PageAllocatorTest, APageIsFreeAfterItsLastHolder) {
  PageAllocator pages(2);
  const int32_t a = pages.Allocate(), b = pages.Allocate();
  EXPECT_EQ(pages.Allocate(), -1);
  pages.Share(a);
  pages.Release(a);
  EXPECT_EQ(pages.free(), 0);
  pages.Release(a);
  EXPECT_EQ(pages.free(), 1);
  EXPECT_EQ(pages.Allocate(), a);
  EXPECT_NE(a, b);
  EXPECT_EQ(pages.most_held(), 2);
}

TEST(PageAllocatorTest, AWriterGetsAPageOfItsOwn) {
  PageAllocator pages(2);
  const int32_t a = pages.Allocate();
  EXPECT_EQ(pages.Writable(a), a);
  pages.Share(a);
  const int32_t copy = pages.Writable(a);
  EXPECT_NE(copy, a);
  EXPECT_EQ(pages.holders(a), 1);
  EXPECT_EQ(pages.holders(copy), 1);
  // Nothing changes when no page is left for the copy.
  pages.Share(a);
  EXPECT_EQ(pages.Writable(a), -1);
  EXPECT_EQ(pages.holders(a), 2);
}

TEST(PageAllocatorTest, RefusesPagesThatNobodyHolds) {
  PageAllocator pages(1);
  EXPECT_THROW(pages.Release(0), CheckError);
  EXPECT_THROW(pages.Share(0), CheckError);
  EXPECT_THROW(pages.Writable(0), CheckError);
  EXPECT_ANY_THROW(pages.Release(1));
}

// Against a plain model: holders as lists of pages.
TEST(PageAllocatorTest, RandomEventsKeepTheBooks) {
  constexpr int32_t kPages = 23;
  constexpr int kEvents = 200000;
  PageAllocator pages(kPages);
  Random random(11);
  std::vector<std::vector<int32_t>> holders;  // each a sequence's pages
  std::map<int32_t, int> counts;              // what the model says
  const auto drop = [&](int32_t page) {
    pages.Release(page);
    if (--counts[page] == 0) counts.erase(page);
  };
  int copies = 0, refused = 0;
  for (int event = 0; event < kEvents; ++event) {
    const uint32_t kind = random.NextBelow(6);
    if (kind == 0 || holders.empty()) {
      if (holders.size() < 9) holders.emplace_back();
      continue;
    }
    const size_t h = random.NextBelow(static_cast<uint32_t>(holders.size()));
    if (kind == 1 || kind == 2) {  // grows
      const int32_t page = pages.Allocate();
      ASSERT_EQ(page < 0, counts.size() == kPages);
      if (page < 0) continue;
      ASSERT_EQ(counts.count(page), 0u) << "page with two owners";
      counts[page] = 1;
      holders[h].push_back(page);
    } else if (kind == 3 && holders.size() < 9) {  // forks
      holders.push_back(holders[h]);
      for (const int32_t page : holders[h]) {
        pages.Share(page);
        ++counts[page];
      }
    } else if (kind == 4 && !holders[h].empty()) {  // writes
      int32_t& page =
          holders[h]
                 [random.NextBelow(static_cast<uint32_t>(holders[h].size()))];
      const int before = counts[page];
      const int32_t to = pages.Writable(page);
      if (before == 1) {
        ASSERT_EQ(to, page);
      } else if (to < 0) {
        ASSERT_EQ(counts.size(), size_t{kPages});
        ++refused;
      } else {
        ASSERT_EQ(counts.count(to), 0u) << "a copy onto a page in use";
        --counts[page];
        counts[to] = 1;
        page = to;
        ++copies;
      }
    } else if (kind == 5) {  // ends
      for (const int32_t page : holders[h]) drop(page);
      holders.erase(holders.begin() + static_cast<long>(h));
    }
    ASSERT_EQ(pages.free(), kPages - static_cast<int32_t>(counts.size()));
    for (const auto& [page, count] : counts) {
      ASSERT_EQ(pages.holders(page), count);
    }
  }
  EXPECT_GT(copies, 1000);
  EXPECT_GT(refused, 10);
  for (const std::vector<int32_t>& held : holders) {
    for (const int32_t page : held) drop(page);
  }
  EXPECT_EQ(pages.free(), kPages);
  EXPECT_TRUE(counts.empty());
}

}  // namespace
}  // namespace intarsia
