// Downloads of files that go on where they were broken off.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>

#include "intarsia/core/status.h"
#include "intarsia/hub/http.h"

namespace intarsia {

struct Download {
  std::string url;
  std::string path;        // where the bytes go
  uint64_t max_bytes = 0;  // InvalidArgument past it
  bool exact = false;      // and for any other length
  RetryPolicy retry = {};
  // Bytes there, and bytes in all or 0 while that is unknown.
  std::function<void(uint64_t done, uint64_t total)> progress = nullptr;
  // Looks at a response before any of its bytes are kept; may refuse it.
  std::function<Status(const HttpHeaders&)> check = nullptr;
  const std::atomic<bool>* stop = nullptr;  // ends it when true; may be null
};

struct DownloadOutcome {
  // The failure is this machine's: the file cannot be made or written, or
  // another process has it.
  bool local_fault = false;
  bool resumed = false;  // bytes of an earlier call are part of the file
  long status = 0;       // of the last response
  HttpHeaders headers;
};

// Downloads to `path`, a regular file (what else is there, or has a second
// name, is removed first, and a link's target never written), going on behind
// the bytes that are there already if the server can (Range), else from the
// start. What came in is kept on failure. Tries that bring bytes don't count
// among the attempts. Only one process at a time downloads to a path: others
// get Unavailable.
Status DownloadFile(const Download& download, const HttpAccess& access,
                    DownloadOutcome* outcome);

}  // namespace intarsia
