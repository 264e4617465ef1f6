#include "intarsia/tokenizer/chat_template/messages.h"

#include <nlohmann/json.hpp>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace intarsia {
namespace {

using Json = nlohmann::ordered_json;
using ::testing::HasSubstr;

// Knows content as text, arguments as objects.
constexpr char kPlain[] =
    "{% for m in messages %}{{ '[' + m.role + ']' }}"
    "{% for c in m.tool_calls or [] %}{{ c.function.name }}"
    "{{ c.function.arguments|tojson }}{% endfor %}"
    "{{ m.content if m.content }}{% endfor %}";
// Adds up texts only: no parts, no null, arguments as text, no developers.
constexpr char kStrict[] =
    "{% for m in messages %}{% if m.role not in ['system', 'user', "
    "'assistant', 'tool'] %}{{ raise_exception('role') }}{% endif %}"
    "{{ m.role + ':' + m.content }}{% for c in m.tool_calls or [] %}"
    "{{ c.function.name + c.function.arguments }}{% endfor %};{% endfor %}";
// Knows content as parts only, and the role of developers.
constexpr char kParts[] =
    "{% for m in messages %}{{ m.role }}{% for p in m.content %}"
    "{{ '<image>' if p['type'] == 'image' else p['text'] }}{% endfor %}"
    "{% endfor %}";

std::string Rendered(const char* text, const Json& messages) {
  const auto adapted = AdaptMessages(messages, ProbeTemplate(text));
  if (!adapted.ok()) return adapted.status().message();
  const auto rendered = RenderChat(text, *adapted);
  return rendered.ok() ? *rendered : rendered.status().message();
}

Json Say(const char* role, Json content) {
  return {{"role", role}, {"content", std::move(content)}};
}

Json Call(Json arguments) {
  return {{"role", "assistant"},
          {"content", nullptr},
          {"tool_calls",
           Json::array(
               {{{"id", "1"},
                 {"type", "function"},
                 {"function",
                  {{"name", "f"}, {"arguments", std::move(arguments)}}}}})}};
}

TEST(ProbeTemplate, FindsWhatATemplateTakes) {
  const TemplateAbilities plain = ProbeTemplate(kPlain);
  EXPECT_TRUE(plain.text_content);
  EXPECT_FALSE(plain.part_content);
  EXPECT_TRUE(plain.developer_role);
  EXPECT_TRUE(plain.calls);
  EXPECT_TRUE(plain.object_arguments);
  EXPECT_TRUE(plain.null_content);
  const TemplateAbilities strict = ProbeTemplate(kStrict);
  EXPECT_TRUE(strict.text_content);
  EXPECT_FALSE(strict.part_content);
  EXPECT_FALSE(strict.developer_role);
  EXPECT_TRUE(strict.calls);
  EXPECT_FALSE(strict.object_arguments);
  EXPECT_FALSE(strict.null_content);
  const TemplateAbilities parts = ProbeTemplate(kParts);
  EXPECT_FALSE(parts.text_content);
  EXPECT_TRUE(parts.part_content);
  EXPECT_TRUE(parts.developer_role);
  EXPECT_FALSE(parts.calls);
  // Nothing can be found of what never renders.
  EXPECT_TRUE(ProbeTemplate("{{").text_content);
}

TEST(AdaptMessages, ArgumentsAreWhatTheTemplateReads) {
  const Json object = {{"a", Json::array({1, "é"})}};
  EXPECT_EQ(Rendered(kPlain, Json::array({Call(object)})),
            "[assistant]f{\"a\": [1, \"é\"]}");
  EXPECT_EQ(Rendered(kPlain, Json::array({Call("{\"a\":[1,\"é\"]}")})),
            "[assistant]f{\"a\": [1, \"é\"]}");
  EXPECT_EQ(Rendered(kPlain, Json::array({Call("")})), "[assistant]f{}");
  EXPECT_EQ(Rendered(kPlain, Json::array({Call(nullptr)})), "[assistant]f{}");
  EXPECT_EQ(Rendered(kPlain, Json::array({Call("not JSON")})),
            "[assistant]f\"not JSON\"");
  EXPECT_EQ(Rendered(kStrict, Json::array({Call(object)})),
            "assistant:f{\"a\": [1, \"é\"]};");
  EXPECT_EQ(Rendered(kStrict, Json::array({Call("{\"a\":1}")})),
            "assistant:f{\"a\":1};");
}

TEST(AdaptMessages, ContentIsTextOrParts) {
  const Json parts = Json::array({{{"type", "text"}, {"text", "one"}},
                                  {{"type", "text"}, {"text", "two"}}});
  EXPECT_EQ(Rendered(kPlain, Json::array({Say("user", parts)})),
            "[user]one\ntwo");
  EXPECT_EQ(Rendered(kParts, Json::array({Say("user", parts)})), "useronetwo");
  EXPECT_EQ(Rendered(kParts, Json::array({Say("user", "x"),
                                          Say("assistant", nullptr)})),
            "userxassistant");
  EXPECT_EQ(Rendered(kStrict,
                     Json::array({Say("developer", "x"), {{"role", "user"}}})),
            "system:x;user:;");
  const Json image =
      Json::array({{{"type", "image"}}, {{"type", "text"}, {"text", "x"}}});
  EXPECT_EQ(Rendered(kParts, Json::array({Say("user", image)})),
            "user<image>x");
  EXPECT_THAT(
      Rendered(kPlain, Json::array({Say("user", "x"), Say("user", image)})),
      HasSubstr("message 1: the model's template takes text only"));
}

TEST(AdaptMessages, KeepsWhatItDoesNotKnowAndDropsNoCalls) {
  Json message = Say("user", "x");
  message["name"] = "ada";
  message["tool_calls"] = Json::array();
  const auto adapted =
      AdaptMessages(Json::array({message}), TemplateAbilities());
  ASSERT_TRUE(adapted.ok());
  EXPECT_EQ((*adapted)[0]["name"], "ada");
  EXPECT_FALSE((*adapted)[0].contains("tool_calls"));
}

TEST(AdaptMessages, RefusesOtherShapesByTheNumberOfTheMessage) {
  const auto refused = [](const Json& messages, const char* why) {
    const auto adapted = AdaptMessages(messages, TemplateAbilities());
    ASSERT_FALSE(adapted.ok()) << messages;
    EXPECT_THAT(adapted.status().message(), HasSubstr(why));
  };
  refused(Json::object(), "no list");
  refused(Json::array({Say("user", "x"), "y"}), "message 1: there is no role");
  refused(Json::array({{{"content", "x"}}}), "message 0: there is no role");
  refused(Json::array({{{"role", 1}}}), "there is no role");
  refused(Json::array({Say("user", 5)}), "neither text nor a list");
  refused(Json::array({Say("user", Json::array({5}))}), "takes text only");
  Json message = Say("assistant", "x");
  message["tool_calls"] = "f";
  refused(Json::array({message}), "tool_calls is no list");
  for (const Json& call : {Json("f"), Json::object(), Json({{"function", "f"}}),
                           Json({{"function", {{"name", 1}}}})}) {
    message["tool_calls"] = Json::array({call});
    refused(Json::array({message}), "a call names no function");
  }
  Json deep = 1;
  for (int i = 0; i < 500; ++i) deep = Json::array({deep});
  TemplateAbilities text;
  text.object_arguments = false;
  EXPECT_FALSE(AdaptMessages(Json::array({Call(deep)}), text).ok());
}

}  // namespace
}  // namespace intarsia
