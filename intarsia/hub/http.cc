#include "intarsia/hub/http.h"

#include <curl/curl.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <memory>
#include <thread>

#include "intarsia/hub/url.h"

namespace intarsia {
namespace {

constexpr long kConnectSeconds = 20;
// Bytes a second below which a server is given up on: at this rate a gigabyte
// takes twelve days.
constexpr long kTrickle = 1024;
constexpr long kPageSeconds = 300;  // for a whole page
constexpr long kMaxRedirects = 5;

// Exceptions must not pass through libcurl.
size_t OnBody(char* data, size_t, size_t size, void* user) {
  auto* transfer = static_cast<Transfer*>(user);
  try {
    return transfer->body({data, size}) ? size : 0;
  } catch (const std::exception&) {
    return 0;
  }
}

struct HeaderSink {
  CURL* handle;
  Transfer* transfer;
};

size_t OnHeader(char* data, size_t, size_t size, void* user) {
  const auto* sink = static_cast<HeaderSink*>(user);
  try {
    const std::string_view line(data, size);
    AddHeaderLine(line, &sink->transfer->headers);
    if (line.starts_with("HTTP/")) {
      curl_easy_getinfo(sink->handle, CURLINFO_RESPONSE_CODE,
                        &sink->transfer->status);
    }
    return size;
  } catch (const std::exception&) {
    return 0;
  }
}

int OnProgress(void* user, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  const auto* stop = static_cast<Transfer*>(user)->stop;
  return stop != nullptr && stop->load() ? 1 : 0;
}

using Handle = std::unique_ptr<CURL, void (*)(CURL*)>;
using Headers = std::unique_ptr<curl_slist, void (*)(curl_slist*)>;

void SetAccess(CURL* h, const std::string& url, const HttpAccess& access) {
  const bool secure = access.stay_secure && url.starts_with("https:");
  curl_easy_setopt(h, CURLOPT_REDIR_PROTOCOLS_STR,
                   secure ? "https" : "http,https");
  curl_easy_setopt(h, CURLOPT_LOW_SPEED_LIMIT, kTrickle);
  curl_easy_setopt(h, CURLOPT_LOW_SPEED_TIME,
                   static_cast<long>(access.stall_seconds));
  curl_easy_setopt(h, CURLOPT_NETRC,
                   static_cast<long>(access.netrc ? CURL_NETRC_OPTIONAL
                                                  : CURL_NETRC_IGNORED));
  if (!access.token.empty()) {
    // As credentials, not as a header: libcurl keeps these from other hosts.
    curl_easy_setopt(h, CURLOPT_HTTPAUTH, CURLAUTH_BEARER);
    curl_easy_setopt(h, CURLOPT_XOAUTH2_BEARER, access.token.c_str());
    curl_easy_setopt(h, CURLOPT_UNRESTRICTED_AUTH, 0L);
  }
  if (!access.proxy.empty()) {
    curl_easy_setopt(h, CURLOPT_PROXY, access.proxy.c_str());
  }
  std::error_code error;
  if (std::filesystem::is_directory(access.certificates, error)) {
    curl_easy_setopt(h, CURLOPT_CAPATH, access.certificates.c_str());
  } else if (!access.certificates.empty()) {
    curl_easy_setopt(h, CURLOPT_CAINFO, access.certificates.c_str());
  }
  const std::string authority = UrlAuthority(url);
  const std::string name = authority.substr(0, authority.find(':'));
  for (const std::string& host : access.trusted_hosts) {
    if (authority == host || name == host) {
      curl_easy_setopt(h, CURLOPT_SSL_VERIFYPEER, 0L);
      curl_easy_setopt(h, CURLOPT_SSL_VERIFYHOST, 0L);
    }
  }
}

Handle NewHandle(const HttpRequest& request, const HttpAccess& access,
                 Transfer* transfer) {
  static const CURLcode initialised = curl_global_init(CURL_GLOBAL_DEFAULT);
  Handle handle(initialised == CURLE_OK ? curl_easy_init() : nullptr,
                curl_easy_cleanup);
  if (handle == nullptr) throw EngineError("libcurl does not start");
  CURL* h = handle.get();
  curl_easy_setopt(h, CURLOPT_URL, request.url.c_str());
  curl_easy_setopt(h, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(h, CURLOPT_FOLLOWLOCATION, request.head ? 0L : 1L);
  curl_easy_setopt(h, CURLOPT_NOBODY, request.head ? 1L : 0L);
  curl_easy_setopt(h, CURLOPT_MAXREDIRS, kMaxRedirects);
  curl_easy_setopt(h, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(h, CURLOPT_CONNECTTIMEOUT, kConnectSeconds);
  curl_easy_setopt(h, CURLOPT_USERAGENT, "intarsia");
  curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, OnBody);
  curl_easy_setopt(h, CURLOPT_WRITEDATA, transfer);
  curl_easy_setopt(h, CURLOPT_XFERINFOFUNCTION, OnProgress);
  curl_easy_setopt(h, CURLOPT_XFERINFODATA, transfer);
  curl_easy_setopt(h, CURLOPT_NOPROGRESS, 0L);
  SetAccess(h, request.url, access);
  return handle;
}

// Trying again changes nothing about these.
bool IsFinal(CURLcode code) {
  return code == CURLE_TOO_MANY_REDIRECTS || code == CURLE_URL_MALFORMAT ||
         code == CURLE_UNSUPPORTED_PROTOCOL || code == CURLE_WRITE_ERROR ||
         code == CURLE_PEER_FAILED_VERIFICATION ||
         code == CURLE_SSL_CACERT_BADFILE || code == CURLE_ABORTED_BY_CALLBACK;
}

}  // namespace

void RunTransfer(const HttpRequest& request, const HttpAccess& access,
                 const std::string& range, Transfer* transfer) {
  const Handle handle = NewHandle(request, access, transfer);
  CURL* h = handle.get();
  HeaderSink sink{h, transfer};
  curl_easy_setopt(h, CURLOPT_HEADERFUNCTION, OnHeader);
  curl_easy_setopt(h, CURLOPT_HEADERDATA, &sink);
  const std::string line = "Accept: " + request.accept;
  const Headers headers(curl_slist_append(nullptr, line.c_str()),
                        curl_slist_free_all);
  curl_easy_setopt(h, CURLOPT_HTTPHEADER, headers.get());
  curl_easy_setopt(h, CURLOPT_TIMEOUT, transfer->max_seconds);
  if (!range.empty()) curl_easy_setopt(h, CURLOPT_RANGE, range.c_str());
  // Files come as they are: their ranges and hashes are of these bytes.
  if (request.accept != "*/*") {
    curl_easy_setopt(h, CURLOPT_ACCEPT_ENCODING, "");
  }
  const CURLcode code = curl_easy_perform(h);
  if (code != CURLE_OK) {
    transfer->error = curl_easy_strerror(code);
    transfer->may_retry = !IsFinal(code);
    transfer->unreached = code == CURLE_COULDNT_CONNECT ||
                          code == CURLE_COULDNT_RESOLVE_HOST ||
                          code == CURLE_COULDNT_RESOLVE_PROXY;
  }
  curl_off_t seconds = 0;
  curl_easy_getinfo(h, CURLINFO_RETRY_AFTER, &seconds);
  transfer->retry_after_ms =
      std::clamp<int64_t>(seconds, 0, 1'000'000'000) * 1000;
  const char* text = nullptr;
  curl_easy_getinfo(h, CURLINFO_CONTENT_TYPE, &text);
  if (text != nullptr) transfer->content_type = text;
  curl_easy_getinfo(h, CURLINFO_EFFECTIVE_URL, &text);
  if (text != nullptr) transfer->final_url = text;
}

bool MayRetry(long status) {
  return status >= 500 || status == 429 || status == 408;
}

Status TransferFailed(const std::string& url, const Transfer& transfer) {
  const std::string where = "[hub] " + RedactedUrl(url) + ": ";
  const long status = transfer.status;
  if (!transfer.error.empty()) {
    return Unavailable(where + transfer.error);
  }
  const std::string message =
      where + "the server answered with status " + std::to_string(status);
  return status == 404 || status == 410 ? NotFound(message)
                                        : Unavailable(message);
}

Status WaitToRetry(const RetryPolicy& policy, int tried, const Status& status,
                   const Transfer& transfer) {
  int64_t wait = int64_t{policy.delay_ms} << std::min(tried - 1, 20);
  wait = std::min<int64_t>(wait, policy.max_delay_ms);
  if (transfer.retry_after_ms > policy.max_delay_ms) {
    return Unavailable(status.message() + "; it asks to come back in " +
                       std::to_string(transfer.retry_after_ms / 1000) + " s");
  }
  wait = std::max(wait, transfer.retry_after_ms);
  const auto end =
      std::chrono::steady_clock::now() + std::chrono::milliseconds(wait);
  while (std::chrono::steady_clock::now() < end) {
    if (transfer.stop != nullptr && transfer.stop->load()) return status;
    std::this_thread::sleep_for(
        std::chrono::milliseconds(std::min<int64_t>(wait, 20)));
  }
  return Status::Ok();
}

Result<HttpPage> HttpSend(const HttpRequest& request,
                          const HttpAccess& access) {
  for (int tried = 1;; ++tried) {
    HttpPage page;
    bool too_long = false;
    Transfer transfer;
    transfer.body = [&](std::string_view bytes) {
      too_long = bytes.size() > request.max_bytes - page.body.size();
      if (!too_long) page.body += bytes;
      return !too_long;
    };
    transfer.max_seconds = kPageSeconds;
    RunTransfer(request, access, "", &transfer);
    if (too_long) {
      return InvalidArgument("[hub] " + RedactedUrl(request.url) +
                             ": a page of more than " +
                             std::to_string(request.max_bytes) + " bytes");
    }
    const bool broken = !transfer.error.empty();
    const long status = transfer.status;
    if (!broken && (status == 200 ||
                    (request.any_status && status != 0 && !MayRetry(status)))) {
      page.status = status;
      page.headers = std::move(transfer.headers);
      page.content_type = std::move(transfer.content_type);
      // The effective URL has lost user and password; links need them.
      page.url = ResolveUrl(request.url, transfer.final_url);
      return page;
    }
    const Status failed = TransferFailed(request.url, transfer);
    const bool again =
        broken ? transfer.may_retry && !transfer.unreached : MayRetry(status);
    if (!again || tried >= request.retry.attempts) return failed;
    RETURN_IF_ERROR(WaitToRetry(request.retry, tried, failed, transfer));
  }
}

}  // namespace intarsia
