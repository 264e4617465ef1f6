// What the fuzzers and the replay test do with an input; each throws or crashes
// only on a bug of the reader. True: something was read.
#pragma once

#include <string_view>

namespace intarsia {

// A listing of a repository, or a manifest of the cache, and the choice of
// files. A first line may name a quantisation.
bool FuzzHubListing(std::string_view input);

// What users write for a model, by which folders of the cache are named.
bool FuzzHubReference(std::string_view input);

// The heads of responses, a line each.
bool FuzzHttpHeaders(std::string_view input);

}  // namespace intarsia
