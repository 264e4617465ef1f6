// Status and Result<T>: how untrusted input (files, JSON, HTTP, flags) fails.
// Messages start with the room that refuses: "[safetensors] model.safetensors:
// header claims 9e18 bytes, the file has 1024".
#pragma once

#include <optional>
#include <string>
#include <utility>

#include "intarsia/core/check.h"

namespace intarsia {

enum class StatusCode {
  kOk,
  kInvalidArgument,  // malformed or contradictory input
  kNotFound,         // a file, tensor, name or model that does not exist
  kUnsupported,      // well-formed, but not something this build can do
  kDataLoss,         // truncated or corrupt data
  kUnavailable,      // network or device; trying again may help
};

class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(StatusCode code, std::string message)
      : code_(code), message_(std::move(message)) {}

  static Status Ok() { return Status(); }

  bool ok() const { return code_ == StatusCode::kOk; }
  StatusCode code() const { return code_; }
  const std::string& message() const { return message_; }

 private:
  StatusCode code_ = StatusCode::kOk;
  std::string message_;
};

inline Status InvalidArgument(std::string message) {
  return {StatusCode::kInvalidArgument, std::move(message)};
}
inline Status NotFound(std::string message) {
  return {StatusCode::kNotFound, std::move(message)};
}
inline Status Unsupported(std::string message) {
  return {StatusCode::kUnsupported, std::move(message)};
}
inline Status DataLoss(std::string message) {
  return {StatusCode::kDataLoss, std::move(message)};
}
inline Status Unavailable(std::string message) {
  return {StatusCode::kUnavailable, std::move(message)};
}

// A T or the Status that says why there is none.
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::move(value)) {}  // NOLINT: implicit on purpose
  Result(Status status) : status_(std::move(status)) {  // NOLINT
    CHECK(!status_.ok()) << "a Result without a value needs an error";
  }

  bool ok() const { return value_.has_value(); }
  const Status& status() const { return status_; }

  T& value() & {
    CHECK(ok()) << status_.message();
    return *value_;
  }
  const T& value() const& {
    CHECK(ok()) << status_.message();
    return *value_;
  }
  T&& value() && {
    CHECK(ok()) << status_.message();
    return *std::move(value_);
  }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

 private:
  std::optional<T> value_;
  Status status_;
};

}  // namespace intarsia

#define INTARSIA_CONCAT_(a, b) a##b
#define INTARSIA_CONCAT(a, b) INTARSIA_CONCAT_(a, b)

// Returns the error of a Status expression from the enclosing function.
#define RETURN_IF_ERROR(expr)                                               \
  do {                                                                      \
    if (::intarsia::Status status_ = (expr); !status_.ok()) return status_; \
  } while (false)

// Evaluates a Result<T>; on success assigns to `lhs` (which may declare).
#define ASSIGN_OR_RETURN(lhs, expr) \
  ASSIGN_OR_RETURN_(INTARSIA_CONCAT(result_, __LINE__), lhs, expr)
#define ASSIGN_OR_RETURN_(result, lhs, expr) \
  auto result = (expr);                      \
  if (!result.ok()) return result.status();  \
  lhs = std::move(result).value()
