// What StatePool does with a whole sequence: fork, snapshot, truncate, save,
// restore.
#include <algorithm>
#include <functional>

#include "intarsia/cache/pool.h"
#include "intarsia/core/device.h"

namespace intarsia {
namespace {

using Rollback = StateSpec::Rollback;

// Entries that a saved sequence keeps of a group: [0, first), then [last, end).
struct Kept {
  int64_t first, last, end;

  Kept(const StateLayout::Group& group, int64_t length)
      : end(group.entries(length)) {
    first = group.windowed() ? std::min(group.keep_first, end) : end;
    last = std::max(first, group.FirstKept(length));
  }
  int64_t count() const { return first + end - last; }
};

// Calls piece(page, offset, entries, row) for the runs of entries [begin, end)
// that lie in one page; `row` counts from `row0` at entry `begin`.
template <typename Piece>
void ForPieces(int64_t begin, int64_t end, int64_t page, int64_t row0,
               const Piece& piece) {
  for (int64_t e = begin; e < end;) {
    const int64_t n = std::min(end - e, page - e % page);
    piece(e / page, e % page, n, row0 + e - begin);
    e += n;
  }
}

template <typename Piece>
void ForKept(const Kept& kept, int64_t page, bool whole, const Piece& piece) {
  ForPieces(0, kept.first, page, 0, piece);
  ForPieces(kept.last, kept.end, page, whole ? kept.last : kept.first, piece);
}

}  // namespace

StateSnapshot::~StateSnapshot() {
  for (size_t g = 0; g < pages_.size(); ++g) {
    for (const int32_t page : pages_[g]) {
      if (page >= 0) (*allocators_)[g].Release(page);
    }
  }
}

std::vector<StateSnapshot::Page> StateSnapshot::pages() const {
  std::vector<Page> pages;
  for (size_t g = 0; g < pages_.size(); ++g) {
    for (const int32_t page : pages_[g]) {
      if (page >= 0)
        pages.push_back({static_cast<int>(g), page, page_bytes_[g]});
    }
  }
  return pages;
}

void StatePool::CopyRow(const Tensor& from, Tensor to) {
  Backend(to.device())
      .CopyOnDevice(to.mutable_raw(), from.raw(), from.nbytes(), nullptr);
}

// Whether enough pages are left for what the sequence was promised once others
// hold its pages too.
bool StatePool::CanPart(const Slot& slot) const {
  for (size_t g = 0; g < layout_.groups.size(); ++g) {
    if (Needs(slot, g, slot.reserved, true) >
        Unpromised(g) + slot.chains[g].promised) {
      return false;
    }
  }
  return true;
}

void StatePool::SharePages(const Slot& from,
                           std::vector<std::vector<int32_t>>* to) {
  to->resize(layout_.groups.size());
  for (size_t g = 0; g < layout_.groups.size(); ++g) {
    const std::vector<int32_t>& pages = from.chains[g].pages;
    const auto count =
        std::min<int64_t>(layout_.groups[g].PagesFor(from.length),
                          static_cast<int64_t>(pages.size()));
    (*to)[g].assign(pages.begin(), pages.begin() + count);
    for (const int32_t page : (*to)[g]) {
      if (page >= 0) (*allocators_)[g].Share(page);
    }
  }
}

int StatePool::Fork(int slot) {
  if (free_slots_.empty() || !CanPart(Used(slot))) return -1;
  const int fork = Acquire();
  Slot& from = slots_[slot];
  Slot& to = slots_[fork];
  std::vector<std::vector<int32_t>> pages;
  SharePages(from, &pages);
  for (size_t g = 0; g < pages.size(); ++g) {
    to.chains[g].pages = std::move(pages[g]);
  }
  to.length = to.reserved = from.length;
  for (size_t i = 0; i < memory_.size(); ++i) {
    if (layout_.stores[i].group >= 0) continue;
    Tensor& values = memory_[i].values;
    CopyRow(values.Select(0, slot), values.Select(0, fork));
  }
  CHECK(Promise(&from, from.reserved));
  return fork;
}

std::shared_ptr<const StateSnapshot> StatePool::Snapshot(int slot) {
  Slot& s = Used(slot);
  if (!CanPart(s)) return nullptr;
  std::shared_ptr<StateSnapshot> snapshot(new StateSnapshot);
  snapshot->length_ = s.length;
  snapshot->allocators_ = allocators_;
  SharePages(s, &snapshot->pages_);
  for (const StateLayout::Group& group : layout_.groups) {
    snapshot->page_bytes_.push_back(group.page_bytes());
  }
  for (const StateSnapshot::Page& page : snapshot->pages()) {
    snapshot->bytes_ += page.bytes;
  }
  for (size_t i = 0; i < memory_.size(); ++i) {
    const StateLayout::Store& store = layout_.stores[i];
    if (store.group >= 0) continue;
    Tensor copy = Tensor::Empty(store.spec.shape, store.dtype, options_.device);
    CopyRow(memory_[i].values.Select(0, slot), copy);
    snapshot->copied_ += store.entry_bytes;
    snapshot->entries_.push_back(std::move(copy));
  }
  snapshot->bytes_ += snapshot->copied_;
  CHECK(Promise(&s, s.reserved));
  return snapshot;
}

void StatePool::Resume(int slot, const StateSnapshot& snapshot) {
  Slot& s = Used(slot);
  CHECK(snapshot.allocators_ == allocators_) << "a snapshot of another pool";
  DropAll(slot);
  for (size_t g = 0; g < layout_.groups.size(); ++g) {
    s.chains[g].pages = snapshot.pages_[g];
    for (const int32_t page : snapshot.pages_[g]) {
      if (page >= 0) (*allocators_)[g].Share(page);
    }
  }
  size_t next = 0;
  for (size_t i = 0; i < memory_.size(); ++i) {
    if (layout_.stores[i].group >= 0) continue;
    CopyRow(snapshot.entries_[next++], memory_[i].values.Select(0, slot));
  }
  s.length = s.reserved = snapshot.length_;
}

bool StatePool::Cut(Slot* slot, int64_t length) {
  for (size_t g = 0; g < layout_.groups.size(); ++g) {
    const StateLayout::Group& group = layout_.groups[g];
    const Kept kept(group, length);
    bool there = true;
    ForKept(kept, group.page, false,
            [&](int64_t page, int64_t, int64_t, int64_t) {
              there &= slot->chains[g].pages[page] >= 0;
            });
    if (!there) return false;
  }
  for (size_t g = 0; g < layout_.groups.size(); ++g) {
    Chain& chain = slot->chains[g];
    const int64_t pages = layout_.groups[g].PagesFor(length);
    DropPages(slot, g, pages, static_cast<int64_t>(chain.pages.size()));
    chain.pages.resize(pages);
    chain.trimmed = std::min(chain.trimmed, pages);
  }
  slot->length = length;
  CHECK(Promise(slot, length));
  return true;
}

Result<int64_t> StatePool::Truncate(int slot, int64_t length,
                                    const StateSnapshot* snapshot) {
  Slot& s = Used(slot);
  CHECK(length >= 0 && length <= s.length) << length << " of " << s.length;
  if (length == s.length) return length;
  if (snapshot != nullptr) CHECK_LE(snapshot->length(), length);
  const int64_t back = snapshot != nullptr ? snapshot->length() : 0;
  // The first state that neither drops entries nor runs again.
  const StateLayout::Store* strict = nullptr;
  bool truncates = true;
  for (const StateLayout::Store& store : layout_.stores) {
    truncates &= store.spec.rollback == Rollback::kTruncate;
    if (strict == nullptr && store.spec.rollback == Rollback::kSnapshot) {
      strict = &store;
    }
  }
  if (truncates && Cut(&s, length)) return length;
  if (back < length && (truncates || strict != nullptr)) {
    const std::string way =
        truncates ? "entries that token " + std::to_string(length) +
                        " reads were given back"
                  : "state " + strict->name +
                        " goes back to snapshots alone, and there is none of "
                        "that length";
    return Unavailable("[cache] the sequence of " + std::to_string(s.length) +
                       " tokens does not go back to " + std::to_string(length) +
                       ": " + way);
  }
  if (snapshot != nullptr) {
    Resume(slot, *snapshot);
  } else {
    DropAll(slot);
    InitSlot(slot);
  }
  return back;
}

bool StatePool::truncates() const {
  return std::ranges::all_of(layout_.stores, [&](const auto& store) {
    return store.spec.rollback == Rollback::kTruncate &&
           (store.group < 0 || !layout_.groups[store.group].windowed());
  });
}

std::vector<StatePool::Saved> StatePool::Save(int slot) const {
  const Slot& s = Used(slot);
  const std::vector<StateLayout::Part> parts = layout_.Parts(s.length);
  std::vector<Saved> saved;
  for (size_t i = 0; i < memory_.size(); ++i) {
    const StateLayout::Store& store = layout_.stores[i];
    if (store.group < 0) {
      const Tensor row = memory_[i].values.Select(0, slot);
      saved.push_back({store.name, row.Clone().To(Cpu())});
      continue;
    }
    const StateLayout::Group& group = layout_.groups[store.group];
    const std::vector<int32_t>& pages = s.chains[store.group].pages;
    for (const Tensor* pool : {&memory_[i].values, &memory_[i].scales}) {
      if (!pool->defined()) continue;
      const StateLayout::Part& part = parts[saved.size()];
      Tensor rows = Tensor::Empty(part.shape, part.dtype);
      ForKept(Kept(group, s.length), group.page, false,
              [&](int64_t page, int64_t at, int64_t n, int64_t row) {
                rows.Slice(0, row, row + n)
                    .CopyFrom(pool->Select(0, pages[page])
                                  .Slice(0, at, at + n)
                                  .To(Cpu()));
              });
      saved.push_back({part.name, std::move(rows)});
    }
  }
  return saved;
}

Status StatePool::CheckSaved(const std::vector<Saved>& saved,
                             int64_t length) const {
  const std::vector<StateLayout::Part> parts = layout_.Parts(length);
  for (size_t i = 0; i < parts.size(); ++i) {
    const StateLayout::Part& part = parts[i];
    if (i < saved.size() && saved[i].name == part.name &&
        saved[i].values.dtype() == part.dtype &&
        (saved[i].values.shape() == part.shape ||
         saved[i].values.shape() == part.whole)) {
      continue;
    }
    return InvalidArgument(
        "[cache] the saved state does not fit: " + part.name + " should be " +
        std::string(Name(part.dtype)) + " " + part.shape.ToString());
  }
  if (saved.size() == parts.size()) return Status::Ok();
  return InvalidArgument("[cache] the saved state has " +
                         std::to_string(saved.size()) + " parts, this model " +
                         std::to_string(parts.size()));
}

Status StatePool::Restore(int slot, const std::vector<Saved>& saved,
                          int64_t length) {
  Slot& s = Used(slot);
  CHECK(s.length == 0) << "slot " << slot << " is not fresh";
  RETURN_IF_ERROR(CheckSaved(saved, length));
  if (!Reserve(slot, length)) {
    return Unavailable("[cache] no room for " + std::to_string(length) +
                       " tokens of saved state");
  }
  for (size_t g = 0; g < layout_.groups.size(); ++g) {
    const Kept kept(layout_.groups[g], length);
    MapPages(slot, g, 0, kept.first);
    MapPages(slot, g, kept.last, kept.end);
  }
  size_t next = 0;
  for (size_t i = 0; i < memory_.size(); ++i) {
    const StateLayout::Store& store = layout_.stores[i];
    if (store.group < 0) {
      Tensor& pool = memory_[i].values;
      pool.Select(0, slot).CopyFrom(saved[next++].values.To(pool.device()));
      continue;
    }
    const StateLayout::Group& group = layout_.groups[store.group];
    const std::vector<int32_t>& pages = s.chains[store.group].pages;
    const Kept kept(group, length);
    for (Tensor* pool : {&memory_[i].values, &memory_[i].scales}) {
      if (!pool->defined()) continue;
      const Tensor& values = saved[next++].values;
      ForKept(kept, group.page, values.dim(0) == kept.end,
              [&](int64_t page, int64_t at, int64_t n, int64_t row) {
                pool->Select(0, pages[page])
                    .Slice(0, at, at + n)
                    .CopyFrom(values.Slice(0, row, row + n).To(pool->device()));
              });
    }
  }
  s.length = length;
  CHECK(Promise(&s, length));
  return Status::Ok();
}

}  // namespace intarsia
