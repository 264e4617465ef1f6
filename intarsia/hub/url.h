// URLs, by libcurl's parser.
#pragma once

#include <string>
#include <string_view>

namespace intarsia {

// `link` as seen from `base`; the user and password of `base` are kept where
// both have the same host. Empty when either is no http(s) URL.
std::string ResolveUrl(const std::string& base, const std::string& link);

// Without user and password, for messages.
std::string RedactedUrl(const std::string& url);

// "host:port" or "host", as written, without user and password.
std::string UrlAuthority(const std::string& url);

// The last part of a URL's path, with %XX decoded; empty where there is none.
std::string UrlFileName(const std::string& url);

// All but letters, digits, '-', '_', '.' and `keep` as %XX.
std::string UrlEscape(std::string_view text, std::string_view keep = "");

}  // namespace intarsia
