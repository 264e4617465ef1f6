#include "intarsia/cli/signals.h"

#include <unistd.h>

#include <csignal>
#include <cstring>

#include "intarsia/checkpoint/atomic_file.h"
#include "intarsia/checkpoint/mapped_file.h"

namespace intarsia {
namespace {

// Only functions that are safe in a handler from here on.
void Say(const char* text) {
  (void)!::write(STDERR_FILENO, text, std::strlen(text));
}

// Comes again once the handler is left, and ends the program this time.
void EndBy(int signal) {
  ::signal(signal, SIG_DFL);
  ::raise(signal);
}

void OnEnd(int signal) {
  RemoveTemporaries();
  EndBy(signal);
}

void OnBus(int signal, siginfo_t* info, void*) {
  const char* path = MappedFileAt(info->si_addr);
  if (path == nullptr) {
    EndBy(signal);
    return;
  }
  RemoveTemporaries();
  Say("error: [checkpoint] ");
  Say(path);
  Say(": became shorter while it was read\n");
  ::_exit(1);
}

}  // namespace

void InstallSignalHandlers() {
  ::signal(SIGXFSZ, SIG_IGN);
  struct sigaction action {};
  sigemptyset(&action.sa_mask);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE}) {
    struct sigaction before {};
    if (::sigaction(signal, nullptr, &before) != 0 ||
        before.sa_handler == SIG_IGN) {
      continue;
    }
    action.sa_handler = OnEnd;
    ::sigaction(signal, &action, nullptr);
  }
  action.sa_flags = SA_SIGINFO;
  action.sa_sigaction = OnBus;
  ::sigaction(SIGBUS, &action, nullptr);
}

}  // namespace intarsia
