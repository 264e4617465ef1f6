// manifest.json in the cache: which files of the hub make a model. Writing it
// is what makes the model appear under its name.
#pragma once

#include <cstdint>
#include <string>

#include "intarsia/core/status.h"
#include "intarsia/hub/listing.h"
#include "intarsia/hub/reference.h"

namespace intarsia {

struct Manifest {
  HubReference reference;  // its quant is never empty
  HubListing snapshot;     // the commit, and only the model's files
  std::string entry;       // below the snapshot; empty: its folder
  int64_t pulled = 0;      // seconds since 1970

  uint64_t bytes() const;
};

Status WriteManifest(const std::string& path, const Manifest& manifest);
Result<Manifest> ReadManifest(const std::string& path);

// The reader, for text from anywhere. `where` begins messages.
Result<Manifest> ParseManifest(std::string_view text, const std::string& where);

}  // namespace intarsia
