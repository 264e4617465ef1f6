// intarsia cache list|rm|prune: what was pulled, and making room.
#include <unistd.h>

#include <ctime>
#include <nlohmann/json.hpp>

#include "intarsia/cli/command.h"
#include "intarsia/core/counted.h"
#include "intarsia/hub/model_cache.h"

namespace intarsia {
namespace {

struct Flags : CommonFlags {
  std::string name;
  bool yes = false, names = false;
};

std::string Ago(int64_t seconds) {
  struct Unit {
    int64_t seconds;
    const char* name;
  };
  for (const Unit& unit :
       {Unit{86400 * 365, "year"}, Unit{86400 * 30, "month"},
        Unit{86400, "day"}, Unit{3600, "hour"}, Unit{60, "minute"}}) {
    const int64_t count = seconds / unit.seconds;
    if (count == 0) continue;
    return std::to_string(count) + " " + unit.name + (count > 1 ? "s" : "") +
           " ago";
  }
  return "just now";
}

nlohmann::json ModelJson(const CachedModel& model) {
  return {{"name", model.name},         {"source", model.source},
          {"revision", model.revision}, {"commit", model.commit},
          {"bytes", model.bytes},       {"used", model.used},
          {"path", model.path}};
}

Status List(const Flags& flags) {
  const std::vector<CachedModel> models = ListCache();
  if (flags.json) {
    nlohmann::json list = nlohmann::json::array();
    for (const CachedModel& model : models) list.push_back(ModelJson(model));
    PrintJson({{"folder", CacheFolder()}, {"models", list}});
    return Status::Ok();
  }
  if (flags.names) {
    for (const CachedModel& model : models) {
      std::printf("%s\n", model.name.c_str());
    }
    return Status::Ok();
  }
  if (models.empty()) {
    std::fprintf(stderr, "Nothing is in %s\n", CacheFolder().c_str());
    return Status::Ok();
  }
  const int64_t now = std::time(nullptr);
  double total = 0;
  std::printf("%-32s %10s  %-15s %-8s %s\n", "name", "size", "used", "commit",
              "source");
  for (const CachedModel& model : models) {
    const double bytes = static_cast<double>(model.bytes);
    total += bytes;
    std::printf("%-32s %10s  %-15s %-8s %s\n", model.name.c_str(),
                HumanBytes(bytes).c_str(), Ago(now - model.used).c_str(),
                model.commit.substr(0, 8).c_str(), model.source.c_str());
  }
  std::printf("%s, %s in %s\n",
              Counted(static_cast<int64_t>(models.size()), "model").c_str(),
              HumanBytes(total).c_str(), CacheFolder().c_str());
  return Status::Ok();
}

// Whether a person says so; without a terminal nobody can be asked.
Result<bool> Confirmed(const CachedModel& model) {
  if (isatty(STDIN_FILENO) != 1) {
    return InvalidArgument("nobody can be asked whether to remove " +
                           model.name + ": say --yes");
  }
  std::fprintf(stderr, "Remove %s (%s, %s)? [y/N] ", model.name.c_str(),
               HumanBytes(static_cast<double>(model.bytes)).c_str(),
               model.folder.c_str());
  char answer[16] = {};
  return std::fgets(answer, sizeof(answer), stdin) != nullptr &&
         (answer[0] == 'y' || answer[0] == 'Y');
}

Status RemoveModel(const Flags& flags) {
  const Result<CachedModel> found = FindCached(flags.name);
  if (!found.ok()) {
    return found.status().code() == StatusCode::kNotFound
               ? NotFound("[hub] " + flags.name +
                          " is not in the cache; `intarsia cache list` shows "
                          "what is")
               : found.status();
  }
  const CachedModel& model = *found;
  if (!flags.yes) {
    ASSIGN_OR_RETURN(const bool yes, Confirmed(model));
    if (!yes) return Status::Ok();
  }
  RETURN_IF_ERROR(RemoveCached(model));
  if (flags.json) {
    PrintJson({{"removed", ModelJson(model)}});
  } else {
    std::printf("removed %s, %s\n", model.name.c_str(),
                HumanBytes(static_cast<double>(model.bytes)).c_str());
  }
  return Status::Ok();
}

Status Prune(const Flags& flags) {
  ASSIGN_OR_RETURN(const PruneReport report, PruneCache());
  if (flags.json) {
    PrintJson({{"files", report.files}, {"bytes", report.bytes}});
  } else {
    std::printf("removed %s, %s\n", Counted(report.files, "file").c_str(),
                HumanBytes(static_cast<double>(report.bytes)).c_str());
  }
  return Status::Ok();
}

}  // namespace

void AddCache(Verb verb) {
  auto flags = std::make_shared<Flags>();
  AddCommon(verb, flags.get());
  Verb list = verb.Word(
      "list", "Models: size, when they were last used, where they came from");
  list.Add("--names", &flags->names, "Only names, a line each");
  list.Run([flags] { return List(*flags); });
  Verb remove = verb.Word("rm", "Remove a model");
  remove.Add("NAME", &flags->name, "As `cache list` shows it").Required();
  remove.Add("--yes,-y", &flags->yes, "Don't ask");
  remove.Run([flags] { return RemoveModel(*flags); });
  verb.Word("prune", "Remove partial downloads and what no model needs")
      .Run([flags] { return Prune(*flags); });
}

}  // namespace intarsia
