// What the fuzzers and the replay test do with an input; each throws or crashes
// only on a bug of the reader. True: something was read.
#pragma once

#include <string_view>

namespace intarsia {

// A zip archive, whose member "a" is unpacked.
bool FuzzZip(std::string_view input);

// A page of a package index, HTML or JSON, and the choice of a wheel.
bool FuzzPackageIndex(std::string_view input);

// A pip.conf.
bool FuzzPipConfig(std::string_view input);

}  // namespace intarsia
