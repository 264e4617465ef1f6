// intarsia chat MODEL: a conversation in the terminal.
#include <unistd.h>

#include <csignal>
#include <iostream>

#include "intarsia/cli/answer.h"

namespace intarsia {
namespace {

struct Flags : CommonFlags {
  AnswerFlags answer;
  std::string model, system;
};

// Ctrl-C stops the answer, not the program; a second one while idle ends it.
volatile std::sig_atomic_t interrupted = 0;

class Conversation {
 public:
  Conversation(const Flags& flags, const OpenedModel& opened)
      : flags_(flags),
        opened_(opened),
        runner_(opened.model(),
                RunnerOptions(flags, flags.answer, opened.model(), 0)) {
    Reset();
  }

  void Reset() {
    messages_.clear();
    if (!flags_.system.empty()) messages_.push_back({"system", flags_.system});
    Forget();
  }

  Status Say(const std::string& text) {
    messages_.push_back({"user", text});
    auto answered = Respond();
    if (!answered.ok()) {
      messages_.pop_back();
      Forget();
      return answered.status();
    }
    messages_.push_back({"assistant", answered->text});
    if (flags_.json) {
      nlohmann::json turn = StatsJson(stats_);
      turn["user"] = text;
      turn["assistant"] = answered->text;
      turn["finish"] = answered->finish;
      turns_.push_back(std::move(turn));
    }
    return Status::Ok();
  }

  const nlohmann::json& turns() const { return turns_; }
  void PrintTurnStats() { PrintStats(stats_, runner_); }

 private:
  // The whole conversation is rendered each time; what its tokens share with
  // those the state has seen is not run again.
  Result<Answer> Respond() {
    ASSIGN_OR_RETURN(const std::string text,
                     RenderMessages(*opened_.tokenizer, messages_));
    const std::vector<int32_t> all = opened_.tokenizer->Encode(
        text, {.add_special = false, .parse_special = true});
    const bool extends = seen_.size() < all.size() &&
                         std::equal(seen_.begin(), seen_.end(), all.begin());
    if (!extends) Forget();
    Request request;
    request.slot = slot_;
    request.before = seen_;
    request.prompt.assign(all.begin() + static_cast<long>(seen_.size()),
                          all.end());
    request.max_tokens = flags_.answer.max_tokens;
    request.sampling = flags_.answer.sampling;
    request.sampling.seed = flags_.seed;
    request.stop_ids = StopIds(opened_);
    stats_ = {};
    interrupted = 0;
    ASSIGN_OR_RETURN(Answer answer, Ask(
                                        runner_, *opened_.tokenizer, request,
                                        flags_.answer.stops, &stats_,
                                        [this](const std::string& piece) {
                                          if (flags_.json) return;
                                          std::fputs(piece.c_str(), stdout);
                                          std::fflush(stdout);
                                        },
                                        [] { return interrupted != 0; }));
    // The state has seen the prompt and each token but the last one sampled.
    seen_ = all;
    seen_.insert(seen_.end(), answer.tokens.begin(), answer.tokens.end());
    seen_.resize(static_cast<size_t>(runner_.length(slot_)));
    return answer;
  }

  void Forget() {
    if (slot_ >= 0) runner_.Close(slot_);
    slot_ = runner_.Open();
    seen_.clear();
  }

  const Flags& flags_;
  const OpenedModel& opened_;
  ModelRunner runner_;
  int slot_ = -1;
  std::vector<ChatMessage> messages_;
  std::vector<int32_t> seen_;  // tokens the state has seen
  GenerateStats stats_;
  nlohmann::json turns_ = nlohmann::json::array();  // with --json
};

Status Run(const Flags& flags) {
  ASSIGN_OR_RETURN(const OpenedModel opened,
                   OpenModel(flags.model, {}, flags.device_of()));
  if (opened.tokenizer == nullptr) {
    return NotFound("[chat] " + flags.model + " has no tokenizer");
  }
  RETURN_IF_ERROR(
      RenderMessages(*opened.tokenizer, {{"user", "check"}}).status());
  Conversation conversation(flags, opened);
  const bool terminal = isatty(STDIN_FILENO) == 1;
  if (terminal) {
    std::signal(SIGINT, [](int) { interrupted = 1; });
    std::fprintf(stderr,
                 "%s. /reset starts anew, /quit ends, Ctrl-C stops an "
                 "answer.\n",
                 opened.model().config().name.c_str());
  }
  for (std::string line;;) {
    if (terminal) std::fprintf(stderr, "> ");
    if (!std::getline(std::cin, line)) {
      if (!terminal || !interrupted) break;
      std::cin.clear();  // Ctrl-C at the prompt
      std::fprintf(stderr, "\n");
      interrupted = 0;
      continue;
    }
    if (line.empty()) continue;
    if (line == "/quit" || line == "/exit") break;
    if (line == "/reset") {
      conversation.Reset();
      continue;
    }
    if (line[0] == '/' && terminal) {
      std::fprintf(stderr, "there are /reset and /quit\n");
      continue;
    }
    const Status status = conversation.Say(line);
    if (!flags.json) std::printf("\n");
    if (!status.ok() && !terminal) return status;
    if (!status.ok()) std::fprintf(stderr, "%s\n", status.message().c_str());
    if (status.ok() && terminal) conversation.PrintTurnStats();
  }
  if (flags.json) PrintJson({{"turns", conversation.turns()}});
  return Status::Ok();
}

}  // namespace

Command MakeChat(CLI::App& root) {
  CLI::App* app = root.add_subcommand("chat", "Talk with a model");
  auto flags = std::make_shared<Flags>();
  AddCommon(app, flags.get());
  AddAnswer(app, &flags->answer);
  app->add_option("MODEL", flags->model, "Folder, .gguf file or pulled model")
      ->required();
  app->add_option("--system", flags->system, "System message");
  return {app, [flags] { return Run(*flags); }};
}

}  // namespace intarsia
