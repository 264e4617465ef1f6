// HTTP by libcurl: http and https, redirects, certificates checked.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "intarsia/core/status.h"
#include "intarsia/hub/http_headers.h"

namespace intarsia {

// How hosts are reached and trusted.
struct HttpAccess {
  std::string certificates = {};  // a file or folder; empty: the system's
  std::string proxy = {};         // empty: as the *_proxy variables say
  std::vector<std::string> trusted_hosts = {};  // not verified
  // Sent as a bearer token to the host and port of the first URL alone, never
  // to one that it redirects to.
  std::string token = {};
  bool netrc = true;         // ~/.netrc knows passwords
  bool stay_secure = false;  // a redirect from https to http is refused
  int stall_seconds = 60;    // below 1 KiB a second: given up on
};

// Tries of one request. What failed but may succeed (broken connections, 408,
// 429, 5xx) is tried again after `delay_ms`, then twice that and so on, or when
// the server says (Retry-After); not at all where that is past `max_delay_ms`.
struct RetryPolicy {
  int attempts = 5;
  int delay_ms = 1000;
  int max_delay_ms = 60'000;
};

struct HttpRequest {
  std::string url;
  std::string accept = "*/*";
  uint64_t max_bytes = 0;
  bool head = false;        // asks for headers alone; follows no redirect
  bool any_status = false;  // errors are answers too
  RetryPolicy retry = {.attempts = 1};
};

struct HttpPage {
  std::string body;
  std::string content_type;
  std::string url;  // after redirects
  long status = 0;
  HttpHeaders headers;
};

// Unavailable when the host cannot be reached, which is not tried again, or
// answers with an error (404: NotFound), InvalidArgument when the body has more
// than `max_bytes`.
Result<HttpPage> HttpSend(const HttpRequest& request, const HttpAccess& access);

// What HttpSend and downloads (download.h) share. A transfer's callbacks; one
// request is one transfer.
struct Transfer {
  HttpHeaders headers;
  long status = 0;
  int64_t retry_after_ms = 0;
  std::string content_type, final_url;
  std::string error;       // what broke the connection; empty: nothing
  bool may_retry = false;  // after `error`
  bool unreached = false;  // no connection came about
  // Takes body bytes; false ends the transfer.
  std::function<bool(std::string_view)> body;
  long max_seconds = 0;  // for the whole transfer; 0: no limit
  const std::atomic<bool>* stop = nullptr;  // ends it when true; may be null
};

// Runs one request; `range` is "N-" or empty.
void RunTransfer(const HttpRequest& request, const HttpAccess& access,
                 const std::string& range, Transfer* transfer);

bool MayRetry(long status);
Status TransferFailed(const std::string& url, const Transfer& transfer);

// Waits before try number `tried` + 1. Not OK: no other try, for `status`'s
// reason or because the server wants a longer wait than the policy allows.
Status WaitToRetry(const RetryPolicy& policy, int tried, const Status& status,
                   const Transfer& transfer);

}  // namespace intarsia
