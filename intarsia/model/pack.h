// Weights in the order that this CPU's kernels read (formats/packing.h).
#pragma once

#include <functional>

#include "intarsia/core/thread_pool.h"
#include "intarsia/model/model.h"

namespace intarsia {

// What PackWeights would take; 0 where this CPU has nothing to gain.
size_t PackedBytes(const Model& model);

// Packs every matrix that products read, the table only where it is the head
// too; `packed` is called after each. The model computes on the CPU.
void PackWeights(Model* model, ThreadPool& pool,
                 const std::function<void()>& packed = nullptr);

}  // namespace intarsia
