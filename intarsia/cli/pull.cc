// intarsia pull NAME: fetch a model into the cache folder.
#include "intarsia/hub/pull.h"

#include "intarsia/cli/command.h"

namespace intarsia {
namespace {

Status Run(const CommonFlags& flags, const std::string& name) {
  std::string path;
  {
    ProgressBar bar(name);
    PullOptions options;
    options.progress = [&](const PullProgress& progress) {
      if (progress.stage == PullProgress::Stage::kDownload) {
        bar.Update(static_cast<double>(progress.done),
                   static_cast<double>(progress.total));
      }
    };
    ASSIGN_OR_RETURN(path, Pull(name, options));
  }
  if (flags.json) {
    PrintJson({{"name", name}, {"path", path}});
  } else {
    std::printf("%s\n", path.c_str());
  }
  return Status::Ok();
}

}  // namespace

Command MakePull(CLI::App& root) {
  CLI::App* app =
      root.add_subcommand("pull", "Fetch a model into the cache folder");
  auto flags = std::make_shared<CommonFlags>();
  auto name = std::make_shared<std::string>();
  AddCommon(app, flags.get());
  app->add_option("NAME", *name, "A name of the catalogue")->required();
  std::string known = "Names:";
  for (const CatalogueEntry& entry : Catalogue()) {
    known += "\n  " + entry.name + "  " + entry.summary;
  }
  app->footer(known);
  return {app, [=] { return Run(*flags, *name); }};
}

}  // namespace intarsia
