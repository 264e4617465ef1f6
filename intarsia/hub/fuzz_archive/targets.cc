// The targets of targets.def.
#include <algorithm>
#include <string_view>

#include "intarsia/checkpoint/checked.h"
#include "intarsia/core/fuzz/memory_file.h"
#include "intarsia/core/sha256.h"
#include "intarsia/hub/package_index.h"
#include "intarsia/hub/pip_config.h"
#include "intarsia/hub/url.h"
#include "intarsia/hub/zip.h"

namespace intarsia {
namespace {

constexpr uint64_t kMaxUnpacked = 1 << 16;

void CheckMessage(const Status& status) {
  CHECK(status.message().starts_with("[")) << status.message();
  CHECK(IsUtf8(status.message())) << status.message();
}

}  // namespace

bool FuzzZip(std::string_view input) {
  const auto file = MappedFile::OfBytes(
      "fuzz.zip", std::as_bytes(std::span<const char>(input)));
  const auto member = FindZipMember(*file, "a");
  if (!member.ok()) {
    CheckMessage(member.status());
    return false;
  }
  uint64_t total = 0;
  const Status status = UnpackZipMember(
      *member, "[zip] fuzz.zip: a", [&](std::span<const std::byte> piece) {
        total += piece.size();
        return total > kMaxUnpacked ? Unavailable("[fuzz] enough")
                                    : Status::Ok();
      });
  if (!status.ok()) {
    CheckMessage(status);
    return false;
  }
  CHECK_EQ(total, member->size);
  return true;
}

bool FuzzPackageIndex(std::string_view input) {
  const auto files = ParseIndexPage(
      input, "", "https://user:secret@host.example/simple/intarsia-model/");
  if (!files.ok()) {
    CheckMessage(files.status());
    // Of the index's address; a page may hold the word, and is quoted.
    CHECK(files.status().message().find("secret") == std::string::npos ||
          input.find("secret") != std::string_view::npos);
    return false;
  }
  for (const IndexFile& file : *files) {
    CHECK(file.url.starts_with("http")) << file.url;
    CHECK(!file.filename.empty());
    CHECK(file.sha256.empty() || IsSha256Hex(file.sha256)) << file.sha256;
    (void)RedactedUrl(file.url);
  }
  const auto wheel = ChooseWheel(*files, "intarsia-model");
  if (wheel.ok()) CHECK(!wheel->yanked);
  return !files->empty();
}

bool FuzzPipConfig(std::string_view input) {
  static const FuzzFolder owned;  // removed at exit
  static const FuzzFolder* const folder = &owned;
  const IniSections sections = ParseIni(input);
  for (const auto& [name, values] : sections) {
    for (const auto& [key, value] : values) {
      CHECK(value.empty() || value.back() != '\n') << key;
      (void)ResolveUrl(value, "a/b.whl");
    }
  }
  folder->Put("pip.conf", input);
  const IndexSettings settings = ReadIndexSettings(
      [](const std::string& name) {
        return name == "PIP_CONFIG_FILE" ? folder->path() + "/pip.conf" : "";
      },
      "/nowhere");
  (void)RedactedUrl(settings.index_url);
  return !sections.empty();
}

}  // namespace intarsia
