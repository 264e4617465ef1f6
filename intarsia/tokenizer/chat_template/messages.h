// Conversations as clients of the OpenAI protocol send them, for templates that
// were written with less in mind. Such clients send a call's arguments as JSON
// text, content of null beside calls, content as a list of parts, and the role
// "developer"; templates are commonly given arguments as objects, and many know
// content as text alone. What a template can take is found by rendering probes.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string_view>

#include "intarsia/core/status.h"
#include "intarsia/tokenizer/chat_template/chat_template.h"

namespace intarsia {

struct TemplateAbilities {
  bool text_content = true;      // content that is text
  bool part_content = false;     // content that is a list of parts
  bool developer_role = false;   // otherwise it becomes "system"
  bool calls = false;            // writes calls of functions at all
  bool object_arguments = true;  // arguments that are objects, else JSON text
  bool null_content = true;      // beside calls; otherwise it becomes ""
};

// Renders a few conversations of one or two messages. What a template refuses
// in all forms keeps the defaults above.
TemplateAbilities ProbeTemplate(std::string_view template_text,
                                const ChatTemplateOptions& options = {});

// The messages in the form that the template takes: arguments as objects or
// text, content as text or parts (texts joined by newlines), nulls and roles as
// above. Whatever else a message has (name, tool_call_id, reasoning_content)
// stays. Refused, by the number of the message: what is no object, has no role,
// content of another kind than text, list or null, calls that name no function,
// and parts other than text where the template takes none.
Result<nlohmann::ordered_json> AdaptMessages(
    const nlohmann::ordered_json& messages, const TemplateAbilities& abilities);

}  // namespace intarsia
