#include "intarsia/checkpoint/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace intarsia {
namespace {

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

constinit SignalNames mapped_files;

Status ReadAll(int fd, const std::string& path, std::span<std::byte> into) {
  for (size_t done = 0; done < into.size();) {
    // The kernel gives at most 2 GiB at once.
    const size_t part = std::min<size_t>(into.size() - done, 1 << 30);
    const ssize_t got =
        ::pread(fd, into.data() + done, part, static_cast<off_t>(done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) {
      return Unavailable("[checkpoint] " + path +
                         ": cannot be read: " + std::strerror(errno));
    }
    if (got == 0) {
      return DataLoss("[checkpoint] " + path +
                      ": became shorter while it was read");
    }
    done += static_cast<size_t>(got);
  }
  return Status::Ok();
}

}  // namespace

Result<std::shared_ptr<const MappedFile>> MappedFile::Open(
    const std::string& path, Source source) {
  // Not blocking, so that a pipe does not wait for a writer.
  const Descriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (fd.get() < 0) {
    const int error = errno;
    const std::string message =
        "[checkpoint] " + path + ": " + std::strerror(error);
    return error == ENOENT ? NotFound(message) : InvalidArgument(message);
  }
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0 || !S_ISREG(info.st_mode)) {
    return InvalidArgument("[checkpoint] " + path + ": not a regular file");
  }
  std::shared_ptr<MappedFile> file(new MappedFile());
  file->path_ = path;
  file->size_ = static_cast<size_t>(info.st_size);
  if (file->size_ == 0) return std::shared_ptr<const MappedFile>(file);
  if (source == Source::kCopy) {
    file->owned_ = std::make_unique_for_overwrite<std::byte[]>(file->size_);
    RETURN_IF_ERROR(ReadAll(fd.get(), path, {file->owned_.get(), file->size_}));
    file->data_ = file->owned_.get();
    return std::shared_ptr<const MappedFile>(file);
  }
  void* data =
      ::mmap(nullptr, file->size_, PROT_READ, MAP_PRIVATE, fd.get(), 0);
  if (data == MAP_FAILED) {
    file->size_ = 0;
    return Unavailable("[checkpoint] " + path +
                       ": cannot be mapped: " + std::strerror(errno));
  }
  file->data_ = static_cast<const std::byte*>(data);
  file->mapped_ = mapped_files.Take(path);
  file->mapped_->begin = reinterpret_cast<uintptr_t>(data);
  file->mapped_->end = file->mapped_->begin + file->size_;
  return std::shared_ptr<const MappedFile>(file);
}

std::shared_ptr<const MappedFile> MappedFile::OfBytes(
    std::string name, std::span<const std::byte> bytes) {
  std::shared_ptr<MappedFile> file(new MappedFile());
  file->path_ = std::move(name);
  file->size_ = bytes.size();
  file->owned_ = std::make_unique<std::byte[]>(bytes.size());
  if (!bytes.empty()) {
    std::memcpy(file->owned_.get(), bytes.data(), bytes.size());
  }
  file->data_ = file->owned_.get();
  return file;
}

MappedFile::~MappedFile() {
  if (mapped_ == nullptr) return;
  SignalNames::Free(mapped_);
  ::munmap(const_cast<std::byte*>(data_), size_);
}

void MappedFile::Advise(Access access) const {
  if (mapped_ == nullptr) return;
  // A file that is mapped to be read loses nothing by MADV_DONTNEED.
  const int advice =
      access == Access::kSequential ? MADV_SEQUENTIAL : MADV_DONTNEED;
  (void)::madvise(const_cast<std::byte*>(data_), size_, advice);
}

const char* MappedFileAt(const void* address) noexcept {
  const auto at = reinterpret_cast<uintptr_t>(address);
  for (auto* file = mapped_files.newest(); file; file = file->next) {
    if (file->begin <= at && at < file->end) return file->name.c_str();
  }
  return nullptr;
}

std::shared_ptr<Storage> StorageOf(std::shared_ptr<const MappedFile> file) {
  const void* data = file->bytes().data();
  const size_t size = file->size();
  return Storage::Borrow(data, size, std::move(file));
}

}  // namespace intarsia
