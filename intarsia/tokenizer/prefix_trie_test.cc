// The trie against a map of its keys.
#include "intarsia/tokenizer/prefix_trie.h"

#include <gtest/gtest.h>

#include <map>

#include "intarsia/core/random.h"

namespace intarsia {
namespace {

using Entries = std::vector<std::pair<std::string, int32_t>>;

std::string RandomString(Random& random, uint32_t longest, uint32_t bytes) {
  std::string s(random.NextBelow(longest + 1), '\0');
  for (char& c : s) c = static_cast<char>(random.NextBelow(bytes));
  return s;
}

// Few different bytes share many prefixes; many fill the array's rows.
TEST(PrefixTrieTest, FindsTheKeysThatATextBeginsWith) {
  for (const uint32_t bytes : {2u, 20u, 256u}) {
    Random random(bytes);
    Entries entries;
    std::map<std::string, int32_t> keys;
    for (int32_t i = 0; i < 5000; ++i) {
      entries.emplace_back(RandomString(random, 9, bytes), i);
      if (!entries.back().first.empty()) keys[entries.back().first] = i;
    }
    const PrefixTrie trie(entries);
    for (int i = 0; i < 5000; ++i) {
      const std::string text =
          i % 2 == 0 ? entries[i].first + RandomString(random, 3, bytes)
                     : RandomString(random, 12, bytes);
      Entries want, got;
      for (size_t length = 1; length <= text.size(); ++length) {
        const auto it = keys.find(text.substr(0, length));
        if (it != keys.end()) want.emplace_back(*it);
      }
      trie.ForEachPrefix(text, [&](size_t length, int32_t value) {
        got.emplace_back(text.substr(0, length), value);
      });
      ASSERT_EQ(got, want);
      const PrefixTrie::Match longest = trie.Longest(text);
      EXPECT_EQ(longest.length, want.empty() ? 0 : want.back().first.size());
      EXPECT_EQ(longest.value, want.empty() ? -1 : want.back().second);
    }
  }
}

TEST(PrefixTrieTest, WithoutKeys) {
  for (const PrefixTrie& trie :
       {PrefixTrie(), PrefixTrie(Entries{}), PrefixTrie({{"", 3}})}) {
    EXPECT_TRUE(trie.empty());
    EXPECT_EQ(trie.Longest("text").length, 0u);
  }
}

TEST(PrefixTrieTest, OneKeyOfOddBytes) {
  const std::string key("\0\xFF\0", 3);
  const PrefixTrie trie({{key, 0}});
  EXPECT_EQ(trie.Longest(key + key).length, 3u);
  EXPECT_EQ(trie.Longest(std::string(5, '\0')).length, 0u);
}

}  // namespace
}  // namespace intarsia
