#include "intarsia/cli/answer.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <sstream>

namespace intarsia {

void AddAnswer(CLI::App* app, AnswerFlags* flags) {
  AddSampling(app, &flags->sampling);
  app->add_option("--max-tokens,-n", flags->max_tokens,
                  "Most tokens of an answer")
      ->check(CLI::Range(1, 1 << 24))
      ->capture_default_str();
  app->add_option("--stop", flags->stops,
                  "Text that ends the answer; may be given again")
      ->allow_extra_args(false);
  app->add_option("--ctx", flags->context,
                  "Most tokens of the conversation; 0: as needed")
      ->check(CLI::Range(0, 1 << 24))
      ->capture_default_str();
  AddStateDType(app, &flags->state_dtype);
}

Result<std::string> ReadTextFile(const std::string& path) {
  std::ostringstream text;
  if (path == "-") {
    text << std::cin.rdbuf();
    return text.str();
  }
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) {
    return InvalidArgument("[cli] " + path + " is a folder, not a text");
  }
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    return NotFound("[cli] cannot read " + path + ": " + std::strerror(errno));
  }
  text << file.rdbuf();
  if (file.bad()) return NotFound("[cli] cannot read " + path);
  return text.str();
}

ModelRunner::Options RunnerOptions(const CommonFlags& common,
                                   const AnswerFlags& flags, const Model& model,
                                   int64_t needed) {
  ModelRunner::Options options;
  options.threads = common.threads;
  options.device = common.device_of();
  options.token_dtype = StateDType(flags.state_dtype);
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

nlohmann::json StatsJson(const GenerateStats& stats) {
  auto rate = [](int64_t tokens, double seconds) {
    return seconds > 0 ? static_cast<double>(tokens) / seconds : 0.0;
  };
  return {{"prompt_tokens", stats.prompt_tokens},
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
      stderr,
      "[%lld prompt tokens at %.0f/s, %lld generated at %.1f/s, state %s]\n",
      static_cast<long long>(stats.prompt_tokens),
      json["prefill_tokens_per_second"].get<double>(),
      static_cast<long long>(stats.generated_tokens),
      json["decode_tokens_per_second"].get<double>(),
      HumanBytes(static_cast<double>(runner.pool().bytes())).c_str());
}

}  // namespace intarsia
