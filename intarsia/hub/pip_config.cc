#include "intarsia/hub/pip_config.h"

#include <algorithm>
#include <cstdlib>
#include <vector>

#include "intarsia/checkpoint/mapped_file.h"

namespace intarsia {
namespace {

constexpr size_t kMaxConfigBytes = 1 << 20;

std::string Trim(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t\r\n");
  if (begin == std::string_view::npos) return "";
  const size_t end = text.find_last_not_of(" \t\r\n");
  return std::string(text.substr(begin, end - begin + 1));
}

std::vector<std::string> Words(std::string_view text) {
  std::vector<std::string> words;
  size_t at = 0;
  while ((at = text.find_first_not_of(" \t\r\n", at)) !=
         std::string_view::npos) {
    const size_t end = std::min(text.find_first_of(" \t\r\n", at), text.size());
    words.emplace_back(text.substr(at, end - at));
    at = end;
  }
  return words;
}

void Apply(const std::map<std::string, std::string>& values,
           IndexSettings* settings) {
  auto set = [&](const char* key, std::string* field) {
    const auto found = values.find(key);
    if (found != values.end() && !found->second.empty()) {
      *field = found->second;
    }
  };
  set("index-url", &settings->index_url);
  set("cert", &settings->access.certificates);
  set("proxy", &settings->access.proxy);
  std::string hosts;
  set("trusted-host", &hosts);
  if (!hosts.empty()) settings->access.trusted_hosts = Words(hosts);
}

void ApplyFile(const std::string& path, IndexSettings* settings) {
  const auto file = MappedFile::Open(path);
  if (!file.ok() || (*file)->size() > kMaxConfigBytes) return;
  const IniSections sections = ParseIni((*file)->text());
  for (const char* section : {"global", "install", "download"}) {
    const auto found = sections.find(section);
    if (found != sections.end()) Apply(found->second, settings);
  }
}

}  // namespace

IniSections ParseIni(std::string_view text) {
  IniSections sections;
  std::map<std::string, std::string>* section = nullptr;
  std::string* value = nullptr;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    const std::string trimmed = Trim(line);
    if (trimmed.empty() || trimmed[0] == '#' || trimmed[0] == ';') continue;
    if ((line[0] == ' ' || line[0] == '\t') && value != nullptr) {
      if (!value->empty()) *value += '\n';
      *value += trimmed;
      continue;
    }
    if (trimmed.front() == '[' && trimmed.back() == ']') {
      section = &sections[Trim(
          std::string_view(trimmed).substr(1, trimmed.size() - 2))];
      value = nullptr;
      continue;
    }
    const size_t split = trimmed.find_first_of("=:");
    if (section == nullptr || split == std::string::npos) continue;
    std::string key = Trim(std::string_view(trimmed).substr(0, split));
    for (char& c : key) {
      if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
      if (c == '_') c = '-';
    }
    value = &(*section)[key];
    *value = Trim(std::string_view(trimmed).substr(split + 1));
  }
  return sections;
}

IndexSettings ReadIndexSettings(const GetVariable& get,
                                const std::string& etc) {
  IndexSettings settings;
  const std::string named = get("PIP_CONFIG_FILE");
  if (named != "/dev/null") {  // which turns all files off
    std::vector<std::string> files = {etc + "/xdg/pip/pip.conf",
                                      etc + "/pip.conf"};
    const std::string home = get("HOME");
    std::string user = get("XDG_CONFIG_HOME");
    if (user.empty() && !home.empty()) user = home + "/.config";
    if (!home.empty()) files.push_back(home + "/.pip/pip.conf");
    if (!user.empty()) files.push_back(user + "/pip/pip.conf");
    const std::string venv = get("VIRTUAL_ENV");
    if (!venv.empty()) files.push_back(venv + "/pip.conf");
    if (!named.empty()) files.push_back(named);
    for (const std::string& file : files) ApplyFile(file, &settings);
  }
  Apply({{"index-url", get("PIP_INDEX_URL")},
         {"cert", get("PIP_CERT")},
         {"proxy", get("PIP_PROXY")},
         {"trusted-host", get("PIP_TRUSTED_HOST")}},
        &settings);
  for (const char* name :
       {"REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"}) {
    if (settings.access.certificates.empty())
      settings.access.certificates = get(name);
  }
  settings.index_url = Trim(settings.index_url);
  return settings;
}

IndexSettings ReadIndexSettings() {
  return ReadIndexSettings([](const std::string& name) -> std::string {
    const char* value = std::getenv(name.c_str());
    return value == nullptr ? "" : value;
  });
}

}  // namespace intarsia
