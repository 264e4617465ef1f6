#include "intarsia/engine/answer.h"

#include <algorithm>

#include "intarsia/core/in_file.h"
#include "intarsia/engine/stop_filter.h"
#include "intarsia/tokenizer/chat_template/chat_template.h"

namespace intarsia {

Result<std::string> RenderMessages(const Tokenizer& tokenizer,
                                   const std::vector<ChatMessage>& messages,
                                   bool open_answer) {
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
  options.add_generation_prompt = open_answer;
  for (const auto& [name, text] : tokenizer.named_tokens()) {
    options.extra[name] = text;
  }
  return InFile(RenderChat(tokenizer.chat_template(), list, options),
                tokenizer.template_source());
}

std::vector<int32_t> StopIds(const ModelConfig& config,
                             const Tokenizer& tokenizer) {
  std::vector<int32_t> ids;
  for (const int id : config.eos_ids) {
    if (id >= 0) ids.push_back(id);  // -1 is how some files say none
  }
  for (int32_t id = 0; id < tokenizer.vocab_size(); ++id) {
    if (tokenizer.is_end_of_generation(id)) ids.push_back(id);
  }
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  return ids;
}

std::vector<std::string> StopTexts(const ModelConfig& config,
                                   std::vector<std::string> given) {
  return given.empty() ? config.stop_texts : std::move(given);
}

int64_t DefaultContext(const ModelConfig& config) {
  constexpr int64_t kMost = 8192;
  return config.max_positions > 0
             ? std::min<int64_t>(config.max_positions, kMost)
             : kMost;
}

const std::vector<std::string>& UsualDryBreakers() {
  static const auto* breakers =
      new std::vector<std::string>{"\n", ":", "\"", "*"};
  return *breakers;
}

std::vector<int32_t> DryBreakerIds(const Tokenizer& tokenizer,
                                   const std::vector<std::string>& breakers) {
  std::vector<int32_t> ids;
  for (int32_t id = 0; id < tokenizer.vocab_size(); ++id) {
    const std::string_view bytes = tokenizer.TokenBytes(id);
    for (const std::string& breaker : breakers) {
      if (breaker.empty() || bytes.find(breaker) == std::string_view::npos) {
        continue;
      }
      ids.push_back(id);
      break;
    }
  }
  return ids;
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
                       stats, cancelled));
  emit(filter.Push(stream.Finish()));
  emit(filter.Finish());
  const Generation& result = results[0];
  if (result.finish == Generation::Finish::kError) return result.error;
  answer.tokens = result.tokens;
  answer.finish = filter.stopped() || result.finish == Generation::Finish::kStop
                      ? "stop"
                  : result.finish == Generation::Finish::kLength ? "length"
                                                                 : "cancelled";
  answer.prefix = result.prefix;
  answer.note = result.error;
  return answer;
}

}  // namespace intarsia
