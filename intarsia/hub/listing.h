// What the hub's listing of a repository says: its commit and its files.
// https://huggingface.co/docs/hub/api, GET
// /api/models/ORG/NAME/revision/REVISION?blobs=true.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "intarsia/core/status.h"

namespace intarsia {

struct HubFile {
  std::string path;  // relative, its parts apart by '/'
  std::optional<uint64_t> size = std::nullopt;
  // Lower-case hexadecimal; one of them is known of a file that can be checked.
  std::string sha256 = {};    // of the content: files in large file storage
  std::string git_sha1 = {};  // of the git blob: all others

  // "sha256-..." or "sha1-..."; empty where the listing has none.
  std::string Hash() const;
  bool complete() const { return size.has_value() && !Hash().empty(); }
};

struct HubListing {
  std::string commit;  // 40 hexadecimal digits
  std::vector<HubFile> files;
};

// Refuses what is not such a listing: more than 20,000 files, a path twice, one
// that is no relative path below the folder, sizes past 2^48. `where` begins
// the messages: "[hub] ORG/NAME".
Result<HubListing> ParseHubListing(std::string_view json,
                                   const std::string& where);

// A path that stays below a folder: UTF-8, parts apart by '/', none of them
// empty, "." or "..", without control characters and backslashes.
bool IsSafeRelativePath(std::string_view path);

bool IsCommit(std::string_view text);      // 40 hexadecimal digits
bool IsGitSha1Hex(std::string_view text);  // the same

}  // namespace intarsia
