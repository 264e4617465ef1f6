// A file in memory, read-only. Tensors borrow from it and keep it alive.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "intarsia/checkpoint/signal_names.h"
#include "intarsia/core/status.h"
#include "intarsia/core/tensor.h"

namespace intarsia {

class MappedFile {
 public:
  // Maps a regular file (symbolic links are followed). The pages come in as
  // they are touched. Replacing the file by rename is safe; where another
  // process cuts it short, touching what is gone raises SIGBUS, as with every
  // mapped file. A program turns that into an error by a handler that asks
  // MappedFileAt; this library installs none, for signals are the host's. kCopy
  // reads the file into memory instead, where nobody can cut it.
  enum class Source : uint8_t { kMap, kCopy };
  static Result<std::shared_ptr<const MappedFile>> Open(
      const std::string& path, Source source = Source::kMap);

  // Bytes that are in memory already, under a name for messages.
  static std::shared_ptr<const MappedFile> OfBytes(
      std::string name, std::span<const std::byte> bytes);

  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const std::string& path() const { return path_; }
  size_t size() const { return size_; }
  std::span<const std::byte> bytes() const { return {data_, size_}; }
  std::string_view text() const {
    return {reinterpret_cast<const char*>(data_), size_};
  }

  // Hints to the kernel; a hint that it refuses changes nothing. kDone: the
  // pages leave this process until they are touched again.
  enum class Access { kSequential, kDone };
  void Advise(Access access) const;

 private:
  MappedFile() = default;
  std::string path_;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
  SignalNames::Entry* mapped_ = nullptr;
  std::unique_ptr<std::byte[]> owned_;
};

// The path of the mapped file that the address lies in; null: in none. Safe in
// a signal handler. Valid for ever.
const char* MappedFileAt(const void* address) noexcept;

// Storage over the whole file, which it keeps alive.
std::shared_ptr<Storage> StorageOf(std::shared_ptr<const MappedFile> file);

}  // namespace intarsia
