// Renders any bytes as a chat template, with limits that keep a run short.
#include <string_view>

#include "intarsia/core/check.h"
#include "intarsia/tokenizer/chat_template/chat_template.h"

namespace intarsia {

bool FuzzChatTemplate(std::string_view input) {
  ChatTemplateOptions options;
  options.limits.steps = 20000;
  options.limits.output_bytes = 1 << 16;
  options.limits.list_items = 1 << 12;
  options.now = std::tm{};
  options.extra["bos_token"] = "<s>";
  const nlohmann::ordered_json messages = {
      {{"role", "system"}, {"content", "Be brief."}},
      {{"role", "user"}, {"content", "Grüße"}, {"list", {1, 2.5, nullptr}}},
      {{"role", "assistant"}, {"content", nullptr}, {"d", {{"k", "v"}}}},
  };
  const auto text = RenderChat(input, messages, options);
  if (!text.ok()) {
    CHECK(text.status().message().rfind("[chat_template] ", 0) == 0);
  }
  return text.ok();
}

}  // namespace intarsia
