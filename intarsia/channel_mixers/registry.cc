#include "intarsia/channel_mixers/registry.h"

#include <nlohmann/json.hpp>

namespace intarsia {

// What each room exports. CHANNEL_MIXER(room, Name): Create<Name>,
// <Name>Examples.
#define CHANNEL_MIXER(room, Name)                                           \
  Result<std::unique_ptr<Mixer>> Create##Name(const Json& config, int dim); \
  std::vector<MixerExample> Name##Examples();
#include "intarsia/channel_mixers/registry.def"
#undef CHANNEL_MIXER

const std::vector<MixerEntry>& ChannelMixerRegistry() {
  static const auto* entries = new std::vector<MixerEntry>{
  // INTARSIA_CUDA_ROOM_<room> is 1 where this build has the room's kernels.
#define CHANNEL_MIXER(room, Name) \
  {#room, &Create##Name, &Name##Examples, INTARSIA_CUDA_ROOM_##room != 0},
#include "intarsia/channel_mixers/registry.def"
#undef CHANNEL_MIXER
  };
  return *entries;
}

const MixerEntry* FindChannelMixer(const std::string& name) {
  for (const MixerEntry& entry : ChannelMixerRegistry()) {
    if (name == entry.name) return &entry;
  }
  return nullptr;
}

}  // namespace intarsia
