#include "intarsia/c_api/boundary.h"

namespace intarsia::c_api {
namespace {

// Without a destructor, so that it may be used while a thread ends.
thread_local char last_error[1024] = "";

}  // namespace

intarsia_status Outcome::CodeOf(StatusCode code) {
  switch (code) {
    case StatusCode::kOk:
      return INTARSIA_OK;
    case StatusCode::kInvalidArgument:
      return INTARSIA_INVALID_ARGUMENT;
    case StatusCode::kNotFound:
      return INTARSIA_NOT_FOUND;
    case StatusCode::kUnsupported:
      return INTARSIA_UNSUPPORTED;
    case StatusCode::kDataLoss:
      return INTARSIA_DATA_LOSS;
    case StatusCode::kUnavailable:
      return INTARSIA_UNAVAILABLE;
  }
  return INTARSIA_INTERNAL;
}

void SetLastError(std::string_view message) noexcept {
  size_t n = std::min(message.size(), sizeof(last_error) - 1);
  // Not within a character.
  while (n < message.size() && n > 0 && (message[n] & 0xC0) == 0x80) --n;
  std::memmove(last_error, message.data(), n);
  last_error[n] = '\0';
}

const char* LastError() noexcept { return last_error; }

Outcome FillText(std::string_view from, char* to, size_t capacity,
                 size_t* length) {
  *length = from.size();
  if (from.size() >= capacity) {
    return Outcome(INTARSIA_BUFFER_TOO_SMALL,
                   "[c_api] the text has " + std::to_string(from.size()) +
                       " bytes and a NUL, the buffer " +
                       std::to_string(capacity));
  }
  if (!from.empty()) std::memcpy(to, from.data(), from.size());
  to[from.size()] = '\0';
  return Status::Ok();
}

}  // namespace intarsia::c_api
