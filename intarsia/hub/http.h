// HTTP downloads by libcurl: http and https, redirects, certificates checked.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "intarsia/core/status.h"
#include "intarsia/hub/pip_config.h"

namespace intarsia {

struct HttpPage {
  std::string body;
  std::string content_type;
  std::string url;  // after redirects
};

// Unavailable when the host cannot be reached or answers with an error (404:
// NotFound), InvalidArgument when the body has more than `max_bytes`.
Result<HttpPage> HttpGet(const std::string& url, const std::string& accept,
                         uint64_t max_bytes, const IndexSettings& settings);

struct HttpDownload {
  std::string url;
  std::string path;        // where the bytes go
  uint64_t max_bytes = 0;  // InvalidArgument past it
  int attempts = 3;        // a broken connection is taken up again
  int retry_delay_ms = 1000;
  // Bytes there, and bytes in all or 0 while that is unknown.
  std::function<void(uint64_t done, uint64_t total)> progress;
};

// Downloads to `path`, going on behind the bytes that are there already if the
// server can (Range), else from the start. What came in is kept on failure.
// `*resumed` says whether bytes of an earlier call are part of the file. Only
// one process at a time downloads to a path: others get Unavailable.
Status HttpDownloadFile(const HttpDownload& download,
                        const IndexSettings& settings, bool* resumed);

}  // namespace intarsia
