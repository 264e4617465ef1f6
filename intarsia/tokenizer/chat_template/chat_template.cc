#include "intarsia/tokenizer/chat_template/chat_template.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "intarsia/tokenizer/chat_template/evaluator.h"
#include "intarsia/tokenizer/chat_template/lexer.h"
#include "intarsia/tokenizer/chat_template/parser.h"
#include "intarsia/tokenizer/utf8.h"

namespace intarsia {

using chat_template::Dict;
using chat_template::TemplateError;

namespace {

Status Refusal(const std::string& message) {
  return InvalidArgument("[chat_template] " + message);
}

Result<std::string> Render(std::string_view text, const Dict& variables,
                           const ChatTemplateOptions& options) {
  if (text.size() > options.limits.template_bytes) {
    return Refusal("the template is longer than " +
                   std::to_string(options.limits.template_bytes) + " bytes");
  }
  if (!IsValidUtf8(text)) return Refusal("the template is not valid UTF-8");
  chat_template::Block block;
  try {
    chat_template::Parser parser(chat_template::Tokenize(text));
    block = parser.ParseTemplate();
  } catch (const TemplateError& error) {
    return Refusal(error.what());  // has the line
  }
  chat_template::Evaluator evaluator(options);
  try {
    return evaluator.Run(block, variables);
  } catch (const TemplateError& error) {
    return Refusal("line " + std::to_string(evaluator.line()) + ": " +
                   error.what());
  }
}

// Adds the fields of an object; others of the same name give way.
void Merge(const nlohmann::ordered_json& object, Dict* variables) {
  for (const auto& [key, value] : object.items()) {
    variables->Set(chat_template::Value(ReplaceInvalidUtf8(key)),
                   chat_template::FromJson(value));
  }
}

// As `transformers` hands messages to a template: fields of null are left out,
// and what an answer was reasoned from has all of its names.
nlohmann::ordered_json Normalized(const nlohmann::ordered_json& messages) {
  nlohmann::ordered_json out = nlohmann::ordered_json::array();
  for (const nlohmann::ordered_json& message : messages) {
    if (!message.is_object()) {
      out.push_back(message);
      continue;
    }
    nlohmann::ordered_json reasoning;
    for (const char* name : {"reasoning_content", "thinking", "reasoning"}) {
      const auto field = message.find(name);
      if (!reasoning.is_null() || field == message.end()) continue;
      reasoning = *field;
    }
    nlohmann::ordered_json kept = nlohmann::ordered_json::object();
    if (!reasoning.is_null()) kept["thinking"] = reasoning;
    for (const auto& [key, value] : message.items()) {
      if (!value.is_null()) kept[key] = value;
    }
    if (!reasoning.is_null()) kept["reasoning_content"] = reasoning;
    out.push_back(std::move(kept));
  }
  return out;
}

}  // namespace

Result<std::string> RenderTemplate(std::string_view template_text,
                                   const nlohmann::ordered_json& variables,
                                   const ChatTemplateOptions& options) {
  if (!variables.is_object()) return Refusal("the variables are no object");
  Dict dict;
  try {
    Merge(variables, &dict);
  } catch (const TemplateError& error) {
    return Refusal(error.what());
  }
  return Render(template_text, dict, options);
}

Result<std::string> RenderChat(std::string_view template_text,
                               const nlohmann::ordered_json& messages,
                               const ChatTemplateOptions& options) {
  if (!messages.is_array()) return Refusal("the messages are no list");
  if (!options.extra.is_object()) return Refusal("`extra` is no object");
  Dict dict;
  try {
    const auto set = [&](const char* name, const nlohmann::ordered_json& json) {
      dict.Set(chat_template::Value(name), chat_template::FromJson(json));
    };
    set("messages", Normalized(messages));
    set("tools", options.tools);
    set("documents", options.documents);
    set("add_generation_prompt", options.add_generation_prompt);
    Merge(options.extra, &dict);
  } catch (const TemplateError& error) {
    return Refusal(error.what());
  }
  return Render(template_text, dict, options);
}

}  // namespace intarsia
