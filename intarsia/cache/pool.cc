#include "intarsia/cache/pool.h"

#include <algorithm>
#include <string>

#include "intarsia/core/device.h"
#include "intarsia/core/lazy_memory.h"

namespace intarsia {
namespace {

std::string Mebibytes(int64_t bytes) {
  return std::to_string(bytes >> 20) + " MiB";
}

}  // namespace

StatePool::StatePool(const std::vector<std::vector<StateSpec>>& sublayers,
                     Options options)
    : options_(options) {
  CHECK_GE(options_.slots, 1);
  if (options_.context == 0) options_.context = options_.tokens;
  if (options_.step == 0) options_.step = options_.context;
  auto layout =
      StateLayout::Make(sublayers, {.token_dtype = options.token_dtype,
                                    .page = options.page,
                                    .ranks = options.ranks});
  if (!layout.ok()) throw EngineError(layout.status().message());
  layout_ = std::move(layout).value();
  Plan();
  allocators_ = std::make_shared<std::vector<PageAllocator>>();
  promised_.resize(layout_.groups.size(), 0);
  const bool tables = options_.device_tables || !options_.device.is_cpu();
  for (const StateLayout::Group& group : layout_.groups) {
    allocators_->emplace_back(
        static_cast<int32_t>(layout_.Pages(group, size_)));
    if (!tables) continue;
    const int64_t width =
        std::max<int64_t>(1, group.PagesFor(options_.context));
    tables_.emplace_back(options_.slots, width, options_.device);
  }
  for (const StateLayout::Store& store : layout_.stores) {
    StoreMemory& memory = memory_.emplace_back();
    if (store.group < 0) {
      memory.values = Allocate(store.EntryShape({options_.slots}), store.dtype);
      continue;
    }
    const int64_t pages = (*allocators_)[store.group].pages();
    const int64_t page = layout_.groups[store.group].page;
    memory.values = Allocate(store.EntryShape({pages, page}), store.dtype);
    if (store.scale_group == 0) continue;
    memory.scales = Allocate(store.ScaleShape({pages, page}), DType::kBF16);
  }
  slots_.resize(options_.slots);
  for (int s = options_.slots - 1; s >= 0; --s) free_slots_.push_back(s);
}

// How many tokens the pool holds.
void StatePool::Plan() {
  size_ = {.slots = options_.slots,
           .tokens = options_.tokens,
           .context = options_.context,
           .step = options_.step};
  if (options_.token_dtype == DType::kI8 && options_.device.is_cuda()) {
    throw EngineError("[cache] --state-dtype int8 runs on the CPU alone");
  }
  if (options_.bytes > 0) {
    size_.tokens = layout_.FitTokens(size_, options_.bytes);
    if (size_.tokens == 0 || layout_.Bytes(size_) > options_.bytes) {
      throw EngineError("[cache] " + Mebibytes(options_.bytes) +
                        " of state hold no sequence: one takes " +
                        std::to_string(bytes_per_sequence()) + " bytes and " +
                        std::to_string(bytes_per_token()) + " a token");
    }
  }
  bytes_ = layout_.Bytes(size_);
  CheckMemory();
}

void StatePool::CheckMemory() const {
  if (!options_.device.is_cpu()) return;  // its allocator says what is free
  const auto free = static_cast<int64_t>(AvailableMemory());
  if (bytes_ <= free) return;
  std::string message = "[cache] the state does not fit in memory: " +
                        std::to_string(bytes_per_token()) + " bytes a token, " +
                        std::to_string(bytes_per_sequence()) +
                        " bytes a sequence; " + std::to_string(size_.tokens) +
                        " tokens and " + std::to_string(options_.slots) +
                        " sequences want " + Mebibytes(bytes_) + ", free are " +
                        Mebibytes(free);
  const int64_t fits = layout_.FitTokens(size_, free) / options_.slots;
  if (fits > 0) {
    message += "; give a smaller --ctx (" + std::to_string(fits) +
               " tokens a sequence would fit) or --state-dtype";
  }
  throw EngineError(message);
}

Tensor StatePool::Allocate(const Shape& shape, DType dtype) const {
  const size_t bytes = static_cast<size_t>(shape.numel()) * SizeOf(dtype);
  constexpr size_t kLazy = size_t{1} << 20;
  if (!options_.device.is_cpu() || bytes < kLazy) {
    return Tensor::Zeros(shape, dtype, options_.device);
  }
  std::shared_ptr<Storage> storage = LazyZeros(bytes);
  if (storage == nullptr) {
    throw EngineError("[cache] the system refuses " + std::to_string(bytes) +
                      " bytes of address space for state; give a smaller "
                      "--ctx");
  }
  return Tensor::Wrap(std::move(storage), 0, shape, dtype);
}

int64_t StatePool::bytes_taken() const {
  int64_t bytes = slots_taken_ * bytes_per_sequence();
  for (size_t g = 0; g < layout_.groups.size(); ++g) {
    bytes += (*allocators_)[g].most_held() * layout_.groups[g].page_bytes();
  }
  return bytes;
}

int64_t StatePool::bytes_held() const {
  int64_t bytes = (options_.slots - free_slots()) * bytes_per_sequence();
  for (size_t g = 0; g < layout_.groups.size(); ++g) {
    const PageAllocator& pages = (*allocators_)[g];
    bytes += (pages.pages() - pages.free()) * layout_.groups[g].page_bytes();
  }
  return bytes;
}

int64_t StatePool::free_pages() const {
  int64_t least = -1;
  for (size_t g = 0; g < layout_.groups.size(); ++g) {
    const int64_t n = Unpromised(g);
    if (least < 0 || n < least) least = n;
  }
  return std::max<int64_t>(0, least);
}

int64_t StatePool::PageBytesFor(int64_t tokens) const {
  int64_t bytes = 0;
  for (const StateLayout::Group& group : layout_.groups) {
    bytes += group.PagesHeld(tokens, options_.step) * group.page_bytes();
  }
  return bytes;
}

int64_t StatePool::free_page_bytes() const {
  int64_t bytes = 0;
  for (size_t g = 0; g < layout_.groups.size(); ++g) {
    bytes += Unpromised(g) * layout_.groups[g].page_bytes();
  }
  return bytes;
}

int64_t StatePool::uploaded_bytes() const {
  int64_t bytes = 0;
  for (const PageTable& table : tables_) bytes += table.uploaded_bytes();
  return bytes;
}

StatePool::Slot& StatePool::Used(int slot) {
  return const_cast<Slot&>(std::as_const(*this).Used(slot));
}

const StatePool::Slot& StatePool::Used(int slot) const {
  const Slot& s = slots_.at(slot);
  CHECK(s.used) << "slot " << slot;
  return s;
}

int StatePool::Acquire() {
  if (free_slots_.empty()) return -1;
  const int slot = free_slots_.back();
  free_slots_.pop_back();
  slots_taken_ = std::max(slots_taken_, options_.slots - free_slots());
  slots_[slot] = Slot();
  slots_[slot].used = true;
  slots_[slot].chains.resize(layout_.groups.size());
  InitSlot(slot);
  return slot;
}

void StatePool::InitSlot(int slot) {
  for (size_t i = 0; i < memory_.size(); ++i) {
    const StateLayout::Store& store = layout_.stores[i];
    if (store.group >= 0) continue;
    Tensor row = memory_[i].values.Select(0, slot);
    const float init = store.spec.init;
    if (init == 0.0f) {
      Backend(row.device()).Zero(row.mutable_raw(), row.nbytes(), nullptr);
    } else if (store.dtype == DType::kI32) {
      const std::vector<int32_t> values(row.numel(),
                                        static_cast<int32_t>(init));
      row.CopyFrom(Tensor::From(values, store.spec.shape).To(row.device()));
    } else {
      row.CopyFrom(Tensor::Full(store.spec.shape, init).To(row.device()));
    }
  }
}

void StatePool::Release(int slot) {
  Used(slot);
  DropAll(slot);
  slots_[slot] = Slot();
  free_slots_.push_back(slot);
}

int64_t StatePool::Unpromised(size_t group) const {
  return (*allocators_)[group].free() - promised_[group];
}

int64_t StatePool::Needs(const Slot& slot, size_t g, int64_t reserved,
                         bool parted) const {
  const StateLayout::Group& group = layout_.groups[g];
  const PageAllocator& pages = (*allocators_)[g];
  const Chain& chain = slot.chains[g];
  const int64_t shared = parted ? group.PagesFor(slot.length) : 0;
  const auto mine = [&](int64_t p) {
    return p >= shared && p < static_cast<int64_t>(chain.pages.size()) &&
           chain.pages[p] >= 0 && pages.holders(chain.pages[p]) == 1;
  };
  // Pages that will be written and are not the sequence's own.
  int64_t need = 0;
  const int64_t begin = group.entries(slot.length) / group.page;
  const int64_t end = group.PagesFor(reserved);
  for (int64_t p = begin; p < end; ++p) need += mine(p) ? 0 : 1;
  if (group.entries(slot.length) == group.entries(reserved)) return 0;
  if (!group.windowed()) return need;
  // What is its own is given back as it goes on, what others hold is not.
  int64_t own = 0;
  const auto kept = (group.keep_first + group.page - 1) / group.page;
  for (int64_t p = 0; p < kept; ++p) own += mine(p) ? 1 : 0;
  for (int64_t p = std::max(kept, chain.trimmed);
       p < static_cast<int64_t>(chain.pages.size()); ++p) {
    own += mine(p) ? 1 : 0;
  }
  const int64_t most = group.PagesHeld(reserved, options_.step);
  return std::min(need, std::max<int64_t>(0, most - own));
}

bool StatePool::Promise(Slot* slot, int64_t reserved) {
  const size_t groups = layout_.groups.size();
  std::vector<int64_t> needs(groups);
  for (size_t g = 0; g < groups; ++g) {
    needs[g] = Needs(*slot, g, reserved, false);
    if (needs[g] > Unpromised(g) + slot->chains[g].promised) return false;
  }
  for (size_t g = 0; g < groups; ++g) {
    promised_[g] += needs[g] - slot->chains[g].promised;
    slot->chains[g].promised = needs[g];
  }
  slot->reserved = reserved;
  return true;
}

bool StatePool::Reserve(int slot, int64_t tokens) {
  Slot& s = Used(slot);
  return Promise(&s, std::max(tokens, s.length));
}

void StatePool::DropPages(Slot* slot, size_t group, int64_t first,
                          int64_t end) {
  std::vector<int32_t>& pages = slot->chains[group].pages;
  // The page that was taken last is handed out again last.
  for (int64_t p = end - 1; p >= first; --p) {
    if (pages[p] >= 0) (*allocators_)[group].Release(pages[p]);
    pages[p] = -1;
  }
}

void StatePool::DropAll(int slot) {
  Slot& s = slots_[slot];
  for (size_t g = 0; g < s.chains.size(); ++g) {
    Chain& chain = s.chains[g];
    DropPages(&s, g, 0, static_cast<int64_t>(chain.pages.size()));
    promised_[g] -= chain.promised;
    chain = Chain();
  }
  s.length = s.reserved = 0;
}

void StatePool::set_length(int slot, int64_t length) {
  Slot& s = Used(slot);
  CHECK_GE(length, s.length) << "Truncate takes a sequence back";
  CHECK(length <= s.reserved || layout_.groups.empty()) << length;
  s.length = length;
  s.reserved = std::max(s.reserved, length);
  for (size_t g = 0; g < layout_.groups.size(); ++g) {
    CHECK_GE(static_cast<int64_t>(s.chains[g].pages.size()),
             layout_.groups[g].PagesFor(length))
        << "tokens of slot " << slot << " were in no batch";
  }
  for (size_t g = 0; g < layout_.groups.size(); ++g) {
    const StateLayout::Group& group = layout_.groups[g];
    if (!group.windowed()) continue;
    Chain& chain = s.chains[g];
    const int64_t end =
        std::min<int64_t>(group.FirstKept(length) / group.page,
                          static_cast<int64_t>(chain.pages.size()));
    const int64_t first = (group.keep_first + group.page - 1) / group.page;
    const int64_t begin = std::max(first, chain.trimmed);
    if (begin >= end) continue;
    DropPages(&s, g, begin, end);
    chain.trimmed = end;
  }
  CHECK(Promise(&s, s.reserved)) << "slot " << slot;
}

void StatePool::CopyPage(size_t group, int32_t from, int32_t to) {
  const auto copy = [&](Tensor& pool) {
    Tensor target = pool.Select(0, to);
    const Tensor source = pool.Select(0, from);
    Backend(pool.device())
        .CopyOnDevice(target.mutable_raw(), source.raw(), source.nbytes(),
                      nullptr);
  };
  for (size_t i = 0; i < memory_.size(); ++i) {
    if (layout_.stores[i].group != static_cast<int>(group)) continue;
    copy(memory_[i].values);
    if (memory_[i].scales.defined()) copy(memory_[i].scales);
  }
}

void StatePool::MapPages(int slot, size_t g, int64_t begin, int64_t end) {
  if (begin >= end) return;
  const StateLayout::Group& group = layout_.groups[g];
  PageAllocator& pages = (*allocators_)[g];
  Chain& chain = slots_[slot].chains[g];
  const int64_t last = (end + group.page - 1) / group.page;
  if (static_cast<int64_t>(chain.pages.size()) < last) {
    chain.pages.resize(last, -1);
  }
  for (int64_t p = begin / group.page; p < last; ++p) {
    int32_t& page = chain.pages[p];
    const int32_t before = page;
    page = before < 0 ? pages.Allocate() : pages.Writable(before);
    CHECK_GE(page, 0) << "entries of slot " << slot << " are not reserved";
    if (before >= 0 && page != before) CopyPage(g, before, page);
  }
  // What was mapped is promised no more.
  const int64_t needs = Needs(slots_[slot], g, slots_[slot].reserved, false);
  promised_[g] += std::min<int64_t>(0, needs - chain.promised);
  chain.promised = std::min(chain.promised, needs);
}

std::vector<StateView> StatePool::View(const Batch& batch) {
  const size_t groups = layout_.groups.size();
  for (int64_t n = 0; n < batch.segments(); ++n) {
    const int slot = batch.slots[n];
    if (slot < 0) continue;
    Slot& s = slots_.at(slot);
    CHECK(s.used) << "segment " << n << " names free slot " << slot;
    if (batch.length(n) == 0 || groups == 0) continue;
    const int64_t begin = batch.positions[batch.begin(n)];
    const int64_t end = begin + batch.length(n);
    CHECK_LE(end, s.reserved) << "entries of segment " << n;
    for (size_t g = 0; g < groups; ++g) {
      const StateLayout::Group& group = layout_.groups[g];
      if (group.windowed()) {
        CHECK_LE(batch.length(n), options_.step) << "tokens of segment " << n;
      }
      MapPages(slot, g, group.entries(begin), group.entries(end));
      if (!tables_.empty()) tables_[g].Update(slot, s.chains[g].pages);
    }
  }

  // By group: rows of all slots, entries before the batch.
  std::vector<TokenPages> pages(groups);
  for (size_t g = 0; g < groups; ++g) {
    const StateLayout::Group& group = layout_.groups[g];
    pages[g].page = group.page;
    pages[g].table.resize(slots_.size());
    for (size_t s = 0; s < slots_.size(); ++s) {
      if (slots_[s].used) pages[g].table[s] = slots_[s].chains[g].pages;
    }
    pages[g].entries_before.resize(batch.segments(), 0);
    for (int64_t n = 0; n < batch.segments(); ++n) {
      if (batch.length(n) == 0) continue;
      pages[g].entries_before[n] =
          static_cast<int32_t>(group.entries(batch.positions[batch.begin(n)]));
    }
    if (!tables_.empty()) pages[g].device_table = tables_[g].device();
  }
  std::vector<StateView> views;
  for (const std::vector<int>& stores : layout_.stores_of) {
    StateView& view = views.emplace_back();
    for (const int i : stores) {
      StateView::Entry& entry = view.entries.emplace_back();
      const int group = layout_.stores[i].group;
      if (group < 0) {
        entry.sequence = memory_[i].values;
        continue;
      }
      entry.tokens = pages[group];
      entry.tokens.pool = memory_[i].values;
      entry.tokens.scales = memory_[i].scales;
    }
  }
  return views;
}

}  // namespace intarsia
