// intarsia list: what the registries hold, and on which device each runs.
#include <nlohmann/json.hpp>

#include "intarsia/cli/command.h"
#include "intarsia/families/family.h"
#include "intarsia/wiring/primitives.h"

namespace intarsia {
namespace {

nlohmann::json PrimitiveList() {
  static constexpr const char* kKinds[] = {"mixer", "channel mixer", "wiring"};
  nlohmann::json out = nlohmann::json::array();
  for (const MixerEntry& entry : Primitives()) {
    out.push_back({{"name", entry.name},
                   {"kind", kKinds[static_cast<int>(entry.kind)]},
                   {"cpu", true},
                   {"cuda", Example(entry)->Supports(Cuda()).ok()}});
  }
  return out;
}

nlohmann::json Formats() {
  nlohmann::json out = nlohmann::json::array();
  for (const Format* format : AllFormats()) {
    const int64_t k = 256;
    out.push_back({{"name", format->name()},
                   {"block", format->block()},
                   {"bits", 8.0 * static_cast<double>(format->row_bytes(k)) /
                                static_cast<double>(k)}});
  }
  return out;
}

nlohmann::json FamilyList() {
  nlohmann::json out = nlohmann::json::array();
  for (const Family& family : Families()) {
    out.push_back({{"name", family.name},
                   {"model_types", family.model_types},
                   {"gguf", family.gguf_architectures}});
  }
  return out;
}

Status Run(const CommonFlags& flags) {
  const nlohmann::json all = {{"primitives", PrimitiveList()},
                              {"formats", Formats()},
                              {"families", FamilyList()}};
  if (flags.json) {
    PrintJson(all);
    return Status::Ok();
  }
  std::printf("primitives       kind            cpu  cuda\n");
  for (const auto& p : all["primitives"]) {
    std::printf("  %-14s %-15s %-4s %s\n", p["name"].get<std::string>().c_str(),
                p["kind"].get<std::string>().c_str(), "yes",
                p["cuda"].get<bool>() ? "yes" : "no");
  }
  std::printf("\nformats          bits a weight\n");
  for (const auto& f : all["formats"]) {
    std::printf("  %-14s %.2f\n", f["name"].get<std::string>().c_str(),
                f["bits"].get<double>());
  }
  std::printf("\nfamilies         from\n");
  for (const auto& f : all["families"]) {
    std::printf("  %-14s Hugging Face folders%s\n",
                f["name"].get<std::string>().c_str(),
                f["gguf"].empty() ? "" : ", GGUF");
  }
  return Status::Ok();
}

}  // namespace

void AddList(Verb verb) {
  auto flags = std::make_shared<CommonFlags>();
  AddCommon(verb, flags.get());
  verb.Run([flags] { return Run(*flags); });
}

}  // namespace intarsia
