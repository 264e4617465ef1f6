// intarsia completion: a bash script that completes verbs, flags and the names
// of models, made from the parser itself.
#include "intarsia/cli/command.h"
#include "intarsia/hub/catalogue.h"

namespace intarsia {
namespace {

// What names() of the script prints for a verb.
std::string Names(const std::string& verb) {
  if (verb != "pull") return "intarsia cache list --names 2>/dev/null";
  std::string names = "echo";
  for (const CatalogueEntry& entry : Catalogue()) names += " " + entry.name;
  return names;
}

Status Run(const CommandLine& line) {
  std::string verbs, cases;
  for (const CommandLine::Words& words : line.Completions()) {
    verbs += (verbs.empty() ? "" : " ") + words.verb;
    cases += "    " + words.verb + ") words='" + words.words + "'\n" +
             "      names() { " + Names(words.verb) + "; } ;;\n";
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

void AddCompletion(Verb verb) {
  verb.Run([verb] { return Run(verb.line()); });
}

}  // namespace intarsia
