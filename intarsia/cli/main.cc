// intarsia VERB ...: exits 0 on success, 1 on failure, 2 on bad usage. Results
// go to stdout; errors and progress to stderr.
#include <new>
#include <stdexcept>
#include <string>
#include <vector>

#include "intarsia/cli/command.h"
#include "intarsia/cli/signals.h"
#include "intarsia/core/terminal_text.h"

namespace intarsia {
#define VERB(word, Name, help) void Add##Name(Verb verb);
#include "intarsia/cli/registry.def"
#undef VERB
}  // namespace intarsia

int main(int argc, char** argv) {
  using namespace intarsia;  // NOLINT(google-build-using-namespace)
  InstallSignalHandlers();
  CommandLine line("intarsia",
                   "Intarsia: an engine for sequence models of every kind.\n"
                   "Start with `intarsia pull smollm2-135m` and `intarsia chat "
                   "smollm2-135m`.",
                   "intarsia " INTARSIA_VERSION);
#define VERB(word, Name, help) Add##Name(line.Add(#word, help));
#include "intarsia/cli/registry.def"
#undef VERB
  // llama-bench's users write -npl; parsers of long options want two dashes.
  std::vector<std::string> arguments(argv + 1, argv + argc);
  for (std::string& argument : arguments) {
    if (argument == "-npl") argument = "--npl";
  }
  if (const std::optional<int> code = line.Parse(std::move(arguments))) {
    return *code;
  }
  try {
    const Status status = line.Run();
    if (status.ok() && std::fflush(stdout) == 0 && !std::ferror(stdout)) {
      return 0;
    }
    PrintError(status.ok() ? "the standard output could not be written"
                           : status.message());
  } catch (const EngineError& error) {
    PrintError(error.what());
  } catch (const std::bad_alloc&) {
    PrintError("[memory] there is not enough memory");
  } catch (const std::length_error&) {
    PrintError("[memory] there is not enough memory");
  } catch (const std::exception& error) {
    std::fprintf(stderr, "internal error: %s\nPlease report it.\n",
                 TerminalLine(error.what()).c_str());
  }
  return 1;
}
