// What generate and chat share: flags, templates, streaming an answer.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "intarsia/cli/command.h"
#include "intarsia/cli/sampling_flags.h"
#include "intarsia/engine/engine.h"
#include "intarsia/families/open.h"

namespace intarsia {

struct AnswerFlags {
  SamplingFlags sampling;
  int max_tokens = 256;
  std::vector<std::string> stops;
  int64_t context = 0;  // 0: as needed, or what the model was trained for
  std::string state_dtype = "bf16";
};
void AddAnswer(CLI::App* app, AnswerFlags* flags);

struct ChatMessage {
  std::string role, content;
};
// By the tokenizer's chat template, with the opening of the assistant's turn.
Result<std::string> RenderMessages(const Tokenizer& tokenizer,
                                   const std::vector<ChatMessage>& messages);

Result<std::string> ReadTextFile(const std::string& path);
// Ids that end an answer: the configuration's and the tokenizer's.
std::vector<int32_t> StopIds(const OpenedModel& opened);
// `needed`: tokens the sequence will have at most; 0: not known.
ModelRunner::Options RunnerOptions(const CommonFlags& common,
                                   const AnswerFlags& flags, const Model& model,
                                   int64_t needed);

struct Answer {
  std::string text;
  std::vector<int32_t> tokens;
  std::string finish;  // "stop", "length", "cancelled"
};
// Streams the text to `show`, whole characters at a time. `cancelled`, when
// given, is asked at each token.
Result<Answer> Ask(ModelRunner& runner, const Tokenizer& tokenizer,
                   const Request& request,
                   const std::vector<std::string>& stops, GenerateStats* stats,
                   const std::function<void(const std::string&)>& show,
                   const std::function<bool()>& cancelled = nullptr);

nlohmann::json StatsJson(const GenerateStats& stats);
void PrintStats(const GenerateStats& stats, ModelRunner& runner);  // stderr

}  // namespace intarsia
