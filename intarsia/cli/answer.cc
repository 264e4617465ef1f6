#include "intarsia/cli/answer.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>

#include "intarsia/core/counted.h"
#include "intarsia/core/terminal_text.h"
#include "intarsia/engine/admission.h"

namespace intarsia {

void AddAnswer(Verb verb, AnswerFlags* flags) {
  AddSampling(verb, &flags->sampling);
  verb.Add("--max-tokens,-n", &flags->max_tokens, Whole{1, 1 << 24},
           "Most tokens of an answer");
  verb.Add("--stop", &flags->stops,
           "Text that ends the answer, in the place of the model's own; "
           "may be given again");
  verb.Add("--ctx", &flags->context, Whole{0, 1 << 24},
           "Most tokens of the conversation; 0: as needed");
  AddStateDType(verb, &flags->state_dtype);
  AddStateMemory(verb, &flags->state_memory);
}

Result<std::string> ReadTextFile(const std::string& path, size_t most) {
  const bool standard = path == "-";
  const std::string name = standard ? "the standard input" : path;
  std::error_code ignored;
  if (!standard && std::filesystem::is_directory(path, ignored)) {
    return InvalidArgument("[cli] " + path + " is a folder, not a text");
  }
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> opened(
      standard ? nullptr : std::fopen(path.c_str(), "rb"), &std::fclose);
  std::FILE* const file = standard ? stdin : opened.get();
  const auto failed = [&] {
    return NotFound("[cli] cannot read " + name + ": " + std::strerror(errno));
  };
  if (file == nullptr) return failed();
  std::string text;
  constexpr size_t kPiece = size_t{64} << 10;
  for (size_t got = kPiece; got == kPiece;) {
    const size_t before = text.size();
    text.resize(before + kPiece);
    got = std::fread(text.data() + before, 1, kPiece, file);
    text.resize(before + got);
    if (text.size() > most) {
      return InvalidArgument("[cli] " + name + " has more than " +
                             std::to_string(most >> 20) +
                             " MiB, the most that is read here");
    }
  }
  if (std::ferror(file) != 0) return failed();
  return text;
}

void PrintPiece(const std::string& piece) {
  static const bool terminal = StdoutIsTerminal();
  std::fputs(terminal ? TerminalText(piece).c_str() : piece.c_str(), stdout);
  std::fflush(stdout);
}

ModelRunner::Options RunnerOptions(const ServingFlags& common,
                                   const AnswerFlags& flags, const Model& model,
                                   int64_t needed) {
  ModelRunner::Options options;
  options.threads = common.threads;
  options.device = common.device_of();
  options.dtype = common.dtype_of();
  options.report = common.report.get();
  options.token_dtype = StateDType(flags.state_dtype);
  options.state_bytes = StateMemory(flags.state_memory);
  const int64_t trained = model.config().max_positions;
  options.context = flags.context > 0 ? flags.context
                    : needed > 0      ? needed
                                      : DefaultContext(model.config());
  const bool ends = model.config().position_limit() > 0;
  if (trained > 0 && options.context > trained &&
      (!ends || flags.context > 0)) {
    Warn("a context of " + std::to_string(options.context) +
         " tokens is past the " + std::to_string(trained) +
         (ends ? " learned positions of the model, where it ends"
               : " the model was trained for"));
  }
  return options;
}

ModelRunner::Options EarlyOptions(const CommonFlags& common,
                                  const AnswerFlags& flags, int64_t needed) {
  ModelRunner::Options options;
  options.device = common.device_of();
  options.token_dtype = StateDType(flags.state_dtype);
  options.state_bytes = StateMemory(flags.state_memory);
  options.context = flags.context > 0 ? flags.context : needed;
  return options;
}

std::function<Status(const Model&, size_t)> AdmitState(
    ModelRunner::Options options) {
  return [options](const Model& model, size_t bytes) mutable {
    if (options.context == 0) options.context = DefaultContext(model.config());
    ASSIGN_OR_RETURN(const MemoryNeeds needs,
                     NeedsOf(model, static_cast<int64_t>(bytes), options));
    const Status status = needs.Check();
    if (status.ok()) return status;
    for (const auto& [what, size] : needs.Table()) {
      std::fprintf(stderr, "  %-40s %s\n", what.c_str(),
                   HumanBytes(static_cast<double>(size)).c_str());
    }
    return status;
  };
}

nlohmann::json StatsJson(const GenerateStats& stats) {
  auto rate = [](int64_t tokens, double seconds) {
    return seconds > 0 ? static_cast<double>(tokens) / seconds : 0.0;
  };
  return {{"prompt_tokens", stats.prompt_tokens},
          {"reused_tokens", stats.reused_tokens},
          {"generated_tokens", stats.generated_tokens},
          {"prefill_tokens_per_second",
           rate(stats.prompt_tokens, stats.prefill_seconds)},
          {"decode_tokens_per_second",
           rate(stats.decode_tokens, stats.decode_seconds)}};
}

void PrintStats(const GenerateStats& stats, ModelRunner& runner) {
  const nlohmann::json json = StatsJson(stats);
  std::fflush(stdout);  // the answer stands before its figures
  std::fprintf(
      stderr, "[%s at %.0f/s, %lld generated at %.1f/s, state %s]\n",
      Counted(stats.prompt_tokens, "prompt token").c_str(),
      json["prefill_tokens_per_second"].get<double>(),
      static_cast<long long>(stats.generated_tokens),
      json["decode_tokens_per_second"].get<double>(),
      HumanBytes(static_cast<double>(runner.pool().bytes_taken())).c_str());
}

}  // namespace intarsia
