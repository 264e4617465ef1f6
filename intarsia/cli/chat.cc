// intarsia chat MODEL: a conversation in the terminal, or line by line from a
// pipe.
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "intarsia/cli/conversation.h"
#include "intarsia/cli/line_reader.h"
#include "intarsia/cli/serving.h"
#include "intarsia/core/counted.h"
#include "intarsia/core/in_file.h"
#include "intarsia/core/terminal_text.h"

namespace intarsia {
namespace {

struct Flags : ServingFlags {
  AnswerFlags answer;
  std::string model, system;
};

constexpr char kHelp[] =
    "/regen         answer the last message again\n"
    "/system TEXT   set the system message and start anew; without TEXT: none\n"
    "/save FILE     write the conversation to a file\n"
    "/load FILE     go on with one, of at most 64 MiB\n"
    "/stats         tokens, speed and memory so far\n"
    "/reset         start anew\n"
    "/quit          end (also Ctrl-D)\n"
    "A line that ends with \\ goes on in the next; \"\"\" opens and closes a\n"
    "longer text. Ctrl-C stops an answer.\n";

// Ctrl-C stops the answer, not the program.
volatile std::sig_atomic_t interrupted = 0;

std::string HistoryPath() {
  const char* state = std::getenv("XDG_STATE_HOME");
  const char* home = std::getenv("HOME");
  std::filesystem::path folder;
  if (state != nullptr && *state != '\0') {
    folder = state;
  } else if (home != nullptr && *home != '\0') {
    folder = std::filesystem::path(home) / ".local" / "state";
  } else {
    return "";
  }
  folder /= "intarsia";
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  return error ? "" : (folder / "chat_history").string();
}

class Chat {
 public:
  Chat(const Flags& flags, const OpenedModel& opened, SamplingOptions sampling)
      : flags_(flags),
        reader_(HistoryPath()),
        colours_(isatty(STDOUT_FILENO) == 1),
        conversation_(opened,
                      RunnerOptions(flags, flags.answer, opened.model(), 0),
                      flags.answer, std::move(sampling)) {
    conversation_.SetSystem(flags.system);
    if (!reader_.terminal()) return;
    std::signal(SIGINT, [](int) { interrupted = 1; });
    std::fprintf(
        stderr, "%s. /help lists the commands, /quit ends.\n",
        TerminalLine(opened.model().config().name, {.most = 80}).c_str());
  }

  Status Run() {
    for (std::string text;;) {
      interrupted = 0;
      const LineReader::Event event = reader_.Read(&text);
      if (event == LineReader::Event::kEnd) break;
      if (event == LineReader::Event::kTooLong) {
        return InvalidArgument(
            "[chat] the standard input has no message within " +
            std::to_string(LineReader::kMostBytes >> 20) + " MiB");
      }
      if (event == LineReader::Event::kInterrupted || text.empty()) continue;
      if (text == "/quit" || text == "/exit") break;
      const Status status =
          text[0] == '/' ? Command(text) : Answered(text, false);
      if (!status.ok() && !reader_.terminal()) return status;
      if (!status.ok()) {
        PrintError(status.message());
      }
    }
    if (reader_.terminal()) Stats();
    if (flags_.json) PrintJson({{"turns", turns_}});
    return Status::Ok();
  }

 private:
  Status Command(const std::string& text) {
    const size_t space = std::min(text.find(' '), text.size());
    const std::string name = text.substr(0, space);
    const size_t from = text.find_first_not_of(' ', space);
    const std::string argument =
        from == std::string::npos ? "" : text.substr(from);
    if (name == "/regen") return Answered("", true);
    if (name == "/save" || name == "/load") {
      if (argument.empty()) {
        return InvalidArgument("[chat] " + name + " wants a file's name");
      }
      return name == "/save" ? conversation_.Save(argument)
                             : conversation_.Load(argument);
    }
    if (name == "/system") {
      conversation_.SetSystem(argument);
    } else if (name == "/reset") {
      conversation_.Reset();
    } else if (name == "/stats") {
      Stats();
    } else if (name == "/help") {
      std::fputs(kHelp, stderr);
    } else {
      return InvalidArgument("[chat] there is no " + name +
                             "; /help lists the commands");
    }
    return Status::Ok();
  }

  Status Answered(const std::string& text, bool again) {
    std::string reasoning, said;
    const auto show = [&](const std::string& piece, bool thinking) {
      (thinking ? reasoning : said) += piece;
      if (!flags_.json) Show(piece, thinking);
    };
    const auto cancelled = [] { return interrupted != 0; };
    const EchoOff quiet;
    const Result<Answer> answer =
        again ? conversation_.Regenerate(show, cancelled)
              : conversation_.Say(text, show, cancelled);
    if (!flags_.json) {
      SetReasoning(false);
      std::printf("\n");
      std::fflush(stdout);
    }
    if (!answer.ok()) return answer.status();
    if (!answer->note.ok()) Warn(answer->note.message());
    if (flags_.json) {
      nlohmann::json turn = StatsJson(conversation_.last());
      const auto& messages = conversation_.messages();
      turn["user"] = messages[messages.size() - 2].content;
      turn["assistant"] = said;
      turn["finish"] = answer->finish;
      turn["reuse"] = conversation_.reuse();
      if (!reasoning.empty()) turn["reasoning"] = reasoning;
      turns_.push_back(std::move(turn));
    } else if (reader_.terminal()) {
      PrintStats(conversation_.last(), conversation_.runner());
    }
    return Status::Ok();
  }

  // Reasoning is dim in a terminal and between lines of its own elsewhere.
  void Show(const std::string& piece, bool thinking) {
    if (thinking != reasoning_shown_) {
      if (reasoning_shown_) std::fputs("\n\n", stdout);
      SetReasoning(thinking);
    }
    PrintPiece(piece);
  }
  void SetReasoning(bool on) {
    if (on == reasoning_shown_) return;
    reasoning_shown_ = on;
    if (colours_) std::fputs(on ? "\033[2m" : "\033[0m", stdout);
  }

  void Stats() {
    const nlohmann::json json = StatsJson(conversation_.total());
    std::fprintf(
        stderr,
        "%s, %lld of %lld tokens of context\n"
        "%s at %.0f/s, %lld generated at %.1f/s, state %s\n",
        Counted(static_cast<int64_t>(conversation_.messages().size()),
                "message")
            .c_str(),
        static_cast<long long>(conversation_.tokens()),
        static_cast<long long>(conversation_.runner().options().context),
        Counted(json["prompt_tokens"].get<int64_t>(), "prompt token").c_str(),
        json["prefill_tokens_per_second"].get<double>(),
        json["generated_tokens"].get<long long>(),
        json["decode_tokens_per_second"].get<double>(),
        HumanBytes(
            static_cast<double>(conversation_.runner().pool().bytes_taken()))
            .c_str());
  }

  const Flags& flags_;
  LineReader reader_;
  bool colours_;
  bool reasoning_shown_ = false;
  Conversation conversation_;
  nlohmann::json turns_ = nlohmann::json::array();  // with --json
};

Status Run(Flags& flags) {
  RETURN_IF_ERROR(flags.Begin());
  LoadOptions load = flags.serving();
  load.admit = AdmitState(EarlyOptions(flags, flags.answer, /*needed=*/0));
  ASSIGN_OR_RETURN(const OpenedModel opened,
                   OpenShown(flags.model, load, flags.device_of()));
  if (opened.tokenizer == nullptr) {
    return NotFound("[chat] " + flags.model + " has no tokenizer");
  }
  RETURN_IF_ERROR(
      InFile(RenderMessages(*opened.tokenizer, {{"user", "check"}}).status(),
             opened.checkpoint->path()));
  ASSIGN_OR_RETURN(
      SamplingOptions sampling,
      Resolve(flags.answer.sampling, flags.seed, *opened.tokenizer));
  const Status status = Chat(flags, opened, std::move(sampling)).Run();
  flags.Explain();
  return status;
}

}  // namespace

void AddChat(Verb verb) {
  auto flags = std::make_shared<Flags>();
  AddServing(verb, flags.get());
  AddAnswer(verb, &flags->answer);
  verb.Add("MODEL", &flags->model, "Folder, .gguf file or pulled model")
      .Required();
  verb.Add("--system", &flags->system, "System message");
  verb.Run([flags] { return Run(*flags); });
}

}  // namespace intarsia
