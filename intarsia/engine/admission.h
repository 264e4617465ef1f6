// What a model and its sequences take, in bytes, told before weights are read.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "intarsia/core/status.h"
#include "intarsia/engine/model_runner.h"
#include "intarsia/model/model.h"

namespace intarsia {

struct MemoryNeeds {
  int64_t weights = 0;   // as stored
  int64_t sequence = 0;  // state of a sequence, whatever its length
  int64_t token = 0;     // state that each token adds
  int64_t sequences = 1, context = 0;
  int64_t one = 0;     // state of one sequence of `context` tokens
  int64_t state = 0;   // of all of them, or the budget where that is less
  int64_t budget = 0;  // for state; 0: none
  int64_t free = -1;   // memory; -1: not known (a device's)

  // A line each: what, and its bytes.
  std::vector<std::pair<std::string, int64_t>> Table() const;
  // Fails where one sequence does not fit the budget, or weights and state do
  // not fit what is free. The message names the bytes and what to change.
  Status Check() const;
};

// `model` needs no weights. Fails where its states do not fit each other or the
// options.
Result<MemoryNeeds> NeedsOf(const Model& model, int64_t weight_bytes,
                            const ModelRunner::Options& options);

}  // namespace intarsia
