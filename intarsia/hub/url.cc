#include "intarsia/hub/url.h"

#include <curl/curl.h>

#include <algorithm>
#include <memory>

#include "intarsia/checkpoint/checked.h"

namespace intarsia {
namespace {

using Url = std::unique_ptr<CURLU, void (*)(CURLU*)>;

Url ParseUrl(const std::string& text) {
  Url url(curl_url(), curl_url_cleanup);
  if (url == nullptr ||
      curl_url_set(url.get(), CURLUPART_URL, text.c_str(), 0) != CURLUE_OK) {
    return Url(nullptr, curl_url_cleanup);
  }
  return url;
}

std::string Part(const Url& url, CURLUPart part, unsigned flags = 0) {
  char* text = nullptr;
  if (curl_url_get(url.get(), part, &text, flags) != CURLUE_OK) return "";
  const std::unique_ptr<char, void (*)(void*)> owner(text, curl_free);
  return text;
}

}  // namespace

std::string ResolveUrl(const std::string& base, const std::string& link) {
  const Url url = ParseUrl(base);
  if (url == nullptr) return "";
  const std::string host = Part(url, CURLUPART_HOST);
  const std::string port = Part(url, CURLUPART_PORT);
  const std::string user = Part(url, CURLUPART_USER);
  const std::string password = Part(url, CURLUPART_PASSWORD);
  const std::string scheme = Part(url, CURLUPART_SCHEME);
  if (curl_url_set(url.get(), CURLUPART_URL, link.c_str(), 0) != CURLUE_OK) {
    return "";
  }
  const std::string now = Part(url, CURLUPART_SCHEME);
  if (now != "http" && now != "https") return "";
  if (!user.empty() && Part(url, CURLUPART_USER).empty() && now == scheme &&
      Part(url, CURLUPART_HOST) == host && Part(url, CURLUPART_PORT) == port) {
    curl_url_set(url.get(), CURLUPART_USER, user.c_str(), 0);
    if (!password.empty()) {
      curl_url_set(url.get(), CURLUPART_PASSWORD, password.c_str(), 0);
    }
  }
  return Part(url, CURLUPART_URL);
}

std::string RedactedUrl(const std::string& url) {
  const size_t scheme = url.find("://");
  if (scheme == std::string::npos) return Printable(url, 300);
  const size_t begin = scheme + 3;
  const size_t end = std::min(url.find_first_of("/?#", begin), url.size());
  const size_t at = url.rfind('@', end);
  if (at == std::string::npos || at < begin) return Printable(url, 300);
  return Printable(url.substr(0, begin) + url.substr(at + 1), 300);
}

std::string UrlAuthority(const std::string& url) {
  const std::string redacted = RedactedUrl(url);
  const size_t scheme = redacted.find("://");
  if (scheme == std::string::npos) return "";
  const size_t begin = scheme + 3;
  const size_t end =
      std::min(redacted.find_first_of("/?#", begin), redacted.size());
  return redacted.substr(begin, end - begin);
}

std::string UrlFileName(const std::string& url) {
  const Url parsed = ParseUrl(url);
  if (parsed == nullptr) return "";
  const std::string path = Part(parsed, CURLUPART_PATH, CURLU_URLDECODE);
  return path.substr(path.rfind('/') + 1);
}

std::string UrlEscape(std::string_view text, std::string_view keep) {
  static constexpr char kDigits[] = "0123456789ABCDEF";
  std::string out;
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                       (c >= '0' && c <= '9') || c == '-' || c == '_' ||
                       c == '.' || keep.find(c) != std::string_view::npos;
    if (plain) {
      out += c;
    } else {
      const auto byte = static_cast<unsigned char>(c);
      out += {'%', kDigits[byte >> 4], kDigits[byte & 15]};
    }
  }
  return out;
}

}  // namespace intarsia
