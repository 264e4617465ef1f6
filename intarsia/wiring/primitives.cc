#include "intarsia/wiring/primitives.h"

#include <nlohmann/json.hpp>

namespace intarsia {

// What each room exports. MIXER(room, Name, kind): Create<Name>, <Name>Examples
// and <Name>Fields.
#define MIXER(room, Name, kind)                                             \
  Result<std::unique_ptr<Mixer>> Create##Name(const Json& config, int dim); \
  std::vector<MixerExample> Name##Examples();                               \
  void Name##Fields(Fields& f, int dim);
#include "intarsia/mixers/registry.def"
#undef MIXER

namespace {

thread_local int nesting = 0;

struct Nested {
  Nested() { ++nesting; }
  ~Nested() { --nesting; }
};

}  // namespace

const std::vector<MixerEntry>& Primitives() {
  static const auto* entries = new std::vector<MixerEntry>{
#define MIXER(room, Name, kind) \
  {#room, MixerKind::kind, &Create##Name, &Name##Examples, &Name##Fields},
#include "intarsia/mixers/registry.def"
#undef MIXER
  };
  return *entries;
}

const MixerEntry* FindPrimitive(const std::string& name) {
  for (const MixerEntry& entry : Primitives()) {
    if (name == entry.name) return &entry;
  }
  return nullptr;
}

std::unique_ptr<Mixer> Example(const MixerEntry& entry) {
  const MixerExample example = entry.examples().at(0);
  auto mixer = entry.create(Json::parse(example.config), example.dim);
  CHECK(mixer.ok()) << mixer.status().message();
  return std::move(mixer).value();
}

Json ChangedFields(const std::string& mixer, const std::string& config,
                   int dim) {
  const MixerEntry* entry = FindPrimitive(mixer);
  CHECK(entry != nullptr) << mixer;
  Json changed = Json::object();
  const Status status = ReadFields(
      Json::parse(config), mixer, [&](Fields& f) { entry->fields(f, dim); }, "",
      &changed);
  CHECK(status.ok()) << status.message();
  return changed;
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

}  // namespace intarsia
