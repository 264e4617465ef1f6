// A conversation with a model: its messages, and a runner that keeps the state
// that has seen them.
#pragma once

#include <string>
#include <vector>

#include "intarsia/cli/answer.h"

namespace intarsia {

class Conversation {
 public:
  // `options.seed` is that of the first answer. `opened` must outlive it.
  Conversation(const OpenedModel& opened, const ModelRunner::Options& runner,
               AnswerFlags flags, SamplingOptions sampling);

  // Streams a piece of an answer.
  using Show = std::function<void(const std::string& text, bool reasoning)>;
  using Cancelled = std::function<bool()>;

  // Adds a message and answers it. On an error the message is taken back.
  Result<Answer> Say(const std::string& text, const Show& show,
                     const Cancelled& cancelled);
  // Answers the last message once more, with other random numbers.
  Result<Answer> Regenerate(const Show& show, const Cancelled& cancelled);

  void SetSystem(const std::string& text);  // empty: none; starts anew
  void Reset();                             // keeps the system message

  // The messages to and from a JSON file. A file that is not one of ours leaves
  // the conversation as it was.
  Status Save(const std::string& path) const;
  Status Load(const std::string& path);

  const std::vector<ChatMessage>& messages() const { return messages_; }
  const GenerateStats& last() const { return last_; }    // of the last answer
  const GenerateStats& total() const { return total_; }  // of all
  ModelRunner& runner() { return runner_; }
  int64_t tokens() const { return tokens_; }  // of all messages
  // What the last answer's prompt had in common with those before it.
  const std::string& reuse() const { return reuse_; }

 private:
  Result<Answer> Respond(const Show& show, const Cancelled& cancelled);

  const OpenedModel& opened_;
  AnswerFlags flags_;
  SamplingOptions sampling_;
  ModelRunner runner_;
  std::vector<ChatMessage> messages_;
  GenerateStats last_, total_;
  int64_t tokens_ = 0;
  std::string reuse_;
};

}  // namespace intarsia
