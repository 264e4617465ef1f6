#include "intarsia/cache/prefix_index.h"

#include <algorithm>

namespace intarsia {
namespace {

using Why = PrefixMatch::Why;

constexpr size_t kMostEvicted = 4096;  // that are remembered
constexpr uint64_t kNoTokens = 0x51A9;

uint64_t HashNext(uint64_t hash, int32_t token) {
  hash = (hash ^ static_cast<uint32_t>(token)) * 0x9E3779B97F4A7C15ULL;
  return hash ^ (hash >> 32);
}

int64_t Common(std::span<const int32_t> a, std::span<const int32_t> b) {
  return std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first -
         a.begin();
}

// The first position that only one of the two cuts, or `end`.
int64_t FirstUnlike(std::span<const int64_t> a, std::span<const int64_t> b,
                    int64_t end) {
  const auto [x, y] = std::mismatch(a.begin(), a.end(), b.begin(), b.end());
  if (x != a.end()) end = std::min(end, *x);
  if (y != b.end()) end = std::min(end, *y);
  return end;
}

}  // namespace

std::string Describe(const PrefixMatch& match, int64_t prompt) {
  if (match.why == Why::kOff) return "nothing is kept for reuse";
  const std::string common = std::to_string(match.common);
  const std::string what = std::to_string(match.tokens) + " of " +
                           std::to_string(prompt) + " tokens reused";
  switch (match.why) {
    case Why::kOff:
    case Why::kWhole:
      return what;
    case Why::kUnknown:
      return what + ": nothing stored begins like this";
    case Why::kDiverged:
      return what + ": what is stored ends or differs at token " + common;
    case Why::kNoState:
      return what + ": " + common +
             " are stored, and the nearest state is at " +
             std::to_string(match.tokens);
    case Why::kCuts:
      return what + ": " + common +
             " are stored that ran in other pieces, whose rounding differs";
    case Why::kLength:
      return what + ": past the trained length each length has its own state";
    case Why::kEvicted:
      return what + ": " + common + " were stored and evicted for lack of room";
  }
  return what;
}

int64_t PrefixIndex::OwnBytes(const StateSnapshot& snapshot) const {
  int64_t bytes = snapshot.copied_bytes();
  for (const StateSnapshot::Page& page : snapshot.pages()) {
    if (snapshot.holders(page) > 1) continue;
    const auto it = holders_.find(page);
    if (it == holders_.end() || it->second == 1) bytes += page.bytes;
  }
  return bytes;
}

int64_t PrefixIndex::idle_bytes() const {
  if (entries_.empty()) return 0;
  const StateSnapshot& any = *entries_.begin()->second.snapshot;  // one pool
  int64_t bytes = 0;
  for (const auto& [page, holders] : holders_) {
    if (any.holders(page) == holders) bytes += page.bytes;
  }
  return bytes;
}

void PrefixIndex::Hold(const StateSnapshot& snapshot) {
  for (const StateSnapshot::Page& page : snapshot.pages()) {
    if (++holders_[page] == 1) bytes_ += page.bytes;
  }
  bytes_ += snapshot.copied_bytes();
}

void PrefixIndex::LetGo(const StateSnapshot& snapshot) {
  for (const StateSnapshot::Page& page : snapshot.pages()) {
    const auto it = holders_.find(page);
    if (--it->second > 0) continue;
    bytes_ -= page.bytes;
    holders_.erase(it);
  }
  bytes_ -= snapshot.copied_bytes();
}

bool PrefixIndex::Knows(const PrefixKey& key) const {
  const auto it = entries_.find(Tokens(key.tokens.begin(), key.tokens.end()));
  return it != entries_.end() && it->second.era == key.era &&
         it->second.exact >= key.exact;
}

void PrefixIndex::Add(const PrefixKey& key,
                      std::shared_ptr<const StateSnapshot> snapshot) {
  const auto length = static_cast<int64_t>(key.tokens.size());
  CHECK_EQ(snapshot->length(), length);
  CHECK_LE(key.exact, length);
  if (key.tokens.empty() || snapshot->bytes() > options_.bytes) return;
  Entry& entry = entries_[Tokens(key.tokens.begin(), key.tokens.end())];
  entry.used = ++clock_;
  if (entry.snapshot != nullptr) {
    if (entry.era == key.era && entry.exact >= key.exact) return;
    LetGo(*entry.snapshot);
  }
  entry.cuts.clear();
  for (const int64_t cut : key.cuts) {
    if (cut <= key.exact) entry.cuts.push_back(cut);
  }
  entry.exact = key.exact;
  entry.era = key.era;
  Hold(*snapshot);
  entry.snapshot = std::move(snapshot);
  while (bytes_ > options_.bytes) CHECK(Evict());
}

PrefixIndex::Entries::iterator PrefixIndex::Beginning(Tokens tokens,
                                                      const Tokens& itself) {
  // A beginning sorts before what it begins, after all that begin alike and
  // are shorter: the last entry up to `tokens` is the one, or shows how far to
  // cut them.
  while (true) {
    auto entry = entries_.upper_bound(tokens);
    if (entry != entries_.begin() && std::prev(entry)->first == itself) {
      --entry;
    }
    if (entry == entries_.begin()) return entries_.end();
    --entry;
    const auto common = static_cast<size_t>(Common(entry->first, tokens));
    if (common == entry->first.size()) return entry;
    if (common == 0) return entries_.end();
    tokens.resize(common);
  }
}

int64_t PrefixIndex::Cost(Entries::iterator entry) {
  const auto length = static_cast<int64_t>(entry->first.size());
  if (options_.truncates) {
    // A neighbour in the order shares the longest beginning.
    int64_t shared = 0;
    if (entry != entries_.begin()) {
      shared = Common(entry->first, std::prev(entry)->first);
    }
    if (const auto next = std::next(entry); next != entries_.end()) {
      shared = std::max(shared, Common(entry->first, next->first));
    }
    return length - shared;
  }
  const auto shorter = Beginning(entry->first, entry->first);
  return length - (shorter == entries_.end()
                       ? 0
                       : static_cast<int64_t>(shorter->first.size()));
}

bool PrefixIndex::Evict() {
  auto worst = entries_.end();
  double least = 0;
  for (auto entry = entries_.begin(); entry != entries_.end(); ++entry) {
    const auto bytes = static_cast<double>(OwnBytes(*entry->second.snapshot));
    const auto cost = static_cast<double>(Cost(entry));
    const double value = bytes > 0 ? cost / bytes : 1e18 + cost;
    if (worst == entries_.end() || value < least ||
        (value == least && entry->second.used < worst->second.used)) {
      worst = entry;
      least = value;
    }
  }
  if (worst == entries_.end()) return false;
  uint64_t hash = kNoTokens;
  for (const int32_t token : worst->first) hash = HashNext(hash, token);
  evicted_.push_back(hash);
  evicted_hashes_.insert(hash);
  if (evicted_.size() > kMostEvicted) {
    evicted_hashes_.erase(evicted_hashes_.find(evicted_.front()));
    evicted_.pop_front();
  }
  LetGo(*worst->second.snapshot);
  entries_.erase(worst);
  ++counts_.evictions;
  return true;
}

int64_t PrefixIndex::Evicted(std::span<const int32_t> tokens,
                             int64_t from) const {
  if (evicted_.empty()) return 0;
  uint64_t hash = kNoTokens;
  int64_t most = 0;
  for (size_t i = 0; i < tokens.size(); ++i) {
    hash = HashNext(hash, tokens[i]);
    const auto seen = static_cast<int64_t>(i) + 1;
    if (seen > from && evicted_hashes_.contains(hash)) most = seen;
  }
  return most;
}

// How many of the `common` tokens the entry saves.
int64_t PrefixIndex::Usable(const Tokens& tokens, const Entry& entry,
                            int64_t common, const PrefixKey& key,
                            Reuse reuse) const {
  const auto own = static_cast<int64_t>(tokens.size());
  if (entry.era != key.era) return 0;
  if (!options_.truncates && common < own) return 0;
  if (reuse == Reuse::kAll) return common;
  const int64_t most =
      FirstUnlike(entry.cuts, key.cuts, std::min(common, entry.exact));
  // A piece of both ends there.
  const auto ends = [&](int64_t at) {
    return at % options_.grid == 0 ||
           (std::ranges::binary_search(key.cuts, at) &&
            (at == entry.exact || std::ranges::binary_search(entry.cuts, at)));
  };
  if (!options_.truncates) return own <= most && ends(own) ? own : 0;
  int64_t length = most / options_.grid * options_.grid;
  for (const int64_t cut : key.cuts) {
    if (cut > length && cut <= most && ends(cut)) length = cut;
  }
  return length;
}

PrefixIndex::Found PrefixIndex::Search(const PrefixKey& key,
                                       Reuse reuse) const {
  Found found{.entry = entries_.end()};
  const Tokens tokens(key.tokens.begin(), key.tokens.end());
  // What an entry has in common falls from here on in either direction.
  const auto middle = entries_.upper_bound(tokens);
  int64_t other = 0;  // the most that kAll would save
  const auto take = [&](Entries::const_iterator it) {
    const int64_t common = Common(it->first, tokens);
    found.common = std::max(found.common, common);
    if (common <= found.tokens) return false;
    const Entry& entry = it->second;
    const int64_t usable = Usable(it->first, entry, common, key, reuse);
    other = std::max(other, Usable(it->first, entry, common, key, Reuse::kAll));
    if (usable > found.tokens) {
      found.tokens = usable;
      found.entry = it;
    }
    return true;
  };
  for (auto it = middle; it != entries_.end() && take(it);) ++it;
  for (auto it = middle; it != entries_.begin() && take(std::prev(it));) --it;
  found.other_cuts = other > found.tokens;
  if (found.tokens > 0) {
    const Entry& entry = found.entry->second;
    found.exact =
        FirstUnlike(entry.cuts, key.cuts, std::min(found.tokens, entry.exact));
  }
  return found;
}

int64_t PrefixIndex::Peek(const PrefixKey& key, Reuse reuse) const {
  return reuse == Reuse::kNone ? 0 : Search(key, reuse).tokens;
}

PrefixIndex::Match PrefixIndex::Find(const PrefixKey& key, Reuse reuse) {
  Match match;
  if (reuse == Reuse::kNone) return match;
  const Found found = Search(key, reuse);
  const auto asked = static_cast<int64_t>(key.tokens.size());
  match.tokens = found.tokens;
  match.common = found.common;
  match.exact = found.exact;
  match.own_length = !options_.truncates;
  if (match.tokens > 0) {
    Entry& entry = entries_.at(found.entry->first);
    match.snapshot = entry.snapshot;
    entry.used = ++clock_;
  }
  const int64_t evicted = Evicted(key.tokens, match.tokens);
  if (match.tokens == asked) {
    match.why = Why::kWhole;
  } else if (evicted > match.tokens) {
    match.why = Why::kEvicted;
    match.common = std::max(match.common, evicted);
  } else if (match.common == 0) {
    match.why = Why::kUnknown;
  } else if (match.common == match.tokens) {
    match.why = Why::kDiverged;
  } else {
    match.why = found.other_cuts ? Why::kCuts : Why::kNoState;
  }
  ++counts_.finds;
  ++counts_.why[match.why];
  counts_.hits += match.tokens > 0 ? 1 : 0;
  counts_.tokens_asked += asked;
  counts_.tokens_found += match.tokens;
  return match;
}

}  // namespace intarsia
