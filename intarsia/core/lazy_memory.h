// Host memory that is taken from the system as it is written.
#pragma once

#include <memory>

#include "intarsia/core/tensor.h"

namespace intarsia {

// Zeros in CPU memory. A page that nothing wrote takes no memory; from 2 MiB on
// pages are large where the system has such. Null: the system refuses so much
// address space.
std::shared_ptr<Storage> LazyZeros(size_t bytes);

}  // namespace intarsia
