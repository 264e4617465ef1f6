// SHA-1 (FIPS 180-4), which git names files by. It keeps accidents away, not
// forgers.
#pragma once

#include <cstddef>
#include <span>
#include <string>

namespace intarsia {

std::string Sha1Hex(std::span<const std::byte> bytes);

// The name of a git blob with these bytes: SHA-1 of "blob SIZE\0" and them.
std::string GitBlobSha1Hex(std::span<const std::byte> bytes);

}  // namespace intarsia
