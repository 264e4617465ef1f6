#include "intarsia/cli/conversation.h"

#include <nlohmann/json.hpp>

#include "intarsia/checkpoint/atomic_file.h"
#include "intarsia/cli/reasoning.h"
#include "intarsia/convert/hf_model.h"
#include "intarsia/core/in_file.h"

namespace intarsia {
namespace {

ModelRunner::Options Keeping(ModelRunner::Options options) {
  options.prefix_bytes = ModelRunner::Options::kOneConversation;
  return options;
}

constexpr char kFormat[] = "intarsia-conversation";

void Add(const GenerateStats& part, GenerateStats* sum) {
  sum->prompt_tokens += part.prompt_tokens;
  sum->reused_tokens += part.reused_tokens;
  sum->generated_tokens += part.generated_tokens;
  sum->prefill_seconds += part.prefill_seconds;
  sum->decode_seconds += part.decode_seconds;
  sum->decode_tokens += part.decode_tokens;
}

}  // namespace

Conversation::Conversation(const OpenedModel& opened,
                           const ModelRunner::Options& runner,
                           AnswerFlags flags, SamplingOptions sampling)
    : opened_(opened),
      flags_(std::move(flags)),
      sampling_(std::move(sampling)),
      runner_(opened.model(), Keeping(runner)) {}

Result<Answer> Conversation::Say(const std::string& text, const Show& show,
                                 const Cancelled& cancelled) {
  messages_.push_back({"user", text});
  auto answer = Respond(show, cancelled);
  if (!answer.ok()) messages_.pop_back();
  return answer;
}

Result<Answer> Conversation::Regenerate(const Show& show,
                                        const Cancelled& cancelled) {
  if (messages_.empty() || messages_.back().role != "assistant") {
    return InvalidArgument("[chat] there is no answer yet to give again");
  }
  const ChatMessage before = messages_.back();
  messages_.pop_back();
  ++sampling_.seed;
  auto answer = Respond(show, cancelled);
  if (!answer.ok()) messages_.push_back(before);
  return answer;
}

// The whole conversation is rendered each time; what its tokens share with
// those the state has seen is not run again.
Result<Answer> Conversation::Respond(const Show& show,
                                     const Cancelled& cancelled) {
  ASSIGN_OR_RETURN(const std::string text,
                   InFile(RenderMessages(*opened_.tokenizer, messages_),
                          opened_.checkpoint->path()));
  constexpr EncodeOptions kEncoding{.add_special = false,
                                    .parse_special = true};
  ASSIGN_OR_RETURN(const std::vector<int32_t> all,
                   opened_.tokenizer->Encode(text, kEncoding));
  Request request;
  request.prompt = all;
  request.reuse = Reuse::kAll;
  request.max_tokens = flags_.max_tokens;
  request.sampling = sampling_;
  request.stop_ids = StopIds(opened_.model().config(), *opened_.tokenizer);
  last_ = {};
  ReasoningSplitter splitter(EndsInReasoning(text), show);
  ASSIGN_OR_RETURN(
      Answer answer,
      Ask(
          runner_, *opened_.tokenizer, request,
          StopTexts(opened_.model().config(), flags_.stops), &last_,
          [&](const std::string& piece) { splitter.Push(piece); }, cancelled));
  splitter.Finish();
  Add(last_, &total_);
  tokens_ = static_cast<int64_t>(all.size() + answer.tokens.size());
  reuse_ = Describe(answer.prefix, static_cast<int64_t>(all.size()));
  messages_.push_back({"assistant", answer.text});
  return answer;
}

void Conversation::SetSystem(const std::string& text) {
  messages_.clear();
  if (!text.empty()) messages_.push_back({"system", text});
  tokens_ = 0;
}

void Conversation::Reset() {
  const bool system = !messages_.empty() && messages_[0].role == "system";
  messages_.resize(system ? 1 : 0);
  tokens_ = 0;
}

Status Conversation::Save(const std::string& path) const {
  RETURN_IF_ERROR(CheckNotSource(*opened_.checkpoint, path, "chat"));
  nlohmann::ordered_json json = {{"format", kFormat},
                                 {"version", 1},
                                 {"model", opened_.model().config().name},
                                 {"messages", nlohmann::json::array()}};
  for (const ChatMessage& message : messages_) {
    json["messages"].push_back(
        {{"role", message.role}, {"content", message.content}});
  }
  return WriteFileWhole(
      path, "chat",
      json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) +
          "\n");
}

Status Conversation::Load(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string text,
                   ReadTextFile(path, kMostConversationBytes));
  const auto json =
      nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  const auto bad = [&](const char* what) {
    return InvalidArgument("[chat] " + path + ": " + what);
  };
  if (!json.is_object() || !json.contains("format") ||
      json["format"] != kFormat) {
    return bad("not a conversation that /save wrote");
  }
  if (!json.contains("version") || json["version"] != 1) {
    return bad("a version this program doesn't know");
  }
  if (!json.contains("messages") || !json["messages"].is_array()) {
    return bad("there is no list of messages");
  }
  std::vector<ChatMessage> messages;
  for (const auto& item : json["messages"]) {
    if (!item.is_object() || !item.contains("role") ||
        !item["role"].is_string() || !item.contains("content") ||
        !item["content"].is_string()) {
      return bad("each message needs the strings role and content");
    }
    messages.push_back({item["role"], item["content"]});
  }
  messages_ = std::move(messages);
  tokens_ = 0;
  return Status::Ok();
}

}  // namespace intarsia
