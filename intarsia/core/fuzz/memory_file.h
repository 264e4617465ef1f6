// Files for fuzz targets whose reader wants a path: in memory, without a trace
// on disk. Linux only, as the fuzzers are.
#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <filesystem>
#include <string>
#include <string_view>

#include "intarsia/core/check.h"

namespace intarsia {

// One file of a changing content.
class FuzzFile {
 public:
  FuzzFile() : fd_(::memfd_create("intarsia-fuzz", MFD_CLOEXEC)) {
    CHECK(fd_ >= 0);
  }
  ~FuzzFile() { ::close(fd_); }
  FuzzFile(const FuzzFile&) = delete;
  FuzzFile& operator=(const FuzzFile&) = delete;

  void Set(std::string_view bytes) {
    CHECK(::ftruncate(fd_, 0) == 0);
    CHECK(::pwrite(fd_, bytes.data(), bytes.size(), 0) ==
          static_cast<ssize_t>(bytes.size()));
  }
  std::string path() const { return "/proc/self/fd/" + std::to_string(fd_); }

 private:
  int fd_;
};

// A folder in memory, where there is such a place.
class FuzzFolder {
 public:
  FuzzFolder() {
    const bool memory = ::access("/dev/shm", W_OK) == 0;
    std::string name = (memory ? std::filesystem::path("/dev/shm")
                               : std::filesystem::temp_directory_path()) /
                       "intarsia-fuzz-XXXXXX";
    CHECK(::mkdtemp(name.data()) != nullptr);
    path_ = name;
  }
  ~FuzzFolder() {
    std::error_code error;
    std::filesystem::remove_all(path_, error);
  }
  FuzzFolder(const FuzzFolder&) = delete;
  FuzzFolder& operator=(const FuzzFolder&) = delete;

  const std::string& path() const { return path_; }
  void Put(const std::string& name, std::string_view bytes) const {
    const int fd = ::open((path_ + "/" + name).c_str(),
                          O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    CHECK(fd >= 0);
    CHECK(::write(fd, bytes.data(), bytes.size()) ==
          static_cast<ssize_t>(bytes.size()));
    ::close(fd);
  }
  void Remove(const std::string& name) const {
    ::unlink((path_ + "/" + name).c_str());
  }

 private:
  std::string path_;
};

}  // namespace intarsia
