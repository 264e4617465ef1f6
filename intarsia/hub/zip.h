// One member of a zip archive (PKWARE APPNOTE 6.3.10, sections 4.3 and 4.4), as
// wheels are: stored or deflated, below 4 GiB, in one part.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>

#include "intarsia/checkpoint/mapped_file.h"
#include "intarsia/core/status.h"

namespace intarsia {

struct ZipMember {
  uint16_t method = 0;  // 0 stored, 8 deflated
  uint64_t size = 0;    // unpacked bytes, as the archive claims
  std::span<const std::byte> packed;
};

// Looks the member up in the central directory and checks where it lies.
// Encrypted members and zip64 are Unsupported. The archive is untrusted.
Result<ZipMember> FindZipMember(const MappedFile& archive,
                                const std::string& name);

// Unpacks in pieces; `sink` may stop with an error. More or fewer bytes than
// `member.size` are DataLoss. `where` begins the messages.
Status UnpackZipMember(
    const ZipMember& member, const std::string& where,
    const std::function<Status(std::span<const std::byte>)>& sink);

}  // namespace intarsia
