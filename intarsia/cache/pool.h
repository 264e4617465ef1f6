// Pools: the memory of all sequences' state, made from StateSpecs alone. A
// sequence holds a slot (its per-sequence state) and pages (its per-token
// entries); all sublayers share one page table a sequence.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "intarsia/cache/state_spec.h"
#include "intarsia/cache/state_view.h"
#include "intarsia/core/batch.h"
#include "intarsia/core/status.h"

namespace intarsia {

class StatePool {
 public:
  struct Options {
    int slots = 1;          // most sequences at a time
    int64_t tokens = 2048;  // most per-token entries of all together
    int64_t page = 64;      // entries a page; a multiple of 64
    DType token_dtype = DType::kBF16;
    Device device;
  };
  // One list of specs a sublayer, as Model::state() gives them. On a CPU the
  // memory is taken as entries come. Throws EngineError, with the figures, when
  // all of it would be more than what is free.
  StatePool(std::vector<std::vector<StateSpec>> sublayers, Options options);

  // Hands out a slot with its state at init and no pages; -1: none is free.
  int Acquire();
  void Release(int slot);
  // Makes room for entries [0, tokens) of the slot's sequence; false (and
  // nothing changes) when the pages run out.
  bool Reserve(int slot, int64_t tokens);
  // Tokens of the sequence that the state has seen; the caller's to advance.
  int64_t length(int slot) const { return slots_.at(slot).length; }
  void set_length(int slot, int64_t length) { slots_.at(slot).length = length; }

  // The views of a batch, one a sublayer. Segment n's sequence is in slot
  // batch.slots[n]; its entries must be reserved. Valid until the next Acquire,
  // Release or Reserve.
  std::vector<StateView> View(const Batch& batch) const;

  // A sequence's whole state as host tensors, in a fixed order, and back into a
  // fresh slot of a pool with the same specs: bitwise the same sequence.
  struct Saved {
    std::string name;  // "3.k": sublayer and state
    Tensor values;
  };
  std::vector<Saved> Save(int slot) const;
  Status Restore(int slot, const std::vector<Saved>& saved, int64_t length);

  int64_t bytes() const { return bytes_; }  // at most
  // Of the pages and slots that were in use at some time.
  int64_t bytes_taken() const;
  int64_t bytes_per_token() const { return bytes_per_token_; }
  int64_t bytes_per_sequence() const { return bytes_per_sequence_; }
  int free_slots() const { return static_cast<int>(free_slots_.size()); }
  int64_t free_pages() const {
    return static_cast<int64_t>(free_pages_.size());
  }
  const Options& options() const { return options_; }

 private:
  struct Slot {
    bool used = false;
    int64_t length = 0;
    std::vector<int32_t> pages;
  };
  // A pool tensor for each state of a sublayer: [slots, ...] or
  // [pages, page, ...].
  struct Sublayer {
    std::vector<StateSpec> specs;
    std::vector<Tensor> pools;
  };
  Tensor MakePool(const Shape& shape, DType dtype) const;
  void CheckMemory() const;
  int64_t pages_for(int64_t tokens) const {
    return (tokens + options_.page - 1) / options_.page;
  }

  Options options_;
  std::vector<Sublayer> sublayers_;
  std::vector<Slot> slots_;
  std::vector<int> free_slots_;
  std::vector<int32_t> free_pages_;
  int64_t pages_taken_ = 0;  // the most at a time, as the next
  int slots_taken_ = 0;
  bool has_tokens_ = false;
  int64_t bytes_ = 0, bytes_per_token_ = 0, bytes_per_sequence_ = 0;
  // i32 [slots, max_pages] on a GPU, rewritten by View.
  mutable Tensor device_table_;
  mutable Tensor device_entries_;
};

}  // namespace intarsia
