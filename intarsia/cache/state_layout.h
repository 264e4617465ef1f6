// StateLayout: the states of all sublayers, sorted into stores and groups, and
// what they cost in bytes. It holds no memory.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "intarsia/cache/state_spec.h"
#include "intarsia/core/status.h"

namespace intarsia {

// How many sequences and tokens a pool is for.
struct PoolSize {
  int64_t slots = 1;    // most sequences at a time
  int64_t tokens = 0;   // most tokens of all sequences together
  int64_t context = 0;  // most tokens of one sequence
  int64_t step = 0;     // most tokens that one batch adds to a sequence
};

struct StateLayout {
  struct Options {
    // Of numbers that states keep for each token: f32, bf16, f16, or i8 with a
    // scale for each kScaleGroup channels.
    DType token_dtype = DType::kBF16;
    int64_t page = 64;  // entries a page at most; a multiple of 16
    int ranks = 1;      // of tensor parallelism: shapes are those of one rank
  };

  // States whose entries come and go together share one table of pages.
  struct Group {
    int64_t stride = 1, keep_first = 0, keep_last = 0;  // see StateSpec
    int64_t page = 0;                                   // entries
    int64_t entry_bytes = 0;                            // of all its stores

    bool windowed() const { return keep_last > 0; }
    int64_t page_bytes() const { return page * entry_bytes; }
    int64_t entries(int64_t tokens) const { return tokens / stride; }
    int64_t PagesFor(int64_t tokens) const {
      return (entries(tokens) + page - 1) / page;
    }
    // The first of the last entries that are kept of so many tokens; those from
    // keep_first up to it are not.
    int64_t FirstKept(int64_t tokens) const;
    // The most pages that a sequence which grows to `tokens` tokens in batches
    // of at most `step` holds at a time.
    int64_t PagesHeld(int64_t tokens, int64_t step) const;
  };

  // Memory of one state: [slots, entry...] or [pages, page, entry...].
  struct Store {
    std::string name;  // "3.k": sublayer and state
    StateSpec spec;    // with the shape that a rank keeps
    int group = -1;    // -1: one entry a sequence
    DType dtype = DType::kF32;
    int64_t scale_group = 0;  // channels a scale; 0: none
    int64_t entry_bytes = 0;  // with its scales

    Shape EntryShape(std::initializer_list<int64_t> front) const;
    Shape ScaleShape(std::initializer_list<int64_t> front) const;
  };

  // A part of a saved sequence, in the order of the stores.
  struct Part {
    std::string name;  // the store's, with ".scale" for scales
    DType dtype = DType::kF32;
    Shape shape;         // of the entries that are kept
    Shape whole;         // with those that no token can read any more
    bool token = false;  // an entry a token
  };

  // One list of specs a sublayer, in the model's order. Fails, naming the
  // state, where a shape does not divide among the ranks, an owner does not fit
  // or a growth is not known.
  static Result<StateLayout> Make(
      const std::vector<std::vector<StateSpec>>& sublayers,
      const Options& options);

  std::vector<Group> groups;
  std::vector<Store> stores;
  // stores_of[l][i]: the store of state i of sublayer l. Sublayers that share a
  // state name the same one.
  std::vector<std::vector<int>> stores_of;

  int64_t bytes_per_sequence() const;  // one entry a sequence
  int64_t bytes_per_token() const;     // of groups that keep all entries
  // The most that the windowed groups of one sequence hold.
  int64_t window_bytes(int64_t context, int64_t step) const;

  // Pages of a group in a pool of this size, and the bytes of the whole pool.
  int64_t Pages(const Group& group, const PoolSize& size) const;
  int64_t Bytes(const PoolSize& size) const;
  // The most tokens, up to size.tokens, with which a pool takes at most `bytes`
  // bytes; 0: not one page fits.
  int64_t FitTokens(PoolSize size, int64_t bytes) const;

  // What a saved sequence of so many tokens has.
  std::vector<Part> Parts(int64_t length) const;
};

inline constexpr int64_t kScaleGroup = 32;

}  // namespace intarsia
