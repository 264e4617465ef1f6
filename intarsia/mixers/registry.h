// The token mixers of this build: one line in registry.def each.
#pragma once

#include <string>
#include <vector>

#include "intarsia/mixers/mixer.h"

namespace intarsia {

// In the order of registry.def.
const std::vector<MixerEntry>& MixerRegistry();
// Null when there is none of that name.
const MixerEntry* FindMixer(const std::string& name);

}  // namespace intarsia
