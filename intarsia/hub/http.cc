#include "intarsia/hub/http.h"

#include <curl/curl.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <memory>
#include <optional>
#include <thread>

#include "intarsia/checkpoint/checked.h"
#include "intarsia/hub/package_index.h"

namespace intarsia {
namespace {

constexpr long kConnectSeconds = 20;
constexpr long kStallSeconds = 60;  // without a byte
constexpr long kMaxRedirects = 5;

// The status line and the headers of the last response (after redirects).
struct Response {
  long status = 0;
  std::string content_range;
};

// What a transfer's callbacks share. Exceptions must not pass through libcurl.
struct Transfer {
  CURL* handle = nullptr;
  Response response;
  // Takes body bytes; false ends the transfer.
  std::function<bool(std::string_view)> body;
};

size_t OnBody(char* data, size_t, size_t size, void* user) {
  auto* transfer = static_cast<Transfer*>(user);
  try {
    return transfer->body({data, size}) ? size : 0;
  } catch (const std::exception&) {
    return 0;
  }
}

size_t OnHeader(char* data, size_t, size_t size, void* user) {
  auto* transfer = static_cast<Transfer*>(user);
  try {
    const std::string_view line(data, size);
    if (line.starts_with("HTTP/")) {
      transfer->response = {};
      curl_easy_getinfo(transfer->handle, CURLINFO_RESPONSE_CODE,
                        &transfer->response.status);
      return size;
    }
    static constexpr std::string_view kName = "content-range:";
    if (line.size() > kName.size() &&
        curl_strnequal(data, kName.data(), kName.size()) != 0) {
      transfer->response.content_range = line.substr(kName.size());
    }
    return size;
  } catch (const std::exception&) {
    return 0;
  }
}

using Handle = std::unique_ptr<CURL, void (*)(CURL*)>;
using Headers = std::unique_ptr<curl_slist, void (*)(curl_slist*)>;

Handle NewHandle(const std::string& url, const IndexSettings& settings,
                 Transfer* transfer) {
  static const CURLcode initialised = curl_global_init(CURL_GLOBAL_DEFAULT);
  Handle handle(initialised == CURLE_OK ? curl_easy_init() : nullptr,
                curl_easy_cleanup);
  if (handle == nullptr) throw EngineError("libcurl does not start");
  CURL* h = handle.get();
  transfer->handle = h;
  curl_easy_setopt(h, CURLOPT_URL, url.c_str());
  curl_easy_setopt(h, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(h, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(h, CURLOPT_FOLLOWLOCATION, 1L);
  curl_easy_setopt(h, CURLOPT_MAXREDIRS, kMaxRedirects);
  curl_easy_setopt(h, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(h, CURLOPT_CONNECTTIMEOUT, kConnectSeconds);
  curl_easy_setopt(h, CURLOPT_LOW_SPEED_LIMIT, 1L);
  curl_easy_setopt(h, CURLOPT_LOW_SPEED_TIME, kStallSeconds);
  curl_easy_setopt(h, CURLOPT_USERAGENT, "intarsia");
  curl_easy_setopt(h, CURLOPT_NETRC, static_cast<long>(CURL_NETRC_OPTIONAL));
  curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, OnBody);
  curl_easy_setopt(h, CURLOPT_WRITEDATA, transfer);
  curl_easy_setopt(h, CURLOPT_HEADERFUNCTION, OnHeader);
  curl_easy_setopt(h, CURLOPT_HEADERDATA, transfer);
  if (!settings.proxy.empty()) {
    curl_easy_setopt(h, CURLOPT_PROXY, settings.proxy.c_str());
  }
  std::error_code error;
  if (std::filesystem::is_directory(settings.certificates, error)) {
    curl_easy_setopt(h, CURLOPT_CAPATH, settings.certificates.c_str());
  } else if (!settings.certificates.empty()) {
    curl_easy_setopt(h, CURLOPT_CAINFO, settings.certificates.c_str());
  }
  for (const std::string& host : settings.trusted_hosts) {
    const std::string authority = RedactedUrl(url);
    const size_t begin = authority.find("://") + 3;
    const std::string_view rest = std::string_view(authority).substr(begin);
    const size_t end = std::min(rest.find_first_of("/?#"), rest.size());
    const std::string_view netloc = rest.substr(0, end);
    if (netloc == host || netloc.substr(0, netloc.find(':')) == host) {
      curl_easy_setopt(h, CURLOPT_SSL_VERIFYPEER, 0L);
      curl_easy_setopt(h, CURLOPT_SSL_VERIFYHOST, 0L);
    }
  }
  return handle;
}

Status CurlFailed(const std::string& url, CURLcode code) {
  return Unavailable("[hub] " + RedactedUrl(url) + ": " +
                     curl_easy_strerror(code));
}

Status HttpFailed(const std::string& url, long status) {
  const std::string message = "[hub] " + RedactedUrl(url) +
                              ": the server answered with status " +
                              std::to_string(status);
  return status == 404 || status == 410 ? NotFound(message)
                                        : Unavailable(message);
}

// "bytes 100-199/200", "bytes */200"; absent parts are nothing.
struct ContentRange {
  std::optional<uint64_t> begin, total;
};

ContentRange ParseContentRange(std::string_view text) {
  auto number = [](std::string_view digits) -> std::optional<uint64_t> {
    uint64_t value = 0;
    const char* end = digits.data() + digits.size();
    if (std::from_chars(digits.data(), end, value).ec != std::errc()) {
      return std::nullopt;
    }
    return value;
  };
  ContentRange range;
  if (const size_t unit = text.find("bytes "); unit != text.npos) {
    range.begin = number(text.substr(unit + 6));
  }
  if (const size_t slash = text.find('/'); slash != text.npos) {
    range.total = number(text.substr(slash + 1));
  }
  return range;
}

// The file that a download grows, locked against other processes.
class GrowingFile {
 public:
  ~GrowingFile() {
    if (fd_ >= 0) ::close(fd_);
  }
  Status Open(const std::string& path) {
    path_ = path;
    fd_ = ::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
    if (fd_ < 0) return Failed("create it");
    if (::flock(fd_, LOCK_EX | LOCK_NB) != 0) {
      return Unavailable("[hub] " + path +
                         ": another process is downloading it");
    }
    struct stat info {};
    if (::fstat(fd_, &info) != 0) return Failed("read its size");
    size_ = static_cast<uint64_t>(info.st_size);
    return Status::Ok();
  }
  Status Restart() {
    if (::ftruncate(fd_, 0) != 0) return Failed("empty it");
    size_ = 0;
    return Status::Ok();
  }
  Status Append(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t n =
          ::pwrite(fd_, bytes.data(), bytes.size(), static_cast<off_t>(size_));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return Failed("write it");
      size_ += static_cast<uint64_t>(n);
      bytes.remove_prefix(static_cast<size_t>(n));
    }
    return Status::Ok();
  }
  uint64_t size() const { return size_; }

 private:
  Status Failed(const std::string& what) const {
    return Unavailable("[hub] " + path_ + ": cannot " + what + ": " +
                       std::strerror(errno));
  }
  std::string path_;
  int fd_ = -1;
  uint64_t size_ = 0;
};

// One request of a download.
class Attempt {
 public:
  Attempt(const HttpDownload& download, const IndexSettings& settings,
          GrowingFile* file)
      : download_(download), settings_(settings), file_(file) {}

  // Sets *retry where another request may succeed, and *kept to false once the
  // bytes that were there have been dropped.
  Status Run(bool* retry, bool* kept) {
    *retry = false;
    kept_ = kept;
    const uint64_t offset = file_->size();
    transfer_.body = [this](std::string_view bytes) { return OnBytes(bytes); };
    const Handle handle = NewHandle(download_.url, settings_, &transfer_);
    const std::string range = std::to_string(offset) + "-";
    if (offset > 0) {
      curl_easy_setopt(handle.get(), CURLOPT_RANGE, range.c_str());
    }
    const CURLcode code = curl_easy_perform(handle.get());
    const long status = transfer_.response.status;
    if (!status_.ok()) return status_;
    if (status == 416 && offset > 0) return OnBadRange(offset, retry);
    if (status != 0 && status != 200 && status != 206) {
      *retry = status >= 500 || status == 429 || status == 408;
      return HttpFailed(download_.url, status);
    }
    if (code != CURLE_OK) {
      *retry = true;
      return CurlFailed(download_.url, code);
    }
    // No body at all: an empty file, or nothing behind what was there.
    return begun_ ? Status::Ok() : Begin();
  }

 private:
  // Nothing lies behind `offset`: the file is whole, or not this one.
  Status OnBadRange(uint64_t offset, bool* retry) {
    const ContentRange range =
        ParseContentRange(transfer_.response.content_range);
    if (range.total == offset) return Status::Ok();
    *retry = true;
    *kept_ = false;
    RETURN_IF_ERROR(file_->Restart());
    return HttpFailed(download_.url, 416);
  }

  // Decides, at the first byte, whether the server goes on or starts again.
  Status Begin() {
    begun_ = true;
    const ContentRange range =
        ParseContentRange(transfer_.response.content_range);
    if (transfer_.response.status == 206 && range.begin == file_->size()) {
      total_ = range.total.value_or(0);
    } else {
      if (transfer_.response.status == 206 && range.begin.value_or(0) != 0) {
        return Unavailable("[hub] " + RedactedUrl(download_.url) +
                           ": the server sent another range than asked for");
      }
      *kept_ = false;
      RETURN_IF_ERROR(file_->Restart());
      curl_off_t length = -1;
      curl_easy_getinfo(transfer_.handle, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T,
                        &length);
      total_ = length > 0 ? static_cast<uint64_t>(length) : 0;
    }
    if (total_ > download_.max_bytes) return TooLong();
    return Status::Ok();
  }

  bool OnBytes(std::string_view bytes) {
    const long status = transfer_.response.status;
    if (status != 200 && status != 206) return true;  // an error's text
    if (!begun_) status_ = Begin();
    if (status_.ok() && file_->size() + bytes.size() > download_.max_bytes) {
      status_ = TooLong();
    }
    if (status_.ok()) status_ = file_->Append(bytes);
    if (status_.ok() && download_.progress) {
      download_.progress(file_->size(), total_);
    }
    return status_.ok();
  }

  Status TooLong() const {
    return InvalidArgument("[hub] " + RedactedUrl(download_.url) +
                           ": more than the expected " +
                           std::to_string(download_.max_bytes) + " bytes");
  }

  const HttpDownload& download_;
  const IndexSettings& settings_;
  GrowingFile* file_;
  Transfer transfer_;
  Status status_;
  bool* kept_ = nullptr;
  bool begun_ = false;
  uint64_t total_ = 0;
};

}  // namespace

Result<HttpPage> HttpGet(const std::string& url, const std::string& accept,
                         uint64_t max_bytes, const IndexSettings& settings) {
  Transfer transfer;
  HttpPage page;
  bool too_long = false;
  transfer.body = [&](std::string_view bytes) {
    too_long = bytes.size() > max_bytes - page.body.size();
    if (!too_long) page.body += bytes;
    return !too_long;
  };
  const Handle handle = NewHandle(url, settings, &transfer);
  const std::string line = "Accept: " + accept;
  const Headers headers(curl_slist_append(nullptr, line.c_str()),
                        curl_slist_free_all);
  curl_easy_setopt(handle.get(), CURLOPT_HTTPHEADER, headers.get());
  curl_easy_setopt(handle.get(), CURLOPT_ACCEPT_ENCODING, "");
  const CURLcode code = curl_easy_perform(handle.get());
  if (too_long) {
    return InvalidArgument("[hub] " + RedactedUrl(url) +
                           ": a page of more than " +
                           std::to_string(max_bytes) + " bytes");
  }
  if (code != CURLE_OK) return CurlFailed(url, code);
  if (transfer.response.status != 200) {
    return HttpFailed(url, transfer.response.status);
  }
  const char* text = nullptr;
  curl_easy_getinfo(handle.get(), CURLINFO_CONTENT_TYPE, &text);
  if (text != nullptr) page.content_type = text;
  curl_easy_getinfo(handle.get(), CURLINFO_EFFECTIVE_URL, &text);
  // The effective URL has lost user and password; links need them.
  page.url = ResolveUrl(url, text != nullptr ? text : url);
  return page;
}

Status HttpDownloadFile(const HttpDownload& download,
                        const IndexSettings& settings, bool* resumed) {
  GrowingFile file;
  RETURN_IF_ERROR(file.Open(download.path));
  bool kept = file.size() > 0;
  Status status;
  for (int i = 0; i < download.attempts; ++i) {
    if (i > 0) {
      std::this_thread::sleep_for(
          std::chrono::milliseconds(download.retry_delay_ms));
    }
    bool retry = false;
    status = Attempt(download, settings, &file).Run(&retry, &kept);
    if (status.ok() || !retry) break;
  }
  *resumed = kept;
  return status;
}

}  // namespace intarsia
