// Pages of a Python package index: PEP 503 (HTML) and PEP 691 (JSON).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "intarsia/core/status.h"

namespace intarsia {

struct IndexFile {
  std::string filename;
  std::string url;     // absolute, without the fragment
  std::string sha256;  // lower-case hexadecimal; empty where none is given
  bool yanked = false;
};

// What to ask for: JSON, else HTML.
inline constexpr char kIndexAccept[] =
    "application/vnd.pypi.simple.v1+json, "
    "application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1";

// The files of a project's page. `page_url` is where it came from, to resolve
// links; a JSON content type, or else a text that begins with '{', is PEP 691.
Result<std::vector<IndexFile>> ParseIndexPage(std::string_view page,
                                              const std::string& content_type,
                                              const std::string& page_url);

// The wheel of the highest version that is neither yanked nor, unless there is
// no other, a pre-release.
Result<IndexFile> ChooseWheel(const std::vector<IndexFile>& files,
                              const std::string& package);

// As indexes spell it in URLs: lower case, runs of -_. as one '-'.
std::string NormalizedPackage(std::string_view name);

}  // namespace intarsia
