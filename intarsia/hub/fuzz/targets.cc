// The targets of targets.def.
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>
#include <string_view>

#include "intarsia/checkpoint/checked.h"
#include "intarsia/core/sha256.h"
#include "intarsia/hub/http_headers.h"
#include "intarsia/hub/listing.h"
#include "intarsia/hub/manifest.h"
#include "intarsia/hub/model_cache.h"
#include "intarsia/hub/reference.h"
#include "intarsia/hub/selection.h"

namespace intarsia {
namespace {

void CheckMessage(const Status& status) {
  // Or of the reader of the index that names the weights.
  CHECK(status.message().starts_with("[hub]") ||
        status.message().starts_with("[safetensors]"))
      << status.message();
  CHECK(IsUtf8(status.message())) << status.message();
}

// A path below `folder` stays there, however it is written.
void CheckInside(const std::string& folder, const std::string& path) {
  const auto normal =
      std::filesystem::path(folder + "/" + path).lexically_normal().string();
  CHECK(normal.starts_with(folder + "/")) << normal;
}

void CheckListing(const HubListing& listing) {
  CHECK(IsCommit(listing.commit));
  std::set<std::string> paths;
  for (const HubFile& file : listing.files) {
    CHECK(paths.insert(file.path).second) << file.path;
    CheckInside("/cache", file.path);
    CHECK(file.path.find('\0') == std::string::npos);
    CHECK(file.sha256.empty() || IsSha256Hex(file.sha256));
    CHECK(file.git_sha1.empty() || IsGitSha1Hex(file.git_sha1));
    CHECK(!file.complete() || file.Hash().find('/') == std::string::npos);
  }
}

void CheckSelection(const HubListing& listing, const std::string& quant) {
  // An index that names every other file.
  const auto read = [&](const HubFile&) -> Result<std::string> {
    nlohmann::json map = nlohmann::json::object();
    for (size_t i = 0; i < listing.files.size(); i += 2) {
      map[std::to_string(i)] = listing.files[i].path;
    }
    return nlohmann::json({{"weight_map", map}}).dump();
  };
  const auto selection = SelectFiles(listing, quant, "[hub] a/b", read);
  if (!selection.ok()) {
    CheckMessage(selection.status());
    return;
  }
  CHECK(!selection->files.empty());
  CHECK(!selection->quant.empty());
  if (!selection->entry.empty()) {
    CHECK(selection->files[0].path == selection->entry);
  }
}

}  // namespace

bool FuzzHubListing(std::string_view input) {
  const size_t line = input.find('\n');
  const bool named = line != std::string_view::npos && !input.starts_with('{');
  const std::string quant(named ? input.substr(0, line) : "");
  const std::string_view text = named ? input.substr(line + 1) : input;
  const auto listing = ParseHubListing(text, "[hub] a/b");
  if (!listing.ok()) {
    CheckMessage(listing.status());
    return false;
  }
  CheckListing(*listing);
  CheckSelection(*listing, "");
  CheckSelection(*listing, quant);
  const auto manifest = ParseManifest(text, "[hub] manifest");
  if (manifest.ok()) {
    CheckListing(manifest->snapshot);
    CHECK(manifest->entry.empty() || IsSafeRelativePath(manifest->entry));
    (void)manifest->bytes();
  } else {
    CheckMessage(manifest.status());
  }
  return true;
}

bool FuzzHubReference(std::string_view input) {
  const auto reference = ParseHubReference(input);
  if (!reference.ok()) {
    CheckMessage(reference.status());
    return false;
  }
  const std::string text = reference->ToString();
  const auto again = ParseHubReference(text);
  CHECK(again.ok()) << text;
  CHECK(again->ToString() == text);
  CHECK(again->repository == reference->repository);
  CHECK(again->revision == reference->revision);
  const std::string folder = HubVariantFolder("/cache", *reference);
  CHECK(folder.starts_with("/cache/hub/")) << folder;
  CheckInside("/cache", folder.substr(7));
  CHECK(std::filesystem::path(folder).lexically_normal().string() == folder)
      << folder;
  return true;
}

bool FuzzHttpHeaders(std::string_view input) {
  HttpHeaders headers;
  while (!input.empty()) {
    const size_t end = input.find('\n');
    AddHeaderLine(input.substr(0, end), &headers);
    if (end == std::string_view::npos) break;
    input.remove_prefix(end + 1);
  }
  CHECK(BareEtag(headers.etag).size() <= headers.etag.size());
  const ContentRange range = ParseContentRange(headers.content_range);
  return range.total || range.begin || headers.linked_size ||
         headers.content_length;
}

}  // namespace intarsia
