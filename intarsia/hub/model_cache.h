// The cache folder: what was pulled, under $INTARSIA_CACHE, else
// $XDG_CACHE_HOME/intarsia, else ~/.cache/intarsia.
//
//   models/NAME/model.gguf             from a Python package
//   hub/ORG/NAME/models/VARIANT/       from the hub; VARIANT: quantisation and
//     manifest.json                    revision
//     COMMIT/...                       its files under their names
//   hub/ORG/NAME/parts/HASH            downloads under way
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "intarsia/core/status.h"
#include "intarsia/hub/manifest.h"

namespace intarsia {

std::string CacheFolder();

// Where a variant of a hub's model is, or will be. `quant` is resolved.
std::string HubRepositoryFolder(const std::string& cache,
                                const std::string& repository);
std::string HubVariantFolder(const std::string& cache,
                             const HubReference& reference);

struct CachedModel {
  std::string name;      // short, as ResolveModel takes it
  std::string source;    // "hf:..." or "package NAME"
  std::string revision;  // empty: of a package
  std::string commit;
  std::string path;    // what opens
  std::string folder;  // all that it holds
  uint64_t bytes = 0;
  int64_t used = 0;  // seconds since 1970: pulled or opened
};

// All models, by name. What cannot be read is left out: `cache prune` takes it.
std::vector<CachedModel> ListCache(const std::string& cache = "");

// The model of a reference, a name of the catalogue or a short name ("NAME" or
// "NAME:QUANT" of hf:ORG/NAME, in any case). NotFound: none; InvalidArgument:
// models of several organisations. Of several quantisations the default.
Result<CachedModel> FindCached(const std::string& name,
                               const std::string& cache = "");

// A path as it is if something is there, else the file or folder of a pulled
// model, which counts as used. NotFound says what to do.
Result<std::string> ResolveModel(const std::string& name_or_path,
                                 const std::string& cache = "");

// Deletes a model that ListCache gave. Nothing outside of the cache folder is
// touched, wherever links in it point.
Status RemoveCached(const CachedModel& model, const std::string& cache = "");

struct PruneReport {
  int64_t files = 0;
  uint64_t bytes = 0;
};
// Deletes what no model needs: partial downloads, snapshots without a manifest.
// What another process is pulling stays.
Result<PruneReport> PruneCache(const std::string& cache = "");

// Held while a repository's folder is changed; other processes get Unavailable.
class RepositoryLock {
 public:
  RepositoryLock() = default;
  ~RepositoryLock();
  RepositoryLock(const RepositoryLock&) = delete;
  RepositoryLock& operator=(const RepositoryLock&) = delete;
  Status Take(const std::string& repository_folder);  // creates the folder

 private:
  int fd_ = -1;
};

}  // namespace intarsia
