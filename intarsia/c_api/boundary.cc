#include "intarsia/c_api/boundary.h"

#include "intarsia/core/terminal_text.h"

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
  std::string printable;
  try {
    printable = TerminalLine(message, {.most = sizeof(last_error) - 100});
  } catch (const std::bad_alloc&) {
    printable = "no memory";  // of the short kind that takes none
  }
  const size_t n = std::min(printable.size(), sizeof(last_error) - 1);
  std::memcpy(last_error, printable.data(), n);
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
