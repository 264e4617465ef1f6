// What generate and chat share: flags, options, figures.
#pragma once

#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "intarsia/cli/command.h"
#include "intarsia/cli/sampling_flags.h"
#include "intarsia/cli/serving.h"
#include "intarsia/engine/answer.h"
#include "intarsia/families/open.h"

namespace intarsia {

struct AnswerFlags {
  SamplingFlags sampling;
  int max_tokens = 256;
  std::vector<std::string> stops;
  int64_t context = 0;  // 0: as needed, or what the model was trained for
  std::string state_dtype = "bf16", state_memory;
};
void AddAnswer(Verb verb, AnswerFlags* flags);

// A file, or the standard input for "-". Texts of more than `most` bytes are
// refused when so much was read: a device or a pipe may have no end.
inline constexpr size_t kMostPromptBytes = size_t{256} << 20;
inline constexpr size_t kMostTextBytes = size_t{1} << 30;
inline constexpr size_t kMostConversationBytes = size_t{64} << 20;
Result<std::string> ReadTextFile(const std::string& path, size_t most);

// A piece of an answer, at once. A terminal gets no control characters.
void PrintPiece(const std::string& piece);

// `needed`: tokens the sequence will have at most; 0: not known.
ModelRunner::Options RunnerOptions(const ServingFlags& common,
                                   const AnswerFlags& flags, const Model& model,
                                   int64_t needed);

// For LoadOptions::admit: refuses, after a table of bytes on stderr, a model
// whose weights and state do not fit. options.context 0: DefaultContext.
std::function<Status(const Model&, size_t)> AdmitState(
    ModelRunner::Options options);
// What is known of the options of such flags before the model is.
ModelRunner::Options EarlyOptions(const CommonFlags& common,
                                  const AnswerFlags& flags, int64_t needed);

nlohmann::json StatsJson(const GenerateStats& stats);
void PrintStats(const GenerateStats& stats, ModelRunner& runner);  // stderr

}  // namespace intarsia
