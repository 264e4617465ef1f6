// Token and position tables.
#pragma once

#include <span>

#include "intarsia/core/context.h"
#include "intarsia/formats/weight.h"

namespace intarsia {

// Rows `ids` (each in [0, rows)) of table [rows, D], any format → [T, D] fp32.
// On a GPU the ids are those uploaded with ctx.batch (tokens, or positions).
// Differentiable in the table.
Tensor Embedding(Context& ctx, const Weight& table,
                 std::span<const int32_t> ids);

}  // namespace intarsia
