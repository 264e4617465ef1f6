#include "intarsia/checkpoint/atomic_file.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "intarsia/checkpoint/mapped_file.h"

namespace intarsia {
namespace {

constexpr std::string_view kTemporary = ".tmp-";
constexpr int kMostLinks = 40;  // as the kernel follows

std::string Message(const std::string& room, const std::string& path,
                    const std::string& fault) {
  return "[" + room + "] " + path + ": " + fault;
}

// The absolute path without links; empty: errno says why.
std::string RealPath(const std::string& path) {
  char* real = ::realpath(path.c_str(), nullptr);
  if (real == nullptr) return "";
  std::string out(real);
  std::free(real);
  return out;
}

std::string ReadLink(const std::string& path) {
  std::array<char, PATH_MAX> text;
  const ssize_t n = ::readlink(path.c_str(), text.data(), text.size());
  return n <= 0 ? "" : std::string(text.data(), static_cast<size_t>(n));
}

bool AllDigits(std::string_view text) {
  return !text.empty() &&
         std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; });
}

// "model-00002-of-00005.gguf" → "model.gguf": of one output, whatever the part.
std::string WithoutPart(std::string_view name) {
  constexpr size_t kSize = std::string_view("-00002-of-00005").size();
  for (size_t at = 0; at + kSize <= name.size(); ++at) {
    const std::string_view part = name.substr(at, kSize);
    if (part[0] == '-' && part.substr(6, 4) == "-of-" &&
        AllDigits(part.substr(1, 5)) && AllDigits(part.substr(10))) {
      return std::string(name.substr(0, at)) +
             std::string(name.substr(at + kSize));
    }
  }
  return std::string(name);
}

// "model.gguf.tmp-4711-0" → "model.gguf"; empty: no such name.
std::string_view OutputOf(std::string_view temporary) {
  const size_t at = temporary.rfind(kTemporary);
  if (at == std::string_view::npos) return {};
  const std::string_view numbers = temporary.substr(at + kTemporary.size());
  const size_t dash = numbers.find('-');
  if (dash == std::string_view::npos || !AllDigits(numbers.substr(0, dash)) ||
      !AllDigits(numbers.substr(dash + 1))) {
    return {};
  }
  return temporary.substr(0, at);
}

// A name may have 255 bytes; those of temporaries leave room for the numbers.
std::string_view Front(std::string_view name) { return name.substr(0, 220); }

// The file of a descriptor that this process was given: /dev/stdout,
// /dev/fd/3. -1: the path is none.
int GivenDescriptor(const std::string& folder, const std::string& name) {
  if (!AllDigits(name) || folder != RealPath("/proc/self/fd")) return -1;
  int fd = -1;
  std::from_chars(name.data(), name.data() + name.size(), fd);
  return fd;
}

// A FIFO's reader may be a moment late; without one the open would wait for
// ever.
int OpenFifo(const std::string& path) {
  for (int i = 0;; ++i) {
    const int fd =
        ::open(path.c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
    if (fd >= 0) {
      ::fcntl(fd, F_SETFL, 0);  // writes wait for the reader again
      return fd;
    }
    if (errno != ENXIO || i == 20) return -1;
    ::usleep(100'000);
  }
}

// The move itself has to reach the disk too. Where a folder can't be flushed
// the move stands all the same.
void FlushFolder(const std::string& folder) {
  const int fd = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return;
  (void)::fsync(fd);
  ::close(fd);
}

constinit SignalNames temporaries;  // that this process is writing

}  // namespace

void RemoveTemporaries() noexcept {
  for (auto* at = temporaries.newest(); at != nullptr; at = at->next) {
    if (at->used) ::unlink(at->name.c_str());
  }
}

struct AtomicFile::Target {
  enum class Kind : uint8_t { kNew, kFile, kDevice, kFifo, kDescriptor };
  Kind kind = Kind::kNew;
  std::string folder, name;  // without links
  struct stat info {};       // of what is there
  int fd = -1;               // kDescriptor
  std::string path() const { return folder + "/" + name; }
};

Result<AtomicFile::Target> AtomicFile::Resolve(const std::string& path,
                                               const std::string& room) {
  const auto bad = [&](const std::string& fault) {
    return InvalidArgument(Message(room, path, fault));
  };
  Target target;
  std::string at = path;
  for (int links = 0;; ++links) {
    if (links > kMostLinks) return bad("too many links lead on from it");
    const size_t slash = at.rfind('/');
    const std::string parent = slash == std::string::npos ? "."
                               : slash == 0               ? "/"
                                                          : at.substr(0, slash);
    target.name = slash == std::string::npos ? at : at.substr(slash + 1);
    if (target.name.empty() || target.name == "." || target.name == "..") {
      return bad(at.empty() ? "there is no name of a file"
                            : "is the name of a folder, not of a file");
    }
    target.folder = RealPath(parent);
    if (target.folder.empty()) {
      const int error = errno;
      return bad("the folder " + parent + ": " + std::strerror(error));
    }
    target.fd = GivenDescriptor(target.folder, target.name);
    if (target.fd >= 0) {
      const int flags = ::fcntl(target.fd, F_GETFL);
      if (flags < 0 || (flags & O_ACCMODE) == O_RDONLY) {
        return bad("that descriptor is not open for writing");
      }
      target.kind = Target::Kind::kDescriptor;
      return target;
    }
    if (::lstat(target.path().c_str(), &target.info) != 0) {
      const int error = errno;
      if (error != ENOENT) return bad(std::strerror(error));
      if (links > 0) return bad("is a link to " + at + ", which is not there");
      return target;
    }
    if (!S_ISLNK(target.info.st_mode)) break;
    const std::string next = ReadLink(target.path());
    if (next.empty()) return bad("the link cannot be read");
    at = next[0] == '/' ? next : target.folder + "/" + next;
  }
  switch (target.info.st_mode & S_IFMT) {
    case S_IFREG:
      target.kind = Target::Kind::kFile;
      break;
    case S_IFCHR:
      target.kind = Target::Kind::kDevice;
      break;
    case S_IFIFO:
      target.kind = Target::Kind::kFifo;
      break;
    case S_IFDIR:
      return bad("is a folder, not a file");
    case S_IFSOCK:
      return bad("is a socket, not a file");
    default:
      return bad("is a block device, not a file");
  }
  if (::faccessat(AT_FDCWD, target.path().c_str(), W_OK, AT_EACCESS) != 0) {
    return bad(std::string("may not be written: ") + std::strerror(errno));
  }
  return target;
}

Status AtomicFile::Check(const std::string& path, const std::string& room) {
  ASSIGN_OR_RETURN(const Target target, Resolve(path, room));
  if (target.kind != Target::Kind::kNew && target.kind != Target::Kind::kFile) {
    return Status::Ok();
  }
  if (::faccessat(AT_FDCWD, target.folder.c_str(), W_OK | X_OK, AT_EACCESS) !=
      0) {
    const int error = errno;
    return InvalidArgument(
        Message(room, path,
                "the folder " + target.folder +
                    " may not be written: " + std::strerror(error)));
  }
  return Status::Ok();
}

AtomicFile::AtomicFile(std::string path, std::string room, mode_t mode)
    : path_(std::move(path)), room_(std::move(room)), mode_(mode) {}

AtomicFile::~AtomicFile() {
  // The lock goes last: nobody takes the name for a leftover before.
  if (temporary_ != nullptr) {
    ::unlink(temporary_->name.c_str());
    SignalNames::Free(temporary_);
  }
  if (fd_ >= 0) ::close(fd_);
}

Status AtomicFile::Failed(const std::string& what, int error) const {
  const bool full = error == ENOSPC || error == EDQUOT || error == EFBIG;
  return Unavailable(Message(
      room_, path_,
      full ? std::string("no space to ") + what + " (" + std::strerror(error) +
                 (streams() ? ")" : "); what was there before is unchanged")
           : "cannot " + what + ": " + std::strerror(error)));
}

Status AtomicFile::Open() {
  CHECK(fd_ < 0) << path_ << " is open";
  ASSIGN_OR_RETURN(const Target target, Resolve(path_, room_));
  switch (target.kind) {
    case Target::Kind::kNew:
    case Target::Kind::kFile:
      return OpenBeside(target);
    case Target::Kind::kDescriptor:
      fd_ = ::fcntl(target.fd, F_DUPFD_CLOEXEC, 3);
      break;
    case Target::Kind::kDevice:
      fd_ = ::open(target.path().c_str(),
                   O_WRONLY | O_NOCTTY | O_CLOEXEC | O_NOFOLLOW);
      break;
    case Target::Kind::kFifo:
      fd_ = OpenFifo(target.path());
      if (fd_ < 0 && errno == ENXIO) {
        return Unavailable(
            Message(room_, path_, "is a FIFO, and nobody reads it"));
      }
      break;
  }
  return fd_ >= 0 ? Status::Ok() : Failed("open it", errno);
}

Status AtomicFile::OpenBeside(const Target& target) {
  const bool replaces = target.kind == Target::Kind::kFile;
  folder_ = target.folder;
  name_ = target.name;
  RemoveLeftovers();
  // The process in the name keeps two writers apart; the number, two files of
  // one process.
  const std::string front = folder_ + "/" + std::string(Front(name_)) +
                            std::string(kTemporary) +
                            std::to_string(::getpid()) + "-";
  for (int i = 0; i < 1000; ++i) {
    SignalNames::Entry* temporary = temporaries.Take(front + std::to_string(i));
    // Nobody else may read what nobody else may read once it is in place.
    const mode_t mode = replaces ? target.info.st_mode & mode_t{0777} : mode_;
    const int fd =
        ::open(temporary->name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC,
               mode | S_IWUSR);
    if (fd < 0) {
      SignalNames::Free(temporary);
      if (errno == EEXIST) continue;
      return Failed("create a file in the folder " + folder_, errno);
    }
    // Another writer may have taken it for a leftover before it was locked.
    struct stat mine {};
    if ((::flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) ||
        ::fstat(fd, &mine) != 0 || mine.st_nlink == 0) {
      ::close(fd);
      SignalNames::Free(temporary);
      continue;
    }
    fd_ = fd;
    temporary_ = temporary;
    if (replaces) {
      // Only root can give a file away; the group may be kept by others too.
      if (::fchown(fd_, target.info.st_uid, target.info.st_gid) != 0) {
        (void)!::fchown(fd_, static_cast<uid_t>(-1), target.info.st_gid);
      }
      (void)::fchmod(fd_, target.info.st_mode & mode_t{07777});
    }
    return Status::Ok();
  }
  return Failed("create a file in the folder " + folder_, EEXIST);
}

void AtomicFile::RemoveLeftovers() const {
  const std::string output = WithoutPart(Front(name_));
  DIR* folder = ::opendir(folder_.c_str());
  if (folder == nullptr) return;
  while (const dirent* entry = ::readdir(folder)) {
    const std::string_view front = OutputOf(entry->d_name);
    if (front.empty() || WithoutPart(front) != output) continue;
    const int fd = ::openat(::dirfd(folder), entry->d_name,
                            O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) continue;
    struct stat info {};
    // A lock that is refused, or that this file system lacks: not ours to
    // remove.
    if (::fstat(fd, &info) == 0 && S_ISREG(info.st_mode) &&
        ::flock(fd, LOCK_EX | LOCK_NB) == 0) {
      ::unlinkat(::dirfd(folder), entry->d_name, 0);
    }
    ::close(fd);
  }
  ::closedir(folder);
}

Status AtomicFile::Write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    // The kernel takes at most 2 GiB at once.
    const size_t part = std::min<size_t>(bytes.size(), 1 << 30);
    const ssize_t written = ::write(fd_, bytes.data(), part);
    if (written < 0) {
      const int error = errno;
      if (error == EINTR) continue;
      // The kernel could not read them: the file that they lie in was cut.
      const char* input =
          error == EFAULT ? MappedFileAt(bytes.data()) : nullptr;
      if (input != nullptr) {
        return DataLoss(std::string("[checkpoint] ") + input +
                        ": became shorter while it was read");
      }
      return Failed("write it", error);
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

Status AtomicFile::Finish() {
  if (finished_) return Status::Ok();
  if (!streams() && ::fsync(fd_) != 0) return Failed("flush it", errno);
  finished_ = true;
  return Status::Ok();
}

Status AtomicFile::Commit() {
  RETURN_IF_ERROR(Finish());
  if (!streams()) {
    const std::string to = folder_ + "/" + name_;
    // What came there meanwhile may be something else.
    struct stat info {};
    if (::lstat(to.c_str(), &info) == 0 && !S_ISREG(info.st_mode)) {
      return InvalidArgument(
          Message(room_, path_, "has become something other than a file"));
    }
    if (std::rename(temporary_->name.c_str(), to.c_str()) != 0) {
      return Failed("move it into place", errno);
    }
    SignalNames::Free(temporary_);
    temporary_ = nullptr;
    FlushFolder(folder_);
  }
  // Only now, for the lock goes with it.
  const int closed = ::close(fd_);
  fd_ = -1;
  if (closed != 0 && streams()) return Failed("write it", errno);
  return Status::Ok();
}

Status WriteFileWhole(const std::string& path, const std::string& room,
                      std::string_view text, mode_t mode) {
  AtomicFile file(path, room, mode);
  RETURN_IF_ERROR(file.Open());
  RETURN_IF_ERROR(file.Write(text));
  return file.Commit();
}

AtomicFile& FileSet::Add(std::string path, const std::string& room) {
  files_.push_back(std::make_unique<AtomicFile>(std::move(path), room));
  return *files_.back();
}

void FileSet::Remove(std::string path) { removed_.push_back(std::move(path)); }

Status FileSet::Commit() {
  for (const auto& file : files_) RETURN_IF_ERROR(file->Finish());
  if (files_.size() > 1 && !files_.back()->streams()) {
    removed_.push_back(files_.back()->folder_ + "/" + files_.back()->name_);
  }
  for (const std::string& path : removed_) {
    struct stat info {};
    if (::lstat(path.c_str(), &info) != 0 ||
        (!S_ISREG(info.st_mode) && !S_ISLNK(info.st_mode))) {
      continue;  // a folder or a device of that name is not an older file
    }
    if (::unlink(path.c_str()) != 0) {
      return Unavailable(
          Message("checkpoint", path,
                  std::string("the older file cannot be removed: ") +
                      std::strerror(errno)));
    }
  }
  if (!files_.empty()) FlushFolder(files_.back()->folder_);
  for (const auto& file : files_) RETURN_IF_ERROR(file->Commit());
  return Status::Ok();
}

}  // namespace intarsia
