#include "intarsia/engine/admission.h"

#include <algorithm>

#include "intarsia/cache/state_layout.h"
#include "intarsia/core/device.h"
#include "intarsia/distributed/communicator.h"
#include "intarsia/model/state_specs.h"

namespace intarsia {
namespace {

std::string Mebibytes(int64_t bytes) {
  return std::to_string((bytes + (1 << 20) - 1) >> 20) + " MiB";
}

}  // namespace

std::vector<std::pair<std::string, int64_t>> MemoryNeeds::Table() const {
  std::vector<std::pair<std::string, int64_t>> rows = {
      {"weights", weights},
      {"state of a sequence", sequence},
      {"state of a token", token},
      {"state of a sequence of " + std::to_string(context) + " tokens", one},
      {"state of all sequences (" + std::to_string(sequences) + ")", state},
      {"weights and state", weights + state}};
  if (budget > 0) rows.emplace_back("allowed for state", budget);
  if (free >= 0) rows.emplace_back("free", free);
  return rows;
}

Status MemoryNeeds::Check() const {
  if (budget > 0 && one > budget) {
    return InvalidArgument(
        "[engine] the state of one sequence of " + std::to_string(context) +
        " tokens takes " + Mebibytes(one) + ", --state-memory allows " +
        Mebibytes(budget) +
        "; raise it, or give a smaller --ctx or --state-dtype int8");
  }
  if (free >= 0 && weights + state > free) {
    return Unavailable("[engine] the model does not fit in memory: weights " +
                       Mebibytes(weights) + " and state " + Mebibytes(state) +
                       ", free are " + Mebibytes(free) +
                       "; give a smaller --ctx or --state-memory, or a model "
                       "of fewer bytes");
  }
  return Status::Ok();
}

Result<MemoryNeeds> NeedsOf(const Model& model, int64_t weight_bytes,
                            const ModelRunner::Options& options) {
  const int ranks =
      options.tensor_parallel ? options.tensor_parallel->size() : 1;
  ASSIGN_OR_RETURN(
      const StateLayout layout,
      StateLayout::Make(StateSpecs(model),
                        {.token_dtype = options.token_dtype, .ranks = ranks}));
  int64_t context = options.context;
  if (const int64_t limit = model.config().position_limit(); limit > 0) {
    context = std::min(context, limit);
  }
  const int64_t rounded = (context + 63) / 64 * 64;
  PoolSize size{.slots = 1,
                .tokens = rounded,
                .context = context,
                .step = options.prefill_chunk};
  MemoryNeeds needs;
  needs.weights = weight_bytes;
  needs.sequence = layout.bytes_per_sequence() +
                   layout.window_bytes(context, options.prefill_chunk);
  needs.token = layout.bytes_per_token();
  needs.sequences = options.sequences;
  needs.context = context;
  needs.one = layout.Bytes(size);
  size.slots = options.sequences;
  size.tokens = options.sequences * rounded;
  needs.state = layout.Bytes(size);
  needs.budget = options.state_bytes;
  if (needs.budget > 0) needs.state = std::min(needs.state, needs.budget);
  if (options.device.is_cpu()) {
    needs.free = static_cast<int64_t>(AvailableMemory());
  }
  return needs;
}

}  // namespace intarsia
