#include "intarsia/hub/http_headers.h"

#include <algorithm>
#include <charconv>

namespace intarsia {
namespace {

constexpr size_t kMaxValue = 8192;

char Lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

std::string_view Trim(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t\r\n");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t\r\n") + 1 - begin);
}

// All of `text`, or nothing.
std::optional<uint64_t> WholeNumber(std::string_view text) {
  uint64_t value = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc() || stop != end) return std::nullopt;
  return value;
}

std::optional<uint64_t> LeadingNumber(std::string_view text) {
  const size_t end = text.find_first_not_of("0123456789");
  return WholeNumber(text.substr(0, end));
}

}  // namespace

void AddHeaderLine(std::string_view line, HttpHeaders* headers) {
  if (line.starts_with("HTTP/")) {
    HttpHeaders next;
    next.linked_etag = std::move(headers->linked_etag);
    next.linked_size = headers->linked_size;
    next.repo_commit = std::move(headers->repo_commit);
    *headers = std::move(next);
    return;
  }
  const size_t colon = line.find(':');
  if (colon == std::string_view::npos || line.size() > kMaxValue) return;
  std::string name(line.substr(0, colon));
  std::transform(name.begin(), name.end(), name.begin(), Lower);
  const std::string_view value = Trim(line.substr(colon + 1));
  if (name == "content-range") {
    headers->content_range = value;
  } else if (name == "content-length") {
    headers->content_length = WholeNumber(value);
  } else if (name == "etag") {
    headers->etag = BareEtag(value);
  } else if (name == "location") {
    headers->location = value;
  } else if (name == "x-linked-etag") {
    headers->linked_etag = BareEtag(value);
  } else if (name == "x-linked-size") {
    headers->linked_size = WholeNumber(value);
  } else if (name == "x-repo-commit") {
    headers->repo_commit = value;
  } else if (name == "x-error-code") {
    headers->error_code = value;
  } else if (name == "x-error-message") {
    headers->error_message = value;
  }
}

ContentRange ParseContentRange(std::string_view text) {
  ContentRange range;
  if (const size_t unit = text.find("bytes "); unit != text.npos) {
    range.begin = LeadingNumber(text.substr(unit + 6));
  }
  if (const size_t slash = text.find('/'); slash != text.npos) {
    range.total = LeadingNumber(text.substr(slash + 1));
  }
  return range;
}

std::string BareEtag(std::string_view etag) {
  if (etag.starts_with("W/")) etag.remove_prefix(2);
  if (etag.size() >= 2 && etag.front() == '"' && etag.back() == '"') {
    etag = etag.substr(1, etag.size() - 2);
  }
  return std::string(etag);
}

}  // namespace intarsia
