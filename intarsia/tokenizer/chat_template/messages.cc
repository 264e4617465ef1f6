#include "intarsia/tokenizer/chat_template/messages.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "intarsia/tokenizer/chat_template/value.h"

namespace intarsia {
namespace {

using Json = nlohmann::ordered_json;

// As Python writes JSON: a space after each comma and colon.
std::string PythonJson(const Json& json) {
  return chat_template::ToJson(chat_template::FromJson(json), {});
}

class Prober {
 public:
  Prober(std::string_view text, const ChatTemplateOptions& options)
      : text_(text), options_(options) {
    options_.add_generation_prompt = false;
  }

  // The rendering; empty if the template refuses.
  std::string Render(const Json& messages) const {
    auto text = RenderChat(text_, messages, options_);
    return text.ok() ? std::move(*text) : "";
  }

  bool Shows(const Json& messages, const char* what) const {
    return Render(messages).find(what) != std::string::npos;
  }

  void OfferTool() {
    if (!options_.tools.is_null()) return;
    options_.tools = Json::array(
        {{{"type", "function"},
          {"function",
           {{"name", "probe_call"},
            {"description", "probe"},
            {"parameters",
             {{"type", "object"}, {"properties", Json::object()}}}}}}});
  }

 private:
  std::string_view text_;
  ChatTemplateOptions options_;
};

Json UserSays(Json content) {
  return {{"role", "user"}, {"content", std::move(content)}};
}

void ProbeCalls(Prober* prober, TemplateAbilities* abilities) {
  prober->OfferTool();
  for (const bool object : {true, false}) {
    for (const bool null : {true, false}) {
      const Json values = {{"probe_key", "probe-value"}};
      const Json call = {
          {"id", "probe1234"},
          {"type", "function"},
          {"function",
           {{"name", "probe_call"},
            {"arguments", object ? values : Json(values.dump())}}}};
      const std::string text =
          prober->Render(Json::array({UserSays("x"),
                                      {{"role", "assistant"},
                                       {"content", null ? Json() : Json("")},
                                       {"tool_calls", Json::array({call})}}}));
      // The value, and neither Python's writing of an object nor text that was
      // written as JSON once more.
      const auto has = [&](const char* what) {
        return text.find(what) != std::string::npos;
      };
      if (!has("probe-value") || has("'probe_key'") || has("\\\"probe_key")) {
        continue;
      }
      abilities->calls = true;
      abilities->object_arguments = object;
      abilities->null_content = null;
      return;
    }
  }
}

Status Refusal(size_t at, const std::string& why) {
  return InvalidArgument("[chat_template] message " + std::to_string(at) +
                         ": " + why);
}

// One text of all parts.
Result<Json> Joined(const Json& parts, size_t at) {
  std::string text;
  for (size_t i = 0; i < parts.size(); ++i) {
    const Json& part = parts[i];
    if (!part.is_object() || !part.contains("text") ||
        !part["text"].is_string()) {
      return Refusal(at, "the model's template takes text only");
    }
    if (i > 0) text += '\n';
    text += part["text"].get_ref<const std::string&>();
  }
  return Json(std::move(text));
}

Status AdaptContent(const TemplateAbilities& abilities, size_t at,
                    Json* message) {
  Json& content = (*message)["content"];  // null if there was none
  const bool calls =
      message->contains("tool_calls") && !(*message)["tool_calls"].empty();
  if (content.is_null()) {
    if (!calls || !abilities.null_content) content = "";
  } else if (content.is_array()) {
    if (!abilities.part_content) {
      ASSIGN_OR_RETURN(content, Joined(content, at));
    }
  } else if (!content.is_string()) {
    return Refusal(at, "the content is neither text nor a list of parts");
  }
  if (content.is_string() && !abilities.text_content) {
    content = Json::array({{{"type", "text"}, {"text", content}}});
  }
  return Status::Ok();
}

Status AdaptCalls(const TemplateAbilities& abilities, size_t at,
                  Json* message) {
  const auto calls = message->find("tool_calls");
  if (calls == message->end()) return Status::Ok();
  if (calls->is_null() || (calls->is_array() && calls->empty())) {
    message->erase(calls);
    return Status::Ok();
  }
  if (!calls->is_array()) return Refusal(at, "tool_calls is no list");
  for (Json& call : *calls) {
    if (!call.is_object() || !call.contains("function") ||
        !call["function"].is_object() || !call["function"].contains("name") ||
        !call["function"]["name"].is_string()) {
      return Refusal(at, "a call names no function");
    }
    Json& arguments = call["function"]["arguments"];
    if (arguments.is_null()) arguments = Json::object();
    if (arguments.is_string() && abilities.object_arguments) {
      const std::string& text = arguments.get_ref<const std::string&>();
      Json parsed = text.empty() ? Json::object()
                                 : Json::parse(text, nullptr,
                                               /*allow_exceptions=*/false);
      // What is no object after all the template sees as it came.
      if (parsed.is_object()) arguments = std::move(parsed);
    } else if (!arguments.is_string() && !abilities.object_arguments) {
      arguments = PythonJson(arguments);
    }
  }
  return Status::Ok();
}

}  // namespace

TemplateAbilities ProbeTemplate(std::string_view template_text,
                                const ChatTemplateOptions& options) {
  Prober prober(template_text, options);
  TemplateAbilities abilities;
  const Json parts = Json::array({{{"type", "text"}, {"text", "probe-part"}}});
  const std::string part = prober.Render(Json::array({UserSays(parts)}));
  // A list that is written as a list was not understood.
  abilities.part_content = part.find("probe-part") != std::string::npos &&
                           part.find("'type'") == std::string::npos &&
                           part.find("\"type\"") == std::string::npos;
  abilities.text_content =
      !abilities.part_content ||
      prober.Shows(Json::array({UserSays("probe-text")}), "probe-text");
  const auto content = [&](const char* text) {
    return abilities.text_content
               ? Json(text)
               : Json::array({{{"type", "text"}, {"text", text}}});
  };
  const Json developer = {{"role", "developer"},
                          {"content", content("probe-developer")}};
  abilities.developer_role = prober.Shows(
      Json::array({developer, UserSays(content("x"))}), "probe-developer");
  ProbeCalls(&prober, &abilities);
  return abilities;
}

Result<Json> AdaptMessages(const Json& messages,
                           const TemplateAbilities& abilities) {
  if (!messages.is_array()) {
    return InvalidArgument("[chat_template] the messages are no list");
  }
  Json adapted = messages;
  for (size_t i = 0; i < adapted.size(); ++i) {
    Json& message = adapted[i];
    if (!message.is_object() || !message.contains("role") ||
        !message["role"].is_string()) {
      return Refusal(i, "there is no role");
    }
    if (message["role"] == "developer" && !abilities.developer_role) {
      message["role"] = "system";
    }
    try {
      RETURN_IF_ERROR(AdaptCalls(abilities, i, &message));
    } catch (const chat_template::TemplateError& error) {
      return Refusal(i, error.what());  // arguments that nest too deeply
    }
    RETURN_IF_ERROR(AdaptContent(abilities, i, &message));
  }
  return adapted;
}

}  // namespace intarsia
