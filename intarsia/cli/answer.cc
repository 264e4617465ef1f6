#include "intarsia/cli/answer.h"

#include <algorithm>
#include <fstream>
#include <sstream>

#include "intarsia/tokenizer/chat_template/chat_template.h"

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

Result<std::string> RenderMessages(const Tokenizer& tokenizer,
                                   const std::vector<ChatMessage>& messages) {
  if (tokenizer.chat_template().empty()) {
    return NotFound(
        "[chat] the model carries no chat template; use `intarsia generate` "
        "for plain text");
  }
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const ChatMessage& message : messages) {
    list.push_back({{"role", message.role}, {"content", message.content}});
  }
  ChatTemplateOptions options;
  options.add_generation_prompt = true;
  if (tokenizer.bos_id() >= 0) {
    options.extra["bos_token"] = tokenizer.Token(tokenizer.bos_id());
  }
  if (tokenizer.eos_id() >= 0) {
    options.extra["eos_token"] = tokenizer.Token(tokenizer.eos_id());
  }
  return RenderChat(tokenizer.chat_template(), list, options);
}

Result<std::string> ReadTextFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  if (!file) return NotFound("[cli] cannot read " + path);
  return text.str();
}

std::vector<int32_t> StopIds(const OpenedModel& opened) {
  std::vector<int32_t> ids(opened.model().config().eos_ids.begin(),
                           opened.model().config().eos_ids.end());
  for (int32_t id = 0; id < opened.tokenizer->vocab_size(); ++id) {
    if (opened.tokenizer->is_end_of_generation(id)) ids.push_back(id);
  }
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  return ids;
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
                    : trained > 0     ? std::min<int64_t>(trained, 8192)
                                      : 8192;
  if (trained > 0 && options.context > trained) {
    Warn("a context of " + std::to_string(options.context) +
         " tokens is past the " + std::to_string(trained) +
         " the model was trained for");
  }
  return options;
}

Result<Answer> Ask(ModelRunner& runner, const Tokenizer& tokenizer,
                   const Request& request,
                   const std::vector<std::string>& stops, GenerateStats* stats,
                   const std::function<void(const std::string&)>& show,
                   const std::function<bool()>& cancelled) {
  Answer answer;
  Tokenizer::Stream stream(tokenizer);
  StopFilter filter(stops);
  auto emit = [&](const std::string& text) {
    if (text.empty()) return;
    answer.text += text;
    show(text);
  };
  ASSIGN_OR_RETURN(const std::vector<Generation> results,
                   Generate(
                       runner, {request},
                       [&](size_t, int32_t token) {
                         emit(filter.Push(stream.Push(token)));
                         return !filter.stopped() &&
                                !(cancelled && cancelled());
                       },
                       stats));
  emit(filter.Push(stream.Finish()));
  emit(filter.Finish());
  const Generation& result = results[0];
  if (result.finish == Generation::Finish::kError) return result.error;
  answer.tokens = result.tokens;
  answer.finish = filter.stopped() || result.finish == Generation::Finish::kStop
                      ? "stop"
                  : result.finish == Generation::Finish::kLength ? "length"
                                                                 : "cancelled";
  if (!result.error.ok()) Warn(result.error.message());
  return answer;
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
