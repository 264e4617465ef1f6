// Every file that this project writes is written through one of these: beside
// its place, flushed, and moved there when it is whole. A failure, a full disk
// or a signal leaves what was there before.
//
// What is there already decides:
//   nothing, a regular file   replaced; owner and permissions stay
//   a link to a regular file  the file is replaced, the link stays
//   a character device, a FIFO somebody reads, /dev/stdout, /dev/fd/N
//                             written through, piece by piece
//   a folder, a socket, a block device, a link to nothing, a file that may not
//   be written                an error; nothing changes
//
// What is being written lies beside its place as NAME.tmp-PID-N and is locked.
// One that nobody holds was left by a process that was killed: the next writer
// of NAME removes it, and with it those of other parts (NAME-00002-of-00005).
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "intarsia/checkpoint/signal_names.h"
#include "intarsia/core/status.h"

namespace intarsia {

class AtomicFile {
 public:
  // `room` begins the messages. `mode`: permissions of a file that is new,
  // less the umask.
  AtomicFile(std::string path, std::string room, mode_t mode = 0666);
  ~AtomicFile();  // removes what was not committed
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  // Whether Open would succeed, without a trace: for outputs whose contents
  // take long to make.
  static Status Check(const std::string& path, const std::string& room);

  Status Open();
  Status Write(std::span<const std::byte> bytes);
  Status Write(std::string_view text) {
    return Write(std::as_bytes(std::span<const char>(text)));
  }
  Status Zeros(uint64_t count);
  // Flushes to the disk; only the move is left. Commit does it if need be.
  Status Finish();
  Status Commit();

 private:
  friend class FileSet;
  struct Target;  // what the path stands for
  static Result<Target> Resolve(const std::string& path,
                                const std::string& room);
  void RemoveLeftovers() const;
  Status OpenBeside(const Target& target);
  Status Failed(const std::string& what, int error) const;
  bool streams() const { return folder_.empty(); }

  std::string path_, room_;
  mode_t mode_;
  std::string folder_, name_;  // of the file itself; empty: written through
  SignalNames::Entry* temporary_ = nullptr;
  int fd_ = -1;
  bool finished_ = false;
};

// A file of this text: all of it, or what was there before.
Status WriteFileWhole(const std::string& path, const std::string& room,
                      std::string_view text, mode_t mode = 0666);

// Files that make one model together, as shards and the index that names them
// do: Commit moves them once all are whole. A process that is ended meanwhile
// leaves the older files, the newer ones, or others without the `entry`, which
// readers refuse; never a mixture.
//
// Of a folder the entry is the file that leads to the weights
// (model.safetensors or its index): Add it last. What must not outlive the
// change, like the entry of the other kind or a tokenizer that the new model
// lacks, goes to Remove.
class FileSet {
 public:
  // To be opened and written by the caller. Valid as long as the set.
  AtomicFile& Add(std::string path, const std::string& room);
  void Remove(std::string path);
  // Removes, then moves in the order of Add. A set of one file replaces its
  // older one in a single step.
  Status Commit();

 private:
  std::vector<std::unique_ptr<AtomicFile>> files_;
  std::vector<std::string> removed_;
};

// Unlinks what this process has not committed. Safe in a signal handler, after
// which the process must end.
void RemoveTemporaries() noexcept;

}  // namespace intarsia
