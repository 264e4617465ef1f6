// What responses say in their headers, as far as downloads need it: ranges,
// tags, and what the Hugging Face hub adds. Headers are untrusted.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace intarsia {

struct HttpHeaders {
  std::string content_range;
  std::string etag;      // without quotes and W/
  std::string location;  // of a redirect
  // The hub's words on a file (X-Linked-ETag, X-Linked-Size, X-Repo-Commit),
  // which it sends with the redirect to where the bytes are.
  std::string linked_etag;
  std::optional<uint64_t> linked_size;
  std::string repo_commit;
  std::optional<uint64_t> content_length;
  // Why it refuses (X-Error-Code, X-Error-Message).
  std::string error_code, error_message;
};

// Takes one line of a response's head. A status line begins another response:
// all goes but the hub's words on the file.
void AddHeaderLine(std::string_view line, HttpHeaders* headers);

// "bytes 100-199/200", "bytes */200"; absent parts are nothing.
struct ContentRange {
  std::optional<uint64_t> begin, total;
};
ContentRange ParseContentRange(std::string_view text);

// W/"abc" and "abc" as abc.
std::string BareEtag(std::string_view etag);

}  // namespace intarsia
