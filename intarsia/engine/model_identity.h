// What tells one model's weights from another's.
#pragma once

#include <string>

#include "intarsia/core/thread_pool.h"
#include "intarsia/model/model.h"

namespace intarsia {

// SHA-256, in hexadecimal, over the configuration (less its name and the ids
// that begin and end text) and each weight's path, format, shape and bytes as
// stored: a model that is quantised or fine-tuned is another one; one that was
// packed, moved to a GPU or put into another kind of file without a change is
// the same.
//
// Up to 64 MiB of weights every byte counts. Of larger models a weight of more
// than 256 KiB counts by 16 pieces of 16 KiB, evenly spread from its first byte
// to its last, so that the cost is that of reading some 100 MB: an edit that
// leaves all pieces of all weights alone is not seen. The hash is a safeguard
// against a mix-up, not against somebody who forges a file.
std::string ModelIdentity(const Model& model, ThreadPool& threads);

}  // namespace intarsia
