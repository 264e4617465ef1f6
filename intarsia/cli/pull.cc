// intarsia pull NAME: fetch a model into the cache folder.
#include "intarsia/hub/pull.h"

#include <nlohmann/json.hpp>

#include "intarsia/checkpoint/json_input.h"
#include "intarsia/cli/command.h"
#include "intarsia/families/translate.h"
#include "intarsia/hub/catalogue.h"
#include "intarsia/hub/reference.h"

namespace intarsia {
namespace {

struct Flags : CommonFlags {
  std::string name, revision;
  bool list = false, dry_run = false, check = false;
  int connections = 4;
};

Status PrintCatalogue(bool json) {
  nlohmann::json models = nlohmann::json::array();
  for (const CatalogueEntry& entry : Catalogue()) {
    const std::string source =
        entry.hub.empty() ? "package " + entry.package : entry.hub;
    models.push_back(
        {{"name", entry.name}, {"summary", entry.summary}, {"source", source}});
    if (!json) {
      std::printf("%-13s %s\n%-13s   %s\n", entry.name.c_str(),
                  entry.summary.c_str(), "", source.c_str());
    }
  }
  if (json) PrintJson({{"models", models}});
  return Status::Ok();
}

// `name` with --revision in its place.
Result<std::string> Named(const Flags& flags) {
  if (flags.revision.empty()) return flags.name;
  const CatalogueEntry* entry = FindCatalogueEntry(flags.name);
  const std::string text =
      entry != nullptr && !entry->hub.empty() ? entry->hub : flags.name;
  if (!IsHubReference(text)) {
    return InvalidArgument("--revision is for models of the hub, not for " +
                           flags.name);
  }
  ASSIGN_OR_RETURN(HubReference reference, ParseHubReference(text));
  reference.revision = flags.revision;
  return reference.ToString();
}

nlohmann::json PlanJson(const PullPlan& plan) {
  nlohmann::json files = nlohmann::json::array();
  for (const HubFile& file : plan.files) {
    nlohmann::json item = {{"path", file.path}, {"hash", file.Hash()}};
    if (file.size) item["bytes"] = *file.size;
    files.push_back(std::move(item));
  }
  return {{"name", plan.name},     {"source", plan.source},
          {"commit", plan.commit}, {"files", files},
          {"bytes", plan.bytes},   {"missing_bytes", plan.missing}};
}

Status DryRun(const Flags& flags, const std::string& name,
              const PullOptions& options) {
  ASSIGN_OR_RETURN(const PullPlan plan, PlanPull(name, options));
  if (flags.json) {
    PrintJson(PlanJson(plan));
    return Status::Ok();
  }
  std::printf("%s%s%s\n", plan.source.c_str(),
              plan.commit.empty() ? "" : " at ", plan.commit.c_str());
  for (const HubFile& file : plan.files) {
    const std::string size =
        file.size ? HumanBytes(static_cast<double>(*file.size)) : "";
    std::printf("%12s  %s\n", size.c_str(), file.path.c_str());
  }
  if (!plan.commit.empty()) {
    std::printf("%12s  in all, %s of it not here yet\n",
                HumanBytes(static_cast<double>(plan.bytes)).c_str(),
                HumanBytes(static_cast<double>(plan.missing)).c_str());
  }
  return Status::Ok();
}

Status Run(const Flags& flags) {
  if (flags.list) return PrintCatalogue(flags.json);
  ASSIGN_OR_RETURN(const std::string name, Named(flags));
  PullOptions options;
  options.connections = flags.connections;
  options.check = flags.check;
  options.config = [&](const std::string& text) {
    const auto config = ParseJson(text, "[pull] config.json",
                                  {.non_finite = true, .repeats = true});
    const Status readable = config.ok()
                                ? CheckConfig(*config, name + "/config.json")
                                : config.status();
    if (!readable.ok()) {
      Warn("this build cannot open the model: " + readable.message());
    }
  };
  if (flags.dry_run) return DryRun(flags, name, options);
  PulledModel pulled;
  {
    ProgressBar bar(flags.name);
    options.progress = [&](const PullProgress& progress) {
      if (progress.stage == PullProgress::Stage::kDownload) {
        bar.Update(static_cast<double>(progress.done),
                   static_cast<double>(progress.total));
      }
    };
    ASSIGN_OR_RETURN(pulled, Pull(name, options));
  }
  if (flags.json) {
    nlohmann::json json = PlanJson(pulled.plan);
    json["path"] = pulled.path;
    PrintJson(json);
    return Status::Ok();
  }
  std::printf("%s\n", pulled.path.c_str());
  if (pulled.plan.name != flags.name) {
    std::fprintf(stderr, "Its short name is %s\n", pulled.plan.name.c_str());
  }
  return Status::Ok();
}

}  // namespace

void AddPull(Verb verb) {
  auto flags = std::make_shared<Flags>();
  AddCommon(verb, flags.get());
  Argument name =
      verb.Add("NAME", &flags->name,
               "A name of the catalogue, or hf:ORG/NAME[@REVISION][:QUANT]");
  name.Excludes(verb.Add("--list", &flags->list, "Show the catalogue"));
  verb.Add("--revision", &flags->revision,
           "Branch, tag or commit of a model of the hub");
  verb.Add("--dry-run", &flags->dry_run,
           "Say what would be fetched, with sizes");
  verb.Add("--check", &flags->check,
           "Compare the hashes of files that are here");
  verb.Add("--connections", &flags->connections, Whole{1, 16},
           "Files of the hub at a time");
  verb.Require([flags] {
    return flags->list || !flags->name.empty() ? "" : "NAME or --list";
  });
  verb.Footer(
      "HF_ENDPOINT names another hub, HF_TOKEN opens private and gated models; "
      "PIP_INDEX_URL names the package index.");
  verb.Run([=] { return Run(*flags); });
}

}  // namespace intarsia
