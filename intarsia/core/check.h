// CHECK(condition) << values...: a caller's mistake. Throws CheckError with the
// place, the condition and the values; never used for untrusted input, which
// returns a Status (status.h).
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>

namespace intarsia {

class CheckError : public std::logic_error {
 public:
  using std::logic_error::logic_error;
};

// A device, a collective or an allocation failed. Caught in cli/ and server/.
class EngineError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

namespace check_internal {

// Collects the streamed values and throws when the full expression ends.
class Failure {
 public:
  Failure(const char* file, int line, const char* condition) {
    stream_ << file << ":" << line << ": CHECK(" << condition << ") failed ";
  }
  [[noreturn]] ~Failure() noexcept(false) { throw CheckError(stream_.str()); }
  std::ostream& stream() { return stream_; }

 private:
  std::ostringstream stream_;
};

struct Voidify {
  void operator&(std::ostream&) const {}
};

}  // namespace check_internal
}  // namespace intarsia

#define CHECK(condition)                                                    \
  (condition) ? (void)0                                                     \
              : ::intarsia::check_internal::Voidify() &                     \
                    ::intarsia::check_internal::Failure(__FILE__, __LINE__, \
                                                        #condition)         \
                        .stream()

#define INTARSIA_CHECK_OP(a, op, b) \
  CHECK((a)op(b)) << "[" << (a) << " vs " << (b) << "] "
#define CHECK_EQ(a, b) INTARSIA_CHECK_OP(a, ==, b)
#define CHECK_NE(a, b) INTARSIA_CHECK_OP(a, !=, b)
#define CHECK_LT(a, b) INTARSIA_CHECK_OP(a, <, b)
#define CHECK_LE(a, b) INTARSIA_CHECK_OP(a, <=, b)
#define CHECK_GT(a, b) INTARSIA_CHECK_OP(a, >, b)
#define CHECK_GE(a, b) INTARSIA_CHECK_OP(a, >=, b)
