// Communicator: collective operations among the ranks of a group. A null
// communicator in a Context stands for a group of one.
#pragma once

#include <memory>
#include <vector>

#include "intarsia/core/tensor.h"

namespace intarsia {

// Every rank of the group makes the same calls in the same order; each call
// blocks until all have. Failures throw EngineError.
class Communicator {
 public:
  virtual ~Communicator() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;
  // x ← Σ over ranks, in rank order, so every rank holds the same bits. fp32.
  virtual void AllReduceSum(Tensor* x) = 0;
  virtual void Barrier() = 0;
};

// One communicator a rank for `size` threads of this process.
std::vector<std::unique_ptr<Communicator>> MakeLocalGroup(int size);

}  // namespace intarsia
