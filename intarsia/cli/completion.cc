// intarsia completion: a bash script that completes verbs, flags and the names
// of models, made from the parser itself.
#include "intarsia/cli/command.h"
#include "intarsia/hub/catalogue.h"

namespace intarsia {
namespace {

std::string Words(const CLI::App& app) {
  std::string words;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) words += " --" + name;
  }
  for (const CLI::App* sub : app.get_subcommands(nullptr)) {
    words += " " + sub->get_name();
    for (const CLI::Option* option : sub->get_options()) {
      for (const std::string& name : option->get_lnames()) {
        if (name != "help") words += " --" + name;
      }
    }
  }
  return words.empty() ? words : words.substr(1);
}

// What names() of the script prints for a verb.
std::string Names(const std::string& verb) {
  if (verb != "pull") return "intarsia cache list --names 2>/dev/null";
  std::string names = "echo";
  for (const CatalogueEntry& entry : Catalogue()) names += " " + entry.name;
  return names;
}

Status Run(const CLI::App& root) {
  std::string verbs, cases;
  for (const CLI::App* sub : root.get_subcommands(nullptr)) {
    const std::string name = sub->get_name();
    verbs += (verbs.empty() ? "" : " ") + name;
    cases += "    " + name + ") words='" + Words(*sub) + "'\n" +
             "      names() { " + Names(name) + "; } ;;\n";
  }
  // A ':' ends a word for bash: what stands before it is not completed again.
  std::printf(
      "# source <(intarsia completion)\n"
      "_intarsia() {\n"
      "  local word=${COMP_WORDS[COMP_CWORD]} words names full before\n"
      "  if ((COMP_CWORD == 1)); then\n"
      "    COMPREPLY=($(compgen -W '%s' -- \"$word\"))\n"
      "    return\n"
      "  fi\n"
      "  case ${COMP_WORDS[1]} in\n%s"
      "    *) return ;;\n"
      "  esac\n"
      "  if [[ $word == -* ]]; then\n"
      "    COMPREPLY=($(compgen -W \"$words\" -- \"$word\"))\n"
      "    return\n"
      "  fi\n"
      "  full=${COMP_LINE:0:COMP_POINT}\n"
      "  full=${full##* }\n"
      "  before=${full%%\"${full##*:}\"}\n"
      "  COMPREPLY=($(compgen -W \"$words $(names)\" -- \"$full\" | grep -v "
      "^-))\n"
      "  COMPREPLY=(\"${COMPREPLY[@]#\"$before\"}\" $(compgen -f -- "
      "\"$word\"))\n"
      "}\n"
      "complete -o filenames -F _intarsia intarsia\n",
      verbs.c_str(), cases.c_str());
  return Status::Ok();
}

}  // namespace

Command MakeCompletion(CLI::App& root) {
  CLI::App* app = root.add_subcommand(
      "completion", "Print a bash completion script for `source`");
  return {app, [&root] { return Run(root); }};
}

}  // namespace intarsia
