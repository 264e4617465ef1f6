// A rank's model under tensor parallelism: the same blocks, with each mixer
// weight cut by its ShardRule. Embedding, norms between sublayers and head stay
// whole on every rank.
#pragma once

#include <memory>

#include "intarsia/core/status.h"
#include "intarsia/model/model.h"

namespace intarsia {

// Run its Forward with ctx.tensor_parallel set to the rank's communicator;
// every rank gets the same logits. Gradients of cut weights are the rank's
// part; those of whole weights inside a mixer are partial and must be summed
// over the ranks. Fails when an axis does not divide.
Result<std::unique_ptr<Model>> ShardModel(const Model& whole, int rank,
                                          int size);

}  // namespace intarsia
