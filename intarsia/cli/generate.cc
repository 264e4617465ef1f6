// intarsia generate MODEL --prompt ...: one shot.
#include <chrono>
#include <nlohmann/json.hpp>
#include <optional>

#include "intarsia/checkpoint/atomic_file.h"
#include "intarsia/cli/answer.h"
#include "intarsia/cli/command.h"
#include "intarsia/cli/serving.h"
#include "intarsia/convert/hf_model.h"
#include "intarsia/core/in_file.h"
#include "intarsia/engine/session_file.h"

namespace intarsia {
namespace {

struct Flags : ServingFlags {
  AnswerFlags answer;
  std::string model, prompt, prompt_file, system, save_state, load_state;
  bool chat = false, ignore_eos = false;
};

Result<std::string> PromptText(const Flags& flags) {
  if (flags.prompt_file.empty()) return flags.prompt;
  return ReadTextFile(flags.prompt_file, kMostPromptBytes);
}

Status Run(Flags& flags) {
  RETURN_IF_ERROR(flags.Begin());
  const auto start = std::chrono::steady_clock::now();
  ASSIGN_OR_RETURN(std::string text, PromptText(flags));
  if (text.empty()) {
    return InvalidArgument(
        "[generate] the prompt is empty; give --prompt, or --prompt-file (- is "
        "the standard input)");
  }
  LoadOptions load = flags.serving();
  load.admit =
      AdmitState(EarlyOptions(flags, flags.answer, flags.answer.max_tokens));
  ASSIGN_OR_RETURN(OpenedModel opened,
                   OpenShown(flags.model, load, flags.device_of()));
  if (opened.tokenizer == nullptr) {
    return NotFound("[generate] " + flags.model + " has no tokenizer");
  }
  const Tokenizer& tokenizer = *opened.tokenizer;
  if (flags.chat) {
    std::vector<ChatMessage> messages;
    if (!flags.system.empty()) messages.push_back({"system", flags.system});
    messages.push_back({"user", text});
    ASSIGN_OR_RETURN(text, InFile(RenderMessages(tokenizer, messages),
                                  opened.checkpoint->path()));
  }
  if (!flags.save_state.empty()) {
    RETURN_IF_ERROR(AtomicFile::Check(flags.save_state, "generate"));
    RETURN_IF_ERROR(
        CheckNotInput(flags.save_state, {flags.prompt_file}, "generate"));
    RETURN_IF_ERROR(
        CheckNotSource(*opened.checkpoint, flags.save_state, "generate"));
  }
  std::optional<SavedSequence> before;
  if (!flags.load_state.empty()) {
    ASSIGN_OR_RETURN(
        before,
        SavedSequence::Open(flags.load_state, opened.model(), flags.threads));
  }
  const int64_t seen = before ? before->length() : 0;
  Request request;
  // A chat template writes its own beginning of text; what goes on from a state
  // has had one.
  const EncodeOptions encoding{.add_special = !flags.chat && seen == 0,
                               .parse_special = true};
  ASSIGN_OR_RETURN(request.prompt, tokenizer.Encode(text, encoding));
  if (request.prompt.empty()) {
    return InvalidArgument("[generate] the prompt has no tokens");
  }
  request.max_tokens = flags.answer.max_tokens;
  ASSIGN_OR_RETURN(request.sampling,
                   Resolve(flags.answer.sampling, flags.seed, tokenizer));
  if (!flags.ignore_eos) {
    request.stop_ids = StopIds(opened.model().config(), tokenizer);
  }
  // --ignore-eos leaves the texts that the flags name.
  const std::vector<std::string> stops =
      flags.ignore_eos ? flags.answer.stops
                       : StopTexts(opened.model().config(), flags.answer.stops);

  ModelRunner runner(
      opened.model(),
      RunnerOptions(flags, flags.answer, opened.model(),
                    seen + static_cast<int64_t>(request.prompt.size()) +
                        flags.answer.max_tokens));
  if (!flags.load_state.empty() || !flags.save_state.empty()) {
    request.slot = runner.Open();
  }
  if (before) RETURN_IF_ERROR(runner.Restore(request.slot, *before));
  GenerateStats stats;
  double first_token = 0.0;
  ASSIGN_OR_RETURN(const Answer answer,
                   Ask(runner, tokenizer, request, stops, &stats,
                       [&](const std::string& piece) {
                         if (first_token == 0.0) {
                           first_token =
                               std::chrono::duration<double>(
                                   std::chrono::steady_clock::now() - start)
                                   .count();
                         }
                         if (flags.json) return;
                         PrintPiece(piece);
                       }));
  if (!flags.json) {
    std::printf("\n");
    std::fflush(stdout);
  }
  flags.Explain();
  if (!answer.note.ok()) Warn(answer.note.message());
  if (flags.json) {
    nlohmann::json json = StatsJson(stats);
    json["text"] = answer.text;
    json["tokens"] = answer.tokens;
    json["finish"] = answer.finish;
    json["first_token_seconds"] = first_token;
    json["graph_launches"] = runner.graph_launches();
    PrintJson(json);
  } else {
    PrintStats(stats, runner);
  }
  if (flags.save_state.empty()) return Status::Ok();
  std::fflush(stdout);  // the answer stands whatever becomes of the state
  return runner.Save(request.slot, flags.save_state);
}

}  // namespace

void AddGenerate(Verb verb) {
  auto flags = std::make_shared<Flags>();
  AddServing(verb, flags.get());
  AddAnswer(verb, &flags->answer);
  verb.Add("MODEL", &flags->model, "Folder, .gguf file or pulled model")
      .Required();
  const Argument prompt = verb.Add("--prompt,-p", &flags->prompt, "The text");
  verb.Add("--prompt-file", &flags->prompt_file,
           "The text, from a file of at most 256 MiB; - is the standard input")
      .Excludes(prompt);
  const Argument chat = verb.Add(
      "--chat", &flags->chat, "Put the prompt into the model's chat template");
  verb.Add("--system", &flags->system, "System message, with --chat")
      .Needs(chat);
  verb.Add("--ignore-eos", &flags->ignore_eos,
           "Go on past the end of the answer");
  verb.Add("--save-state", &flags->save_state,
           "Write the sequence's state to a file afterwards");
  verb.Add("--load-state", &flags->load_state,
           "Go on from a state that this model saved; the prompt comes after "
           "it");
  verb.Run([flags] { return Run(*flags); });
}

}  // namespace intarsia
