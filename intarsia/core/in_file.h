// Errors name the file: the outermost reader that knows it adds it, once.
#pragma once

#include <string>
#include <utility>

#include "intarsia/core/status.h"

namespace intarsia {

// "[room] fault" becomes "[room] PATH: fault", unless the message has the path.
inline Status InFile(Status status, const std::string& path) {
  const std::string& message = status.message();
  if (status.ok() || path.empty() || message.find(path) != std::string::npos) {
    return status;
  }
  const size_t room = message.starts_with("[") ? message.find("] ") : 0;
  const size_t at = room == 0 || room == std::string::npos ? 0 : room + 2;
  return {status.code(),
          message.substr(0, at) + path + ": " + message.substr(at)};
}

template <typename T>
Result<T> InFile(Result<T> result, const std::string& path) {
  if (result.ok()) return result;
  return InFile(result.status(), path);
}

}  // namespace intarsia
