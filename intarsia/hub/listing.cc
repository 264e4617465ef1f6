#include "intarsia/hub/listing.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "intarsia/checkpoint/checked.h"
#include "intarsia/checkpoint/json_input.h"
#include "intarsia/core/sha256.h"

namespace intarsia {
namespace {

using Json = nlohmann::json;

constexpr size_t kMaxFiles = 20'000;
constexpr size_t kMaxPath = 1024;
constexpr size_t kMaxPart = 200;
constexpr uint64_t kMaxBytes = uint64_t{1} << 48;

std::string TextOf(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>()
                                                     : std::string();
}

// Nothing where there is none; InvalidArgument where it is no size.
Result<std::optional<uint64_t>> SizeOf(const Json& object,
                                       const std::string& where) {
  const auto found = object.find("size");
  if (found == object.end() || found->is_null()) {
    return std::optional<uint64_t>();
  }
  if (!found->is_number_unsigned() || found->get<uint64_t>() > kMaxBytes) {
    return InvalidArgument(where + " has no sensible size");
  }
  return std::optional<uint64_t>(found->get<uint64_t>());
}

Result<HubFile> ParseFile(const Json& item, const std::string& listing) {
  if (!item.is_object()) {
    return InvalidArgument(listing + " lists what is no file");
  }
  HubFile file;
  file.path = TextOf(item, "rfilename");
  const std::string where = listing + ": \"" + Printable(file.path) + "\"";
  if (!IsSafeRelativePath(file.path)) {
    return InvalidArgument(where + " is no path below a folder");
  }
  ASSIGN_OR_RETURN(file.size, SizeOf(item, where));
  const auto lfs = item.find("lfs");
  if (lfs != item.end() && lfs->is_object()) {
    file.sha256 = TextOf(*lfs, "sha256");
    if (!IsSha256Hex(file.sha256)) {
      return InvalidArgument(where + " has no sensible sha256");
    }
    if (!file.size) {
      ASSIGN_OR_RETURN(file.size, SizeOf(*lfs, where));
    }
    return file;
  }
  file.git_sha1 = TextOf(item, "blobId");
  if (!IsGitSha1Hex(file.git_sha1)) file.git_sha1.clear();
  return file;
}

}  // namespace

std::string HubFile::Hash() const {
  if (!sha256.empty()) return "sha256-" + sha256;
  return git_sha1.empty() ? "" : "sha1-" + git_sha1;
}

bool IsGitSha1Hex(std::string_view text) {
  return text.size() == 40 && std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
         });
}

bool IsCommit(std::string_view text) { return IsGitSha1Hex(text); }

bool IsSafeRelativePath(std::string_view path) {
  if (path.empty() || path.size() > kMaxPath || !IsUtf8(path)) return false;
  for (const char c : path) {
    if (static_cast<unsigned char>(c) < 32 || c == 127 || c == '\\') {
      return false;
    }
  }
  while (true) {
    const size_t slash = path.find('/');
    const std::string_view part = path.substr(0, slash);
    if (part.empty() || part == "." || part == ".." || part.size() > kMaxPart) {
      return false;
    }
    if (slash == std::string_view::npos) return true;
    path.remove_prefix(slash + 1);
  }
}

Result<HubListing> ParseHubListing(std::string_view text,
                                   const std::string& where) {
  const std::string listing = where + ": the listing";
  JsonPart siblings{{"siblings"}};
  ASSIGN_OR_RETURN(const Json json,
                   ParseJson(text, listing, {}, {&siblings, 1}));
  if (!json.is_object()) return InvalidArgument(listing + " is no object");
  HubListing out;
  out.commit = TextOf(json, "sha");
  if (!IsCommit(out.commit)) {
    return InvalidArgument(listing + " names no commit");
  }
  if (!siblings.text.starts_with('[')) {
    return InvalidArgument(listing + " has no list of files");
  }
  std::set<std::string> paths;
  size_t count = 0;
  RETURN_IF_ERROR(VisitJson(
      siblings.text, listing, {}, [&](std::string*, Json* item) -> Status {
        if (++count > kMaxFiles) {
          return InvalidArgument(listing + " has more than " +
                                 std::to_string(kMaxFiles) + " files");
        }
        ASSIGN_OR_RETURN(HubFile file, ParseFile(*item, listing));
        if (!paths.insert(file.path).second) {
          return InvalidArgument(listing + " has \"" + Printable(file.path) +
                                 "\" twice");
        }
        out.files.push_back(std::move(file));
        return Status::Ok();
      }));
  return out;
}

}  // namespace intarsia
