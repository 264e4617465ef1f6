// The channel mixers of this build: one line in registry.def each. They share
// the token mixers' interface (intarsia/mixers/mixer.h).
#pragma once

#include <string>
#include <vector>

#include "intarsia/mixers/mixer.h"

namespace intarsia {

// In the order of registry.def.
const std::vector<MixerEntry>& ChannelMixerRegistry();
// Null when there is none of that name.
const MixerEntry* FindChannelMixer(const std::string& name);

}  // namespace intarsia
