#include "intarsia/mixers/registry.h"

#include <nlohmann/json.hpp>

namespace intarsia {

// What each room exports. MIXER(room, Name): Create<Name>, <Name>Examples.
#define MIXER(room, Name)                                                   \
  Result<std::unique_ptr<Mixer>> Create##Name(const Json& config, int dim); \
  std::vector<MixerExample> Name##Examples();
#include "intarsia/mixers/registry.def"
#undef MIXER

const std::vector<MixerEntry>& MixerRegistry() {
  static const auto* entries = new std::vector<MixerEntry>{
  // INTARSIA_CUDA_ROOM_<room> is 1 where this build has the room's kernels.
#define MIXER(room, Name) \
  {#room, &Create##Name, &Name##Examples, INTARSIA_CUDA_ROOM_##room != 0},
#include "intarsia/mixers/registry.def"
#undef MIXER
  };
  return *entries;
}

const MixerEntry* FindMixer(const std::string& name) {
  for (const MixerEntry& entry : MixerRegistry()) {
    if (name == entry.name) return &entry;
  }
  return nullptr;
}

}  // namespace intarsia
