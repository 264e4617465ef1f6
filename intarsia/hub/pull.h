// Fetches models by name into the cache folder.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "intarsia/core/status.h"
#include "intarsia/hub/listing.h"
#include "intarsia/hub/pull_options.h"

namespace intarsia {

struct PullPlan {
  std::string name;    // short, as ResolveModel takes it
  std::string source;  // "hf:..." with the quantisation, or "package NAME"
  std::string commit;  // empty: of a package
  std::vector<HubFile> files;
  uint64_t bytes = 0;    // of all files
  uint64_t missing = 0;  // of those that are not here yet
};

struct PulledModel {
  PullPlan plan;
  std::string path;  // what opens
};

// `name`: of the catalogue, or hf:ORG/NAME[@REVISION][:QUANT]. A model that is
// here in its newest form is not fetched again; of a revision that moved, only
// files that changed. Downloads that were broken off go on where they stopped.
// Nothing appears under the model's name before all its hashes are checked.
Result<PulledModel> Pull(const std::string& name,
                         const PullOptions& options = {});

// What Pull would fetch; asks the hub, writes nothing.
Result<PullPlan> PlanPull(const std::string& name,
                          const PullOptions& options = {});

}  // namespace intarsia
