#include "intarsia/checkpoint/atomic_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>

namespace intarsia {

AtomicFile::AtomicFile(std::string path, std::string room)
    : path_(std::move(path)), room_(std::move(room)) {}

AtomicFile::~AtomicFile() {
  if (fd_ >= 0) ::close(fd_);
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

Status AtomicFile::Failed(const std::string& what) const {
  return Unavailable("[" + room_ + "] " + path_ + ": cannot " + what + ": " +
                     std::strerror(errno));
}

Status AtomicFile::Open() {
  // The process in the name keeps two writers apart; the number, two files of
  // one process.
  for (int i = 0; i < 1000; ++i) {
    std::string name =
        path_ + ".tmp-" + std::to_string(::getpid()) + "-" + std::to_string(i);
    fd_ = ::open(name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd_ >= 0) {
      temporary_ = std::move(name);
      return Status::Ok();
    }
    if (errno != EEXIST) break;
  }
  return Failed("create it");
}

Status AtomicFile::Write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    // The kernel takes at most 2 GiB at once.
    const size_t part = std::min<size_t>(bytes.size(), 1 << 30);
    const ssize_t written = ::write(fd_, bytes.data(), part);
    if (written < 0) {
      if (errno == EINTR) continue;
      return Failed("write it");
    }
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
  return Status::Ok();
}

Status AtomicFile::Zeros(uint64_t count) {
  static constexpr std::array<std::byte, 4096> kZeros{};
  while (count > 0) {
    const uint64_t part = std::min<uint64_t>(count, kZeros.size());
    RETURN_IF_ERROR(Write(std::span(kZeros).first(part)));
    count -= part;
  }
  return Status::Ok();
}

Status AtomicFile::Commit() {
  if (::fsync(fd_) != 0) return Failed("flush it");
  const int closed = ::close(fd_);
  fd_ = -1;
  if (closed != 0) return Failed("close it");
  if (std::rename(temporary_.c_str(), path_.c_str()) != 0) {
    return Failed("move it into place");
  }
  temporary_.clear();
  return Status::Ok();
}

}  // namespace intarsia
