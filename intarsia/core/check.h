// CHECK(condition) << values...: a caller's mistake. Throws CheckError with the
// place, the condition and the values; never used for untrusted input, which
// returns a Status (status.h).
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

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

// Collects the streamed values and throws when the full expression ends. It
// takes text and numbers without <ostream>, which every file would pay for;
// a type of ours gives itself an operator<< (tensor.h).
class Failure {
 public:
  Failure(const char* file, int line, const char* condition);
  [[noreturn]] ~Failure() noexcept(false);
  Failure& stream() { return *this; }

  Failure& operator<<(std::string_view text);
  Failure& operator<<(const char* text);
  Failure& operator<<(char c);
  Failure& operator<<(bool value);
  Failure& operator<<(int value);
  Failure& operator<<(unsigned value);
  Failure& operator<<(long value);  // NOLINT(google-runtime-int): int64_t
  Failure& operator<<(unsigned long value);       // NOLINT(google-runtime-int)
  Failure& operator<<(long long value);           // NOLINT(google-runtime-int)
  Failure& operator<<(unsigned long long value);  // NOLINT(google-runtime-int)
  Failure& operator<<(double value);              // six digits
  Failure& operator<<(const void* value);

 private:
  std::string text_;
};

struct Voidify {
  void operator&(const Failure&) const {}
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
