// Between text and tokens: what every front end (the command line, the C
// library) does around Generate.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "intarsia/engine/engine.h"
#include "intarsia/tokenizer/tokenizer.h"

namespace intarsia {

struct ChatMessage {
  std::string role, content;
};
// By the tokenizer's chat template; `open_answer` adds the opening of the
// assistant's turn.
Result<std::string> RenderMessages(const Tokenizer& tokenizer,
                                   const std::vector<ChatMessage>& messages,
                                   bool open_answer = true);

// Ids that end an answer: the configuration's and the tokenizer's; ascending.
std::vector<int32_t> StopIds(const ModelConfig& config,
                             const Tokenizer& tokenizer);

// Texts that end an answer: those `given`, else, as in transformers, the
// configuration's.
std::vector<std::string> StopTexts(const ModelConfig& config,
                                   std::vector<std::string> given);

// What DRY does not look across, as is usual, and the tokens whose text holds
// one of `breakers`; ascending.
const std::vector<std::string>& UsualDryBreakers();
std::vector<int32_t> DryBreakerIds(const Tokenizer& tokenizer,
                                   const std::vector<std::string>& breakers);

// Of a sequence whose length nobody knows yet: as trained, at most 8192.
int64_t DefaultContext(const ModelConfig& config);

struct Answer {
  std::string text;
  std::vector<int32_t> tokens;
  std::string finish;  // "stop", "length", "cancelled"
  PrefixMatch prefix;  // what of the prompt needed no run
  Status note;         // why it is shorter than asked (the context is full)
};
// Streams the text to `show`, whole characters at a time; what could be the
// start of a stop string waits. `cancelled`, when given, is asked at each
// token and between the chunks of a long prompt.
Result<Answer> Ask(ModelRunner& runner, const Tokenizer& tokenizer,
                   const Request& request,
                   const std::vector<std::string>& stops, GenerateStats* stats,
                   const std::function<void(const std::string&)>& show,
                   const std::function<bool()>& cancelled = nullptr);

}  // namespace intarsia
