// A file that appears under its name when it is complete.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "intarsia/core/status.h"

namespace intarsia {

class AtomicFile {
 public:
  // `room` begins the messages.
  AtomicFile(std::string path, std::string room);
  ~AtomicFile();  // removes what was not committed
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  Status Open();  // creates the temporary file beside `path`
  Status Write(std::span<const std::byte> bytes);
  Status Write(std::string_view text) {
    return Write(std::as_bytes(std::span<const char>(text)));
  }
  Status Zeros(uint64_t count);
  // Flushes to the disk and moves the file to its name.
  Status Commit();

 private:
  Status Failed(const std::string& what) const;

  std::string path_, room_, temporary_;
  int fd_ = -1;
};

}  // namespace intarsia
