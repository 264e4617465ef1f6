// intarsia VERB ...: exits 0 on success, 1 on failure, 2 on bad usage. Results
// go to stdout; errors and progress to stderr.
#include <algorithm>
#include <new>
#include <stdexcept>
#include <string>
#include <vector>

#include "intarsia/cli/command.h"
#include "intarsia/cli/signals.h"
#include "intarsia/core/terminal_text.h"

int main(int argc, char** argv) {
  using namespace intarsia;  // NOLINT(google-build-using-namespace)
  InstallSignalHandlers();
  CLI::App app(
      "Intarsia: an engine for sequence models of every kind.\n"
      "Start with `intarsia pull smollm2-135m` and `intarsia chat "
      "smollm2-135m`.");
  app.name("intarsia");
  app.set_version_flag("--version", std::string("intarsia " INTARSIA_VERSION));
  app.require_subcommand(1);
  const std::vector<Command> commands = {
      MakeList(app),       MakeInfo(app),      MakePull(app),
      MakeCache(app),      MakeGenerate(app),  MakeChat(app),
      MakeTokenize(app),   MakeVerify(app),    MakeBench(app),
      MakePerplexity(app), MakeQuantize(app),  MakeConvert(app),
      MakeDoctor(app),     MakeCompletion(app)};
  // llama-bench's users write -npl; parsers of long options want two dashes.
  std::vector<std::string> arguments(argv + 1, argv + argc);
  for (std::string& argument : arguments) {
    if (argument == "-npl") argument = "--npl";
  }
  if (!arguments.empty() && !arguments[0].starts_with("-") &&
      std::ranges::none_of(commands, [&](const Command& command) {
        return command.app->get_name() == arguments[0];
      })) {
    std::fprintf(stderr, "there is no verb %s; `intarsia --help` lists them\n",
                 TerminalLine(arguments[0], {.most = 60}).c_str());
    return 2;
  }
  std::reverse(arguments.begin(), arguments.end());  // as the parser wants
  try {
    app.parse(arguments);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  for (const Command& command : commands) {
    if (!command.app->parsed()) continue;
    try {
      const Status status = command.run();
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
  return 2;
}
