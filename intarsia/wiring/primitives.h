// Every primitive by its name: one line in mixers/registry.def each.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "intarsia/mixers/mixer.h"

namespace intarsia {

// In the order of registry.def.
const std::vector<MixerEntry>& Primitives();
// Null when there is none of that name.
const MixerEntry* FindPrimitive(const std::string& name);
// A mixer from the first example.
std::unique_ptr<Mixer> Example(const MixerEntry& entry);

// The fields of a valid configuration that are not at their defaults.
Json ChangedFields(const std::string& mixer, const std::string& config,
                   int dim);

// A mixer over [T, dim]. `room` starts the message where there is no such
// primitive or where mixers are nested more than kMaxNesting deep.
inline constexpr int kMaxNesting = 16;
Result<std::unique_ptr<Mixer>> CreatePrimitive(const std::string& name,
                                               const Json& config, int dim,
                                               const std::string& room);

}  // namespace intarsia
