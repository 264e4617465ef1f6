// intarsia completion: a bash script that completes verbs and flags, made from
// the parser itself.
#include "intarsia/cli/command.h"

namespace intarsia {
namespace {

std::string Words(const CLI::App& app) {
  std::string words;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) words += " --" + name;
  }
  return words.empty() ? words : words.substr(1);
}

Status Run(const CLI::App& root) {
  std::string verbs, cases;
  for (const CLI::App* sub : root.get_subcommands(nullptr)) {
    verbs += (verbs.empty() ? "" : " ") + sub->get_name();
    cases += "    " + sub->get_name() + ") words='" + Words(*sub) + "' ;;\n";
  }
  std::printf(
      "# source <(intarsia completion)\n"
      "_intarsia() {\n"
      "  local word=${COMP_WORDS[COMP_CWORD]} words\n"
      "  if ((COMP_CWORD == 1)); then\n"
      "    COMPREPLY=($(compgen -W '%s' -- \"$word\"))\n"
      "    return\n"
      "  fi\n"
      "  case ${COMP_WORDS[1]} in\n%s"
      "  esac\n"
      "  if [[ $word == -* ]]; then\n"
      "    COMPREPLY=($(compgen -W \"$words\" -- \"$word\"))\n"
      "  else\n"
      "    COMPREPLY=($(compgen -f -- \"$word\"))\n"
      "  fi\n"
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
