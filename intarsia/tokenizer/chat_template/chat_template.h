// Chat templates: the Jinja text that comes with a model turns a conversation
// into the text that the model was trained on. A compact interpreter of the
// language as the `transformers` library runs it: jinja2's sandbox with
// trim_blocks and lstrip_blocks, loop controls, generation blocks, tojson,
// raise_exception and strftime_now. README.md beside this file lists what it
// knows and where it differs.
//
// Templates are untrusted. Whatever is wrong with one, and whatever it refuses
// by raise_exception, is a Status with the line; a template that nests, works,
// or writes too much is stopped.
#pragma once

#include <cstdint>
#include <ctime>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "intarsia/core/status.h"

namespace intarsia {

struct ChatTemplateLimits {
  int64_t steps = 20'000'000;       // nodes evaluated and bytes moved / 8
  size_t output_bytes = 16 << 20;   // of the result, or of any string
  size_t list_items = 1 << 20;      // of any list
  size_t template_bytes = 4 << 20;  // of the template
};

struct ChatTemplateOptions {
  bool add_generation_prompt = true;
  // JSON schemas of functions and documents; null: none.
  nlohmann::ordered_json tools = nullptr;
  nlohmann::ordered_json documents = nullptr;
  // Further variables: bos_token, eos_token, enable_thinking, … An object; it
  // wins over the names above.
  nlohmann::ordered_json extra = nlohmann::ordered_json::object();
  // What strftime_now sees; unset: the local time.
  std::optional<std::tm> now;
  ChatTemplateLimits limits;
};

// `messages`: a list of {"role": …, "content": …} with whatever else the
// template reads.
Result<std::string> RenderChat(std::string_view template_text,
                               const nlohmann::ordered_json& messages,
                               const ChatTemplateOptions& options = {});

// Any template over any variables (an object).
Result<std::string> RenderTemplate(std::string_view template_text,
                                   const nlohmann::ordered_json& variables,
                                   const ChatTemplateOptions& options = {});

}  // namespace intarsia
