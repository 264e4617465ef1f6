// StatePool: the memory of all sequences' state, made from StateSpecs alone. A
// sequence holds a slot (its states of one entry) and pages (its entries a
// token), a table of pages for each group of states that grow alike
// (state_layout.h). Sequences share pages until one of them writes.
//
// Not thread-safe. On a device, copies are ordered on the backend's stream.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "intarsia/cache/page_allocator.h"
#include "intarsia/cache/page_table.h"
#include "intarsia/cache/state_layout.h"
#include "intarsia/cache/state_spec.h"
#include "intarsia/cache/state_view.h"
#include "intarsia/core/batch.h"
#include "intarsia/core/status.h"

namespace intarsia {

class StatePool;

// A sequence as it was at some length, on the device: its pages, shared, and a
// copy of its states of one entry. It may outlive the pool.
class StateSnapshot {
 public:
  ~StateSnapshot();
  StateSnapshot(const StateSnapshot&) = delete;
  StateSnapshot& operator=(const StateSnapshot&) = delete;

  int64_t length() const { return length_; }
  // Of the copy, and with the pages that it holds, whoever shares them.
  int64_t copied_bytes() const { return copied_; }
  int64_t bytes() const { return bytes_; }
  struct Page {
    int group;
    int32_t page;
    int64_t bytes;
    auto operator<=>(const Page&) const = default;
  };
  std::vector<Page> pages() const;
  // Of one of its pages: snapshots and sequences together.
  int32_t holders(const Page& page) const {
    return (*allocators_)[page.group].holders(page.page);
  }

 private:
  friend class StatePool;
  StateSnapshot() = default;
  int64_t length_ = 0, bytes_ = 0, copied_ = 0;
  std::vector<int64_t> page_bytes_;  // by group
  std::shared_ptr<std::vector<PageAllocator>> allocators_;
  std::vector<std::vector<int32_t>> pages_;  // by group; -1: given back
  std::vector<Tensor> entries_;              // of stores without pages
};

class StatePool {
 public:
  struct Options {
    int slots = 1;          // most sequences at a time
    int64_t tokens = 2048;  // most tokens of all together
    int64_t context = 0;    // most tokens of one; 0: `tokens`
    int64_t step = 0;       // most that a batch adds to one; 0: `context`
    int64_t page = 64;      // entries a page at most; a multiple of 16
    DType token_dtype = DType::kBF16;  // f32, bf16, f16, i8 (CPU)
    Device device;
    int ranks = 1;      // of tensor parallelism
    int64_t bytes = 0;  // > 0: the most that the pool takes; fewer tokens then
    // Keep tables on the device even where that is the CPU, for tests.
    bool device_tables = false;
  };
  // One list of specs a sublayer, as Model::state() gives them. On a CPU the
  // memory is taken as entries come. Throws EngineError, with the figures, when
  // the states do not fit each other, the budget or what is free.
  StatePool(const std::vector<std::vector<StateSpec>>& sublayers,
            Options options);
  StatePool(const StatePool&) = delete;
  StatePool& operator=(const StatePool&) = delete;

  // Hands out a slot with its state at init and no pages; -1: none is free.
  int Acquire();
  void Release(int slot);
  // Makes sure that batches of at most options.step tokens can take the
  // sequence to `tokens` tokens. False, and nothing changes, when the pages do
  // not suffice.
  bool Reserve(int slot, int64_t tokens);
  // Tokens that the state has seen. The caller advances it after a batch; pages
  // that no later token can read are given back then.
  int64_t length(int slot) const { return slots_.at(slot).length; }
  void set_length(int slot, int64_t length);

  // The views of a batch, one a sublayer. Segment n's sequence is in slot
  // batch.slots[n] (-1: padding), its tokens are reserved. Valid until the next
  // call that changes the pool. The pages that the batch writes are the
  // sequence's own from here on.
  std::vector<StateView> View(const Batch& batch);

  // A new sequence that goes on from where this one stands: pages are shared,
  // states of one entry copied. -1: no slot or page is free.
  int Fork(int slot);
  // Null: no page is free for the one that the sequence goes on writing.
  std::shared_ptr<const StateSnapshot> Snapshot(int slot);
  // The sequence in `slot` becomes that of the snapshot, of this pool.
  void Resume(int slot, const StateSnapshot& snapshot);
  // Takes a sequence back to `length` tokens, as its states' rollback allows.
  // Returns the length it has then: less than asked where the caller has to run
  // tokens again. `snapshot`, which may be null, is of this sequence, of at
  // most `length` tokens. Fails, with nothing changed, naming the state that
  // has no way back.
  Result<int64_t> Truncate(int slot, int64_t length,
                           const StateSnapshot* snapshot = nullptr);

  // Whether every sequence goes back to any shorter length without a snapshot.
  bool truncates() const;

  // A sequence's whole state as host tensors, in the order of
  // StateLayout::Parts, and back into a fresh slot of a pool with the same
  // states: bitwise the same sequence. Parts of windows may have all their
  // entries or those that are kept.
  struct Saved {
    std::string name;
    Tensor values;
  };
  std::vector<Saved> Save(int slot) const;
  Status Restore(int slot, const std::vector<Saved>& saved, int64_t length);

  const StateLayout& layout() const { return layout_; }
  int64_t bytes() const { return bytes_; }  // at most
  // Of the pages and slots that were in use at one time, the most so far.
  int64_t bytes_taken() const;
  int64_t bytes_held() const;  // now
  int64_t bytes_per_token() const { return layout_.bytes_per_token(); }
  int64_t bytes_per_sequence() const { return layout_.bytes_per_sequence(); }
  int free_slots() const { return static_cast<int>(free_slots_.size()); }
  // Pages that no sequence holds or was promised, of the group with the fewest.
  int64_t free_pages() const;
  // For schedulers: bytes of pages that one sequence of so many tokens holds at
  // most, that are neither held nor promised, and that there are in all.
  int64_t PageBytesFor(int64_t tokens) const;
  int64_t free_page_bytes() const;
  int64_t page_bytes() const { return bytes_ - RowBytes(); }
  // Tokens that the pages of all sequences hold.
  int64_t tokens() const { return size_.tokens; }
  // Bytes of page tables that went to the device.
  int64_t uploaded_bytes() const;
  const Options& options() const { return options_; }

 private:
  // A sequence's pages of one group.
  struct Chain {
    std::vector<int32_t> pages;  // -1: none yet, or given back
    int64_t trimmed = 0;         // pages before it were looked at
    int64_t promised = 0;        // pages that the sequence may still take
  };
  struct Slot {
    bool used = false;
    int64_t length = 0, reserved = 0;
    std::vector<Chain> chains;  // by group
  };
  struct StoreMemory {
    Tensor values, scales;
  };

  void Plan();
  int64_t RowBytes() const { return options_.slots * bytes_per_sequence(); }
  void CheckMemory() const;
  Tensor Allocate(const Shape& shape, DType dtype) const;
  Slot& Used(int slot);
  const Slot& Used(int slot) const;
  void InitSlot(int slot);

  // Pages of a group that the sequence may still need at one time to reach
  // `reserved` tokens; `parted`: once others hold all that it has too.
  int64_t Needs(const Slot& slot, size_t group, int64_t reserved,
                bool parted) const;
  int64_t Unpromised(size_t group) const;
  bool Promise(Slot* slot, int64_t reserved);
  bool CanPart(const Slot& slot) const;
  void DropPages(Slot* slot, size_t group, int64_t first, int64_t end);
  void DropAll(int slot);
  // Gives the sequence pages of its own for entries [begin, end).
  void MapPages(int slot, size_t group, int64_t begin, int64_t end);
  void CopyPage(size_t group, int32_t from, int32_t to);
  void SharePages(const Slot& from, std::vector<std::vector<int32_t>>* to);
  void CopyRow(const Tensor& from, Tensor to);
  // Drops the entries past `length`; false where some before it are gone.
  bool Cut(Slot* slot, int64_t length);
  Status CheckSaved(const std::vector<Saved>& saved, int64_t length) const;

  Options options_;
  StateLayout layout_;
  PoolSize size_;
  std::vector<StoreMemory> memory_;                         // by store
  std::shared_ptr<std::vector<PageAllocator>> allocators_;  // by group
  std::vector<int64_t> promised_;                           // by group
  std::vector<PageTable> tables_;  // by group; none on a CPU
  std::vector<Slot> slots_;
  std::vector<int> free_slots_;
  int slots_taken_ = 0;
  int64_t bytes_ = 0;
};

}  // namespace intarsia
