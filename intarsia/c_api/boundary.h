// What every function of the C library passes through: errors become codes and
// a message a thread, structs of other versions become ours.
#pragma once

#include <algorithm>
#include <cstring>
#include <exception>
#include <new>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>

#include "include/intarsia/intarsia.h"
#include "intarsia/core/check.h"
#include "intarsia/core/status.h"

namespace intarsia::c_api {

// How a call ended.
struct Outcome {
  Outcome(Status status)  // NOLINT: implicit on purpose
      : code(CodeOf(status.code())), message(status.message()) {}
  Outcome(intarsia_status code, std::string message)
      : code(code), message(std::move(message)) {}

  static intarsia_status CodeOf(StatusCode code);

  intarsia_status code;
  std::string message;
};

// Keeps the message for the thread's intarsia_last_error.
void SetLastError(std::string_view message) noexcept;
const char* LastError() noexcept;

// Runs body(), which returns an Outcome or a Status; nothing is thrown past
// this.
template <typename Body>
intarsia_status Guard(const Body& body) noexcept {
  const auto failed = [](intarsia_status code, const char* what) {
    SetLastError(what);
    return code;
  };
  try {
    const Outcome outcome = body();
    if (outcome.code != INTARSIA_OK) SetLastError(outcome.message);
    return outcome.code;
  } catch (const EngineError& error) {
    return failed(INTARSIA_UNAVAILABLE, error.what());
  } catch (const std::bad_alloc&) {
    return failed(INTARSIA_UNAVAILABLE, "[c_api] out of memory");
  } catch (const std::length_error&) {
    return failed(INTARSIA_UNAVAILABLE, "[c_api] out of memory");
  } catch (const std::exception& error) {
    return failed(INTARSIA_INTERNAL, error.what());
  } catch (...) {
    return failed(INTARSIA_INTERNAL, "[c_api] a callback threw an exception");
  }
}

// No struct of this library grows past it: a larger size was never set.
inline constexpr size_t kMostStructBytes = 4096;

// Writes the first `size` bytes of `ours`, the rest as zeros, and the size.
template <typename T>
void WriteStruct(T ours, T* theirs, size_t size) {
  static_assert(std::is_trivially_copyable_v<T>);
  if (theirs == nullptr || size < sizeof(size_t) || size > kMostStructBytes) {
    return;
  }
  ours.size = size;
  char* out = reinterpret_cast<char*>(theirs);
  const size_t known = std::min(size, sizeof(T));
  std::memcpy(out, &ours, known);
  std::memset(out + known, 0, size - known);
}

// The caller's struct over `defaults`; null: the defaults. A caller of an older
// version gives less; one of a newer version must not use what we don't know.
template <typename T>
Result<T> ReadStruct(const T* theirs, T defaults) {
  static_assert(std::is_trivially_copyable_v<T>);
  if (theirs == nullptr) return defaults;
  const char* in = reinterpret_cast<const char*>(theirs);
  size_t size = 0;
  std::memcpy(&size, in, sizeof(size));
  if (size < sizeof(size_t) || size > kMostStructBytes) {
    return InvalidArgument(
        "[c_api] the size of the options is not set; call their _init "
        "function first");
  }
  const size_t known = std::min(size, sizeof(T));
  for (size_t i = known; i < size; ++i) {
    if (in[i] == 0) continue;
    return Unsupported(
        "[c_api] the options set what a newer version of the library knows");
  }
  std::memcpy(&defaults, in, known);
  defaults.size = sizeof(T);
  return defaults;
}

// Fills the caller's buffer; the length needed goes to *length.
Outcome FillText(std::string_view from, char* to, size_t capacity,
                 size_t* length);

}  // namespace intarsia::c_api
