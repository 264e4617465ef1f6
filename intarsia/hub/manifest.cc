#include "intarsia/hub/manifest.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "intarsia/checkpoint/atomic_file.h"
#include "intarsia/checkpoint/checked.h"
#include "intarsia/checkpoint/json_input.h"
#include "intarsia/checkpoint/mapped_file.h"
#include "intarsia/core/sha256.h"

namespace intarsia {
namespace {

using Json = nlohmann::json;

constexpr int kVersion = 1;
constexpr size_t kMaxBytes = 16 << 20;

}  // namespace

uint64_t Manifest::bytes() const {
  uint64_t sum = 0;
  for (const HubFile& file : snapshot.files) sum += file.size.value_or(0);
  return sum;
}

Status WriteManifest(const std::string& path, const Manifest& manifest) {
  // The files as in a listing of the hub, so that one reader does for both.
  Json siblings = Json::array();
  for (const HubFile& file : manifest.snapshot.files) {
    Json item = {{"rfilename", file.path}, {"size", *file.size}};
    if (!file.sha256.empty()) {
      item["lfs"] = {{"sha256", file.sha256}};
    } else {
      item["blobId"] = file.git_sha1;
    }
    siblings.push_back(std::move(item));
  }
  const Json json = {{"version", kVersion},
                     {"source", manifest.reference.ToString()},
                     {"entry", manifest.entry},
                     {"pulled", manifest.pulled},
                     {"sha", manifest.snapshot.commit},
                     {"siblings", siblings}};
  AtomicFile file(path, "hub");
  RETURN_IF_ERROR(file.Open());
  RETURN_IF_ERROR(file.Write(json.dump(1) + "\n"));
  return file.Commit();
}

Result<Manifest> ReadManifest(const std::string& path) {
  ASSIGN_OR_RETURN(const auto file, MappedFile::Open(path));
  const std::string where = "[hub] " + path;
  if (file->size() > kMaxBytes) {
    return InvalidArgument(where + ": has " + std::to_string(file->size()) +
                           " bytes, at most " + std::to_string(kMaxBytes) +
                           " are read");
  }
  return ParseManifest(file->text(), where);
}

Result<Manifest> ParseManifest(std::string_view text,
                               const std::string& where) {
  Manifest manifest;
  ASSIGN_OR_RETURN(manifest.snapshot, ParseHubListing(text, where));
  JsonPart siblings{{"siblings"}};  // read above
  ASSIGN_OR_RETURN(const Json json, ParseJson(text, where, {}, {&siblings, 1}));
  const auto text_of = [&](const char* key) {
    const auto found = json.find(key);
    return found != json.end() && found->is_string() ? found->get<std::string>()
                                                     : std::string();
  };
  const auto version = json.find("version");
  if (version == json.end() || *version != Json(kVersion)) {
    return InvalidArgument(where + ": not a manifest of this version");
  }
  ASSIGN_OR_RETURN(manifest.reference, ParseHubReference(text_of("source")));
  manifest.entry = text_of("entry");
  const auto& files = manifest.snapshot.files;
  const bool listed =
      manifest.entry.empty() ||
      std::ranges::find(files, manifest.entry, &HubFile::path) != files.end();
  const bool complete = std::ranges::all_of(
      files, [](const HubFile& file) { return file.complete(); });
  if (manifest.reference.quant.empty() || !listed || !complete) {
    return InvalidArgument(where + ": contradicts itself");
  }
  const auto pulled = json.find("pulled");
  if (pulled != json.end() && pulled->is_number_integer()) {
    manifest.pulled = pulled->get<int64_t>();
  }
  return manifest;
}

}  // namespace intarsia
