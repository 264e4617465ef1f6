#include "intarsia/hub/download.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "intarsia/hub/url.h"

namespace intarsia {
namespace {

// A try that brought this many bytes has earned another.
constexpr uint64_t kProgressBytes = 1 << 20;

// The file that a download grows, locked against other processes.
class GrowingFile {
 public:
  ~GrowingFile() {
    if (fd_ >= 0) ::close(fd_);
  }
  Status Open(const std::string& path) {
    path_ = path;
    RemoveOddFile();
    // Without O_NONBLOCK a FIFO that came just now would wait for a reader.
    fd_ =
        ::open(path.c_str(),
               O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0666);
    if (fd_ < 0) return Failed("create it");
    if (::flock(fd_, LOCK_EX | LOCK_NB) != 0) {
      return Unavailable("[hub] " + path +
                         ": another process is downloading it");
    }
    struct stat info {};
    if (::fstat(fd_, &info) != 0) return Failed("read its size");
    if (!S_ISREG(info.st_mode)) {
      return Unavailable("[hub] " + path + ": is no regular file");
    }
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
  Status Flush() {
    return ::fsync(fd_) == 0 ? Status::Ok() : Failed("flush it");
  }
  uint64_t size() const { return size_; }

  // The last failure was one of this file.
  bool failed() const { return failed_; }

 private:
  // Bytes go into a file of the cache's own: no FIFO or device, no link, and no
  // file that has another name elsewhere. A folder stays, and opening fails.
  void RemoveOddFile() const {
    struct stat info {};
    if (::lstat(path_.c_str(), &info) != 0 || S_ISDIR(info.st_mode)) return;
    if (S_ISREG(info.st_mode) && info.st_nlink == 1) return;
    ::unlink(path_.c_str());
  }
  Status Failed(const std::string& what) {
    failed_ = true;
    return Unavailable("[hub] " + path_ + ": cannot " + what + ": " +
                       std::strerror(errno));
  }
  std::string path_;
  int fd_ = -1;
  uint64_t size_ = 0;
  bool failed_ = false;
};

// One request of a download.
class Attempt {
 public:
  Attempt(const Download& download, GrowingFile* file)
      : download_(download), file_(file) {}

  // Sets *retry where another request may succeed, and *kept to false once the
  // bytes that were there have been dropped.
  Status Run(const HttpAccess& access, bool* retry, bool* kept) {
    kept_ = kept;
    const uint64_t offset = file_->size();
    transfer_.stop = download_.stop;
    transfer_.body = [this](std::string_view bytes) { return OnBytes(bytes); };
    RunTransfer({.url = download_.url}, access,
                offset > 0 ? std::to_string(offset) + "-" : "", &transfer_);
    const long status = transfer_.status;
    *retry = retry_;
    if (!status_.ok()) return status_;
    if (status == 416 && offset > 0) return OnBadRange(offset, retry);
    if (status >= 300) {
      *retry = transfer_.error.empty() ? MayRetry(status) : transfer_.may_retry;
      return TransferFailed(download_.url, transfer_);
    }
    if (!transfer_.error.empty()) {
      *retry = transfer_.may_retry;
      return TransferFailed(download_.url, transfer_);
    }
    // No body at all: an empty file, or nothing behind what was there.
    if (!begun_) RETURN_IF_ERROR(Begin());
    *retry = retry_;
    if (download_.exact && file_->size() < download_.max_bytes) {
      return WrongLength(file_->size());
    }
    return Status::Ok();
  }

  const Transfer& transfer() const { return transfer_; }

 private:
  // Nothing lies behind `offset`: the file is whole, or not this one.
  Status OnBadRange(uint64_t offset, bool* retry) {
    const ContentRange range =
        ParseContentRange(transfer_.headers.content_range);
    if (range.total == offset &&
        (!download_.exact || offset == download_.max_bytes)) {
      return Status::Ok();
    }
    *retry = true;
    *kept_ = false;
    RETURN_IF_ERROR(file_->Restart());
    return TransferFailed(download_.url, transfer_);
  }

  // Decides, at the first byte, whether the server goes on or starts again.
  Status Begin() {
    begun_ = true;
    if (download_.check) RETURN_IF_ERROR(download_.check(transfer_.headers));
    const ContentRange range =
        ParseContentRange(transfer_.headers.content_range);
    if (transfer_.status == 206 && range.begin == file_->size()) {
      total_ = range.total.value_or(0);
    } else {
      if (transfer_.status == 206 && range.begin.value_or(0) != 0) {
        retry_ = true;
        *kept_ = false;
        RETURN_IF_ERROR(file_->Restart());
        return Unavailable("[hub] " + RedactedUrl(download_.url) +
                           ": the server sent another range than asked for");
      }
      *kept_ = false;
      RETURN_IF_ERROR(file_->Restart());
      total_ = transfer_.headers.content_length.value_or(0);
    }
    if (total_ > download_.max_bytes) return TooLong();
    if (download_.exact && total_ != 0 && total_ != download_.max_bytes) {
      return WrongLength(total_);
    }
    return Status::Ok();
  }

  bool OnBytes(std::string_view bytes) {
    const long status = transfer_.status;
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
  Status WrongLength(uint64_t length) const {
    return DataLoss("[hub] " + RedactedUrl(download_.url) + ": " +
                    std::to_string(length) + " bytes where " +
                    std::to_string(download_.max_bytes) + " are expected");
  }

  const Download& download_;
  GrowingFile* file_;
  Transfer transfer_;
  Status status_;
  bool* kept_ = nullptr;
  bool retry_ = false;
  bool begun_ = false;
  uint64_t total_ = 0;
};

}  // namespace

Status DownloadFile(const Download& download, const HttpAccess& access,
                    DownloadOutcome* outcome) {
  GrowingFile file;
  if (const Status opened = file.Open(download.path); !opened.ok()) {
    outcome->local_fault = true;
    return opened;
  }
  outcome->resumed = file.size() > 0;
  for (int tried = 1;; ++tried) {
    const uint64_t before = file.size();
    bool retry = false;
    Attempt attempt(download, &file);
    const Status status = attempt.Run(access, &retry, &outcome->resumed);
    outcome->status = attempt.transfer().status;
    outcome->headers = attempt.transfer().headers;
    if (status.ok()) {
      const Status flushed = file.Flush();
      outcome->local_fault = !flushed.ok();
      return flushed;
    }
    outcome->local_fault = file.failed();
    if (file.failed()) return status;
    if (file.size() >= before + kProgressBytes) tried = 1;
    if (!retry || tried >= download.retry.attempts) return status;
    RETURN_IF_ERROR(
        WaitToRetry(download.retry, tried, status, attempt.transfer()));
  }
}

}  // namespace intarsia
