#include "intarsia/hub/package_index.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "intarsia/checkpoint/checked.h"
#include "intarsia/checkpoint/json_input.h"
#include "intarsia/core/sha256.h"
#include "intarsia/hub/url.h"

namespace intarsia {
namespace {

using Json = nlohmann::json;

// Links are resolved against a base that the page may choose: what is longer
// than an address can be is passed over, and all of a page's files together
// take no more than a multiple of it.
constexpr size_t kMaxUrl = 4096;
constexpr size_t kMaxUrlBytes = size_t{64} << 20;

char Lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

bool IsSpace(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

bool StartsWithNoCase(std::string_view text, std::string_view prefix) {
  return text.size() >= prefix.size() &&
         std::equal(prefix.begin(), prefix.end(), text.begin(),
                    [](char a, char b) { return Lower(a) == Lower(b); });
}

// ---- HTML: just what PEP 503 needs, anchors and their attributes.

std::string Unescape(std::string_view text) {
  static constexpr std::pair<std::string_view, char> kEntities[] = {
      {"&amp;", '&'},  {"&lt;", '<'},    {"&gt;", '>'},  {"&quot;", '"'},
      {"&#39;", '\''}, {"&#x27;", '\''}, {"&#43;", '+'}, {"&#x2B;", '+'}};
  std::string out;
  while (!text.empty()) {
    const auto* found = std::ranges::find_if(kEntities, [&](const auto& e) {
      return StartsWithNoCase(text, e.first);
    });
    if (found != std::end(kEntities)) {
      out += found->second;
      text.remove_prefix(found->first.size());
    } else {
      out += text[0];
      text.remove_prefix(1);
    }
  }
  return out;
}

struct Attribute {
  std::string name;
  std::string value;
};

// Reads attributes from behind a tag's name to behind its '>', and keeps those
// that ToIndexFile knows.
std::vector<Attribute> ReadAttributes(std::string_view* text) {
  std::vector<Attribute> attributes;
  auto skip_spaces = [&] {
    while (!text->empty() && IsSpace(text->front())) text->remove_prefix(1);
  };
  while (true) {
    skip_spaces();
    if (text->empty()) break;
    if (text->front() == '>') {
      text->remove_prefix(1);
      break;
    }
    size_t end = 0;
    while (end < text->size() && !IsSpace((*text)[end]) &&
           (*text)[end] != '=' && (*text)[end] != '>') {
      ++end;
    }
    Attribute attribute;
    for (char c : text->substr(0, end)) attribute.name += Lower(c);
    text->remove_prefix(std::max<size_t>(end, end == 0 ? 1 : end));
    skip_spaces();
    if (!text->empty() && text->front() == '=' && end > 0) {
      text->remove_prefix(1);
      skip_spaces();
      const char quote = text->empty() ? '\0' : text->front();
      if (quote == '"' || quote == '\'') {
        text->remove_prefix(1);
        end = std::min(text->find(quote), text->size());
        attribute.value = Unescape(text->substr(0, end));
        text->remove_prefix(std::min(end + 1, text->size()));
      } else {
        end = std::min(text->find_first_of(" \t\r\n>"), text->size());
        attribute.value = Unescape(text->substr(0, end));
        text->remove_prefix(end);
      }
    }
    if (attribute.name == "href" || attribute.name == "data-yanked") {
      attributes.push_back(std::move(attribute));
    }
  }
  return attributes;
}

// At "<NAME" followed by a space: moves behind it.
bool SkipTag(std::string_view* text, std::string_view open) {
  if (!StartsWithNoCase(*text, open) || text->size() == open.size() ||
      !IsSpace((*text)[open.size()])) {
    return false;
  }
  text->remove_prefix(open.size());
  return true;
}

std::optional<IndexFile> ToIndexFile(const std::vector<Attribute>& attributes,
                                     const std::string& base) {
  IndexFile file;
  for (const Attribute& a : attributes) {
    if (a.name == "data-yanked") file.yanked = true;
    if (a.name != "href" || a.value.size() > kMaxUrl) continue;
    const size_t hash = std::min(a.value.find('#'), a.value.size());
    file.url = ResolveUrl(base, a.value.substr(0, hash));
    static constexpr std::string_view kKey = "#sha256=";
    const std::string_view fragment = std::string_view(a.value).substr(hash);
    if (fragment.starts_with(kKey)) {
      std::string hex(fragment.substr(kKey.size()));
      std::ranges::transform(hex, hex.begin(), Lower);
      if (IsSha256Hex(hex)) file.sha256 = std::move(hex);
    }
  }
  file.filename = UrlFileName(file.url);
  if (file.url.empty() || file.filename.empty()) return std::nullopt;
  return file;
}

// Keeps the sum of what a page's files take within bounds.
class FileList {
 public:
  explicit FileList(std::string where) : where_(std::move(where)) {}

  Status Add(IndexFile file) {
    bytes_ += sizeof(IndexFile) + file.url.size() + file.filename.size();
    if (bytes_ > kMaxUrlBytes) {
      return InvalidArgument(where_ + " lists files of more than " +
                             std::to_string(kMaxUrlBytes >> 20) +
                             " MiB of names and addresses");
    }
    files_.push_back(std::move(file));
    return Status::Ok();
  }
  std::vector<IndexFile> Take() { return std::move(files_); }

 private:
  const std::string where_;
  size_t bytes_ = 0;
  std::vector<IndexFile> files_;
};

Result<std::vector<IndexFile>> ParseHtml(std::string_view page,
                                         const std::string& page_url) {
  FileList files("[hub] " + RedactedUrl(page_url) + ": the page");
  std::string base = page_url;
  bool based = false;
  while (true) {
    const size_t open = page.find('<');
    if (open == std::string_view::npos) return files.Take();
    page.remove_prefix(open);
    if (page.starts_with("<!--")) {
      const size_t end = page.find("-->");
      if (end == std::string_view::npos) return files.Take();
      page.remove_prefix(end + 3);
    } else if (SkipTag(&page, "<base")) {
      for (const Attribute& a : ReadAttributes(&page)) {
        if (a.name != "href" || a.value.size() > kMaxUrl) continue;
        // The first counts, as in HTML: each could make the next longer.
        if (based) continue;
        if (std::string url = ResolveUrl(base, a.value); !url.empty()) {
          base = std::move(url);
          based = true;
        }
      }
    } else if (SkipTag(&page, "<a")) {
      if (auto file = ToIndexFile(ReadAttributes(&page), base)) {
        RETURN_IF_ERROR(files.Add(std::move(*file)));
      }
    } else {
      page.remove_prefix(1);
    }
  }
}

Result<std::vector<IndexFile>> ParseJsonPage(std::string_view page,
                                             const std::string& page_url) {
  const std::string where = "[hub] " + RedactedUrl(page_url) + ": the page";
  JsonPart list{{"files"}};
  ASSIGN_OR_RETURN(const Json json, ParseJson(page, where, {}, {&list, 1}));
  if (!list.text.starts_with('[')) {
    return InvalidArgument(where + " has no list of files");
  }
  FileList files(where);
  const auto add = [&](std::string*, Json* entry) -> Status {
    const Json& item = *entry;
    if (!item.is_object()) return Status::Ok();
    auto text = [&](const char* key) {
      const auto found = item.find(key);
      return found != item.end() && found->is_string()
                 ? found->get<std::string>()
                 : std::string();
    };
    const std::string link = text("url");
    if (link.size() > kMaxUrl) return Status::Ok();
    IndexFile file{.filename = text("filename"),
                   .url = ResolveUrl(page_url, link),
                   .sha256 = {},
                   .yanked = false};
    if (file.filename.empty() || file.filename.size() > kMaxUrl ||
        file.url.empty()) {
      return Status::Ok();
    }
    // false, true or the reason.
    const auto yanked = item.find("yanked");
    file.yanked = yanked != item.end() &&
                  (yanked->is_string() || (*yanked == Json(true)));
    const auto hashes = item.find("hashes");
    if (hashes != item.end() && hashes->is_object()) {
      const auto hex = hashes->find("sha256");
      if (hex != hashes->end() && hex->is_string()) {
        std::string digits = hex->get<std::string>();
        std::ranges::transform(digits, digits.begin(), Lower);
        if (IsSha256Hex(digits)) file.sha256 = std::move(digits);
      }
    }
    return files.Add(std::move(file));
  };
  RETURN_IF_ERROR(VisitJson(list.text, where, {}, add));
  return files.Take();
}

// ---- Versions: numbers of the release; pre-releases are told apart only.

struct Version {
  bool final = true;
  std::vector<uint64_t> numbers;
  auto operator<=>(const Version&) const = default;
};

Version ParseVersion(std::string_view text) {
  Version version;
  size_t i = 0;
  while (i < text.size() && IsDigit(text[i])) {
    uint64_t number = 0;
    for (; i < text.size() && IsDigit(text[i]); ++i) {
      number = std::min<uint64_t>(number, 1'000'000'000) * 10 + (text[i] - '0');
    }
    version.numbers.push_back(number);
    if (i < text.size() && text[i] == '.') ++i;
  }
  const std::string_view rest = text.substr(i);
  version.final =
      rest.empty() || rest.starts_with("post") || rest.starts_with("+");
  return version;
}

}  // namespace

std::string NormalizedPackage(std::string_view name) {
  std::string out;
  for (char c : name) {
    const bool separator = c == '-' || c == '_' || c == '.';
    if (!separator) {
      out += Lower(c);
    } else if (!out.ends_with('-')) {
      out += '-';
    }
  }
  return out;
}

Result<std::vector<IndexFile>> ParseIndexPage(std::string_view page,
                                              const std::string& content_type,
                                              const std::string& page_url) {
  const size_t first = page.find_first_not_of(" \t\r\n");
  const bool json = content_type.find("json") != std::string::npos ||
                    (first != std::string_view::npos && page[first] == '{');
  if (json) return ParseJsonPage(page, page_url);
  return ParseHtml(page, page_url);
}

Result<IndexFile> ChooseWheel(const std::vector<IndexFile>& files,
                              const std::string& package) {
  const IndexFile* best = nullptr;
  Version best_version;
  for (const IndexFile& file : files) {
    if (file.yanked || !file.filename.ends_with(".whl")) continue;
    // name-version-...: '-' stands only between the parts.
    const size_t name_end = file.filename.find('-');
    const size_t version_end = file.filename.find('-', name_end + 1);
    if (name_end == std::string::npos || version_end == std::string::npos ||
        NormalizedPackage(file.filename.substr(0, name_end)) !=
            NormalizedPackage(package)) {
      continue;
    }
    const Version version =
        ParseVersion(std::string_view(file.filename)
                         .substr(name_end + 1, version_end - name_end - 1));
    if (best == nullptr || version > best_version) {
      best = &file;
      best_version = version;
    }
  }
  if (best == nullptr) {
    return NotFound("[hub] the package index lists no wheel of " + package);
  }
  return *best;
}

}  // namespace intarsia
