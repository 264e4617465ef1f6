#include "intarsia/wiring/primitives.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "intarsia/channel_mixers/registry.h"
#include "intarsia/mixers/registry.h"

namespace intarsia {

#define WIRING(room, Name)                                                  \
  Result<std::unique_ptr<Mixer>> Create##Name(const Json& config, int dim); \
  std::vector<MixerExample> Name##Examples();
#include "intarsia/wiring/registry.def"
#undef WIRING

namespace {

thread_local int nesting = 0;

struct Nested {
  Nested() { ++nesting; }
  ~Nested() { --nesting; }
};

}  // namespace

const std::vector<MixerEntry>& WiringRegistry() {
  // In a build with kernels they run where their parts do, which
  // Mixer::Supports asks.
  static const bool cuda =
      std::ranges::any_of(MixerRegistry(), &MixerEntry::cuda);
  static const auto* entries = new std::vector<MixerEntry>{
#define WIRING(room, Name) {#room, &Create##Name, &Name##Examples, cuda},
#include "intarsia/wiring/registry.def"
#undef WIRING
  };
  return *entries;
}

const MixerEntry* FindPrimitive(const std::string& name) {
  for (const MixerEntry& entry : WiringRegistry()) {
    if (name == entry.name) return &entry;
  }
  const MixerEntry* entry = FindMixer(name);
  return entry != nullptr ? entry : FindChannelMixer(name);
}

Result<std::unique_ptr<Mixer>> CreatePrimitive(const std::string& name,
                                               const Json& config, int dim,
                                               const std::string& room) {
  const MixerEntry* entry = FindPrimitive(name);
  if (entry == nullptr) {
    return NotFound("[" + room + "] no primitive \"" + name +
                    "\"; `intarsia list` shows those of this build");
  }
  const Nested nested;
  if (nesting > kMaxNesting) {
    return InvalidArgument("[" + room + "] mixers are nested more than " +
                           std::to_string(kMaxNesting) + " deep");
  }
  return entry->create(config, dim);
}

Status SupportsDevice(const std::string& name, const Mixer& mixer,
                      Device device) {
  if (device.is_cuda() && !FindPrimitive(name)->cuda) {
    return Unsupported("[model] " + name +
                       " has no CUDA kernels in this build; run this model "
                       "with --device cpu");
  }
  return mixer.Supports(device);
}

}  // namespace intarsia
