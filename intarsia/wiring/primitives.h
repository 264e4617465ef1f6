// Every primitive by its name: token mixers, channel mixers, and the mixers of
// this folder, which are made of others (one line in registry.def each).
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "intarsia/mixers/mixer.h"

namespace intarsia {

// In the order of registry.def.
const std::vector<MixerEntry>& WiringRegistry();
// Null when there is none of that name.
const MixerEntry* FindPrimitive(const std::string& name);

// A mixer over [T, dim]. `room` starts the message where there is no such
// primitive or where mixers are nested more than kMaxNesting deep.
inline constexpr int kMaxNesting = 16;
Result<std::unique_ptr<Mixer>> CreatePrimitive(const std::string& name,
                                               const Json& config, int dim,
                                               const std::string& room);

// Whether `mixer`, the primitive `name`, runs on the device in this build.
Status SupportsDevice(const std::string& name, const Mixer& mixer,
                      Device device);

}  // namespace intarsia
