#include "intarsia/cache/prefix_index.h"

#include <algorithm>

namespace intarsia {
namespace {

int64_t Common(std::span<const int32_t> a, std::span<const int32_t> b) {
  return std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first -
         a.begin();
}

}  // namespace

int64_t PrefixIndex::OwnBytes(const StateSnapshot& snapshot) const {
  int64_t bytes = snapshot.copied_bytes();
  for (const StateSnapshot::Page& page : snapshot.pages()) {
    const auto it = holders_.find(page);
    if (it == holders_.end() || it->second == 1) bytes += page.bytes;
  }
  return bytes;
}

void PrefixIndex::Add(std::span<const int32_t> tokens,
                      std::shared_ptr<const StateSnapshot> snapshot) {
  CHECK_EQ(snapshot->length(), static_cast<int64_t>(tokens.size()));
  if (tokens.empty() || snapshot->bytes() > options_.bytes) return;
  const auto [entry, added] =
      entries_.try_emplace(Tokens(tokens.begin(), tokens.end()));
  entry->second.used = ++clock_;
  if (!added) return;
  for (const StateSnapshot::Page& page : snapshot->pages()) {
    if (++holders_[page] == 1) bytes_ += page.bytes;
  }
  bytes_ += snapshot->copied_bytes();
  entry->second.snapshot = std::move(snapshot);
  while (bytes_ > options_.bytes) CHECK(Evict());
}

void PrefixIndex::Drop(Entries::iterator entry) {
  const StateSnapshot& snapshot = *entry->second.snapshot;
  for (const StateSnapshot::Page& page : snapshot.pages()) {
    const auto it = holders_.find(page);
    if (--it->second > 0) continue;
    bytes_ -= page.bytes;
    holders_.erase(it);
  }
  bytes_ -= snapshot.copied_bytes();
  entries_.erase(entry);
}

PrefixIndex::Entries::iterator PrefixIndex::Beginning(Tokens tokens,
                                                      const Tokens* itself) {
  // A beginning sorts before what it begins, after all that begin alike and
  // are shorter: the last entry up to `tokens` is the one, or shows how far to
  // cut them.
  while (true) {
    auto entry = entries_.upper_bound(tokens);
    if (entry != entries_.begin() && itself != nullptr &&
        std::prev(entry)->first == *itself) {
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
  const auto shorter = Beginning(entry->first, &entry->first);
  return length - (shorter == entries_.end()
                       ? 0
                       : static_cast<int64_t>(shorter->first.size()));
}

bool PrefixIndex::Evict() {
  auto worst = entries_.end();
  double least = 0;
  for (auto entry = entries_.begin(); entry != entries_.end(); ++entry) {
    const auto bytes = static_cast<double>(
        std::max<int64_t>(1, OwnBytes(*entry->second.snapshot)));
    const double value = static_cast<double>(Cost(entry)) / bytes;
    if (worst == entries_.end() || value < least ||
        (value == least && entry->second.used < worst->second.used)) {
      worst = entry;
      least = value;
    }
  }
  if (worst == entries_.end()) return false;
  Drop(worst);
  ++counts_.evictions;
  return true;
}

PrefixIndex::Match PrefixIndex::Find(std::span<const int32_t> tokens) {
  const Tokens key(tokens.begin(), tokens.end());
  Match match;
  auto found = Beginning(key, nullptr);
  if (found != entries_.end()) {
    match.length = static_cast<int64_t>(found->first.size());
  }
  const auto next = entries_.lower_bound(key);
  const auto compare = [&](Entries::iterator entry) {
    const int64_t common = Common(entry->first, key);
    match.common = std::max(match.common, common);
    if (options_.truncates && common > match.length) {
      match.length = common;
      found = entry;
    }
  };
  if (next != entries_.end()) compare(next);
  if (next != entries_.begin()) compare(std::prev(next));
  const auto asked = static_cast<int64_t>(tokens.size());
  if (match.length > 0) {
    match.snapshot = found->second.snapshot;
    found->second.used = ++clock_;
  }
  match.reason = match.length == asked         ? Reason::kWhole
                 : match.common == 0           ? Reason::kUnknown
                 : match.common > match.length ? Reason::kBetween
                                               : Reason::kDiverged;
  ++counts_.finds;
  counts_.hits += match.length > 0 ? 1 : 0;
  counts_.tokens_asked += asked;
  counts_.tokens_found += match.length;
  return match;
}

}  // namespace intarsia
