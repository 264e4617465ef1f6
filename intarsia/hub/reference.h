// How users name a model of the Hugging Face hub:
// hf:ORG/NAME[@REVISION][:QUANT].
#pragma once

#include <string>
#include <string_view>

#include "intarsia/core/status.h"

namespace intarsia {

inline constexpr char kDefaultRevision[] = "main";

struct HubReference {
  std::string repository;                   // "ORG/NAME"
  std::string revision = kDefaultRevision;  // branch, tag or commit
  std::string quant = {};  // "Q4_K_M" or a file's name; empty: the default

  std::string ToString() const;  // as users write it
};

// Begins with "hf:", "hf.co/" or "huggingface.co/" (with https:// before it).
bool IsHubReference(std::string_view text);

// Names hold letters, digits, '-', '_' and '.', at most 96 each, and neither
// ".." nor a '.' at an end; revisions '/' too.
Result<HubReference> ParseHubReference(std::string_view text);

// Letters, digits, '-', '_', '.' and, with `slash`, '/' between such parts;
// every part neither empty nor with a '.' at an end nor with "..".
bool IsPlainName(std::string_view text, size_t limit, bool slash = false);

}  // namespace intarsia
