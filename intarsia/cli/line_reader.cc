#include "intarsia/cli/line_reader.h"

#include <histedit.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <clocale>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cwchar>
#include <iostream>

#include "intarsia/checkpoint/atomic_file.h"

namespace intarsia {
namespace {

const std::string kQuotes = "\"\"\"";

volatile std::sig_atomic_t interrupted = 0;

// While a line is read Ctrl-C belongs to the reader; elsewhere it stops an
// answer. The signal is let in only where the reader waits for a key, so none
// falls between a look at `interrupted` and the wait.
class InterruptGuard {
 public:
  InterruptGuard() {
    sigset_t block;
    sigemptyset(&block);
    sigaddset(&block, SIGINT);
    sigprocmask(SIG_BLOCK, &block, &mask_);
    struct sigaction action {};
    action.sa_handler = [](int) { interrupted = 1; };
    sigaction(SIGINT, &action, &action_);
    interrupted = 0;
  }
  ~InterruptGuard() {
    sigaction(SIGINT, &action_, nullptr);
    sigprocmask(SIG_SETMASK, &mask_, nullptr);
  }
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;

 private:
  sigset_t mask_;
  struct sigaction action_ {};
};

// libedit's source of keys: one character of the terminal's encoding.
int ReadKey(EditLine*, wchar_t* key) {
  sigset_t open;
  sigprocmask(SIG_BLOCK, nullptr, &open);
  sigdelset(&open, SIGINT);
  for (std::mbstate_t state{};;) {
    pollfd ready{STDIN_FILENO, POLLIN, 0};
    while (ppoll(&ready, 1, nullptr, &open) < 0) {
      if (errno != EINTR || interrupted != 0) return -1;
    }
    if (interrupted != 0) return -1;
    char byte;
    const ssize_t count = read(STDIN_FILENO, &byte, 1);
    if (count <= 0) return static_cast<int>(count);
    const size_t size = std::mbrtowc(key, &byte, 1, &state);
    if (size <= 1) return 1;
    if (size == static_cast<size_t>(-1)) state = {};  // no character: dropped
  }
}

}  // namespace

EchoOff::EchoOff() {
  termios now;
  if (isatty(STDIN_FILENO) != 1 || tcgetattr(STDIN_FILENO, &now) != 0) return;
  before_ = now;
  now.c_lflag &= ~static_cast<tcflag_t>(ECHO);
  tcsetattr(STDIN_FILENO, TCSADRAIN, &now);
}

EchoOff::~EchoOff() {
  if (before_) tcsetattr(STDIN_FILENO, TCSADRAIN, &*before_);
}

// libedit, prompting on stderr: stdout is for answers alone.
struct LineReader::Editor {
  explicit Editor(std::string history_path) : path(std::move(history_path)) {
    std::setlocale(LC_CTYPE, "");
    if (MB_CUR_MAX == 1) std::setlocale(LC_CTYPE, "C.UTF-8");
    lines = history_init();
    HistEvent event;
    history(lines, &event, H_SETSIZE, 1000);
    history(lines, &event, H_SETUNIQUE, 1);
    if (!path.empty()) history(lines, &event, H_LOAD, path.c_str());
    edit = el_init("intarsia", stdin, stderr, stderr);
    el_set(edit, EL_CLIENTDATA, this);
    el_set(edit, EL_PROMPT, &Prompt);
    el_set(edit, EL_GETCFN, &ReadKey);
    el_set(edit, EL_EDITOR, "emacs");
    el_set(edit, EL_HIST, history, lines);
    el_source(edit, nullptr);  // the user's ~/.editrc
  }
  ~Editor() {
    if (!path.empty()) SaveHistory();
    el_end(edit);
    history_end(lines);
  }
  Editor(const Editor&) = delete;
  Editor& operator=(const Editor&) = delete;

  // A file that can't be written is passed over. By way of a file without a
  // name: libedit wants a descriptor, and a stream in memory has none.
  void SaveHistory() const {
    std::FILE* file = std::tmpfile();
    if (file == nullptr) return;
    HistEvent event;
    const bool told = history(lines, &event, H_SAVE_FP, file) >= 0;
    std::string text(told ? static_cast<size_t>(std::ftell(file)) : 0, '\0');
    std::rewind(file);
    const bool whole =
        std::fread(text.data(), 1, text.size(), file) == text.size();
    std::fclose(file);
    // Conversations are private.
    if (told && whole) (void)WriteFileWhole(path, "chat", text, 0600).ok();
  }

  static char* Prompt(EditLine* edit) {
    Editor* self = nullptr;
    el_get(edit, EL_CLIENTDATA, &self);
    return self->prompt.data();
  }

  void Remember(const std::string& text) const {
    HistEvent event;
    history(lines, &event, H_ENTER, text.c_str());
  }

  std::string path, prompt;
  History* lines = nullptr;
  EditLine* edit = nullptr;
};

LineReader::LineReader(std::string history_path)
    : terminal_(isatty(STDIN_FILENO) == 1 && isatty(STDERR_FILENO) == 1) {
  if (terminal_) editor_ = std::make_unique<Editor>(std::move(history_path));
}

LineReader::~LineReader() = default;

LineReader::Event LineReader::ReadLine(const char* prompt, std::string* line) {
  line->clear();
  if (!terminal_) {
    for (int c; (c = std::cin.get()) != std::char_traits<char>::eof();) {
      if (++bytes_ > kMostBytes) return Event::kTooLong;
      if (c == '\n') {
        if (!line->empty()) bytes_ = 0;
        return Event::kText;
      }
      *line += static_cast<char>(c);
    }
    return line->empty() ? Event::kEnd : Event::kText;
  }
  editor_->prompt = prompt;
  const InterruptGuard guard;
  // Raw before the prompt shows: what is typed at once is not the line
  // discipline's any more, which would swallow Ctrl-D.
  el_set(editor_->edit, EL_PREP_TERM, 1);
  int length = 0;
  const char* text = el_gets(editor_->edit, &length);
  if (interrupted != 0) {
    el_reset(editor_->edit);
    std::fprintf(stderr, "\n");
    return Event::kInterrupted;
  }
  if (text == nullptr || length <= 0) return Event::kEnd;
  line->assign(text, static_cast<size_t>(length));
  if (line->ends_with('\n')) line->pop_back();
  return Event::kText;
}

LineReader::Event LineReader::Read(std::string* text) {
  Event event = ReadLine("> ", text);
  if (event != Event::kText || !terminal_) return event;
  std::string line;
  if (text->starts_with(kQuotes)) {
    text->erase(0, kQuotes.size());
    while (!text->ends_with(kQuotes)) {
      event = ReadLine("... ", &line);
      if (event != Event::kText) return event;
      *text += (text->empty() ? "" : "\n") + line;
    }
    text->resize(text->size() - kQuotes.size());
    if (text->ends_with('\n')) text->pop_back();
  } else {
    while (text->ends_with('\\')) {
      event = ReadLine("... ", &line);
      if (event != Event::kText) return event;
      text->back() = '\n';
      *text += line;
    }
  }
  if (!text->empty()) editor_->Remember(*text);
  return Event::kText;
}

}  // namespace intarsia
