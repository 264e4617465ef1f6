// Lines from a person (with editing and history) or from a pipe.
#pragma once

#include <termios.h>

#include <memory>
#include <optional>
#include <string>

namespace intarsia {

// While one lives, what is typed does not appear amid what is printed; it is
// there for the next line. Does nothing where stdin is no terminal.
class EchoOff {
 public:
  EchoOff();
  ~EchoOff();
  EchoOff(const EchoOff&) = delete;
  EchoOff& operator=(const EchoOff&) = delete;

 private:
  std::optional<termios> before_;
};

class LineReader {
 public:
  // Editing when both stdin and stderr are terminals. `history_path`, if not
  // empty, is read now and written at the end; a file that can't be is passed
  // over.
  explicit LineReader(std::string history_path);
  ~LineReader();

  // From a pipe: bytes of a message and of the empty lines before it.
  static constexpr size_t kMostBytes = size_t{64} << 20;

  enum class Event : uint8_t { kText, kEnd, kInterrupted, kTooLong };
  // A message, without its last line break. In a terminal a line that ends with
  // a backslash goes on in the next, and """ opens a text that another """
  // ends. kInterrupted: Ctrl-C. kTooLong: past kMostBytes.
  Event Read(std::string* text);

  bool terminal() const { return terminal_; }

 private:
  struct Editor;
  Event ReadLine(const char* prompt, std::string* line);

  bool terminal_;
  size_t bytes_ = 0;  // since the last message
  std::unique_ptr<Editor> editor_;
};

}  // namespace intarsia
