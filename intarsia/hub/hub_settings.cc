#include "intarsia/hub/hub_settings.h"

#include <algorithm>
#include <cstdlib>

#include "intarsia/checkpoint/mapped_file.h"
#include "intarsia/hub/url.h"

namespace intarsia {
namespace {

constexpr size_t kMaxTokenBytes = 4096;

std::string Trim(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t\r\n");
  if (begin == std::string_view::npos) return "";
  const size_t end = text.find_last_not_of(" \t\r\n");
  return std::string(text.substr(begin, end - begin + 1));
}

bool IsTrue(std::string text) {
  for (char& c : text) {
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
  }
  return text == "1" || text == "ON" || text == "YES" || text == "TRUE";
}

std::string TokenFile(const GetVariable& get) {
  if (const std::string path = get("HF_TOKEN_PATH"); !path.empty()) {
    return path;
  }
  if (const std::string home = get("HF_HOME"); !home.empty()) {
    return home + "/token";
  }
  if (const std::string xdg = get("XDG_CACHE_HOME"); !xdg.empty()) {
    return xdg + "/huggingface/token";
  }
  return get("HOME") + "/.cache/huggingface/token";
}

std::string ReadToken(const GetVariable& get) {
  if (IsTrue(get("HF_HUB_DISABLE_IMPLICIT_TOKEN"))) return "";
  std::string token = Trim(get("HF_TOKEN"));
  if (token.empty()) token = Trim(get("HUGGING_FACE_HUB_TOKEN"));
  if (token.empty()) {
    const auto file = MappedFile::Open(TokenFile(get));
    if (file.ok() && (*file)->size() <= kMaxTokenBytes) {
      token = Trim((*file)->text());
    }
  }
  const bool clean = std::all_of(token.begin(), token.end(),
                                 [](char c) { return c > 32 && c < 127; });
  return clean ? token : "";
}

// What is sent stays on the machine or is encrypted.
bool IsPrivate(const std::string& endpoint) {
  if (endpoint.starts_with("https://")) return true;
  const std::string authority = UrlAuthority(endpoint);
  const std::string host = authority.substr(0, authority.rfind(':'));
  return host == "localhost" || host == "127.0.0.1" || host == "[::1]";
}

}  // namespace

HubSettings ReadHubSettings(const GetVariable& get) {
  HubSettings settings;
  std::string endpoint = Trim(get("HF_ENDPOINT"));
  while (endpoint.ends_with('/')) endpoint.pop_back();
  if (!endpoint.empty()) settings.endpoint = endpoint;
  settings.offline = IsTrue(get("HF_HUB_OFFLINE"));
  for (const char* name :
       {"REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"}) {
    std::string& certificates = settings.access.certificates;
    if (certificates.empty()) certificates = get(name);
  }
  std::string token = ReadToken(get);
  settings.token_withheld = !token.empty() && !IsPrivate(settings.endpoint);
  if (!settings.token_withheld) settings.access.token = std::move(token);
  return settings;
}

HubSettings ReadHubSettings() {
  return ReadHubSettings([](const std::string& name) -> std::string {
    const char* value = std::getenv(name.c_str());
    return value == nullptr ? "" : value;
  });
}

}  // namespace intarsia
