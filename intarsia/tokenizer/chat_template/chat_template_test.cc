#include "intarsia/tokenizer/chat_template/chat_template.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>

#include "intarsia/tokenizer/chat_template/builtins.h"
#include "intarsia/tokenizer/test_data.h"

namespace intarsia {

bool FuzzChatTemplate(std::string_view input);  // fuzz/targets.def

namespace {

using Json = nlohmann::ordered_json;
using ::testing::EndsWith;
using ::testing::HasSubstr;

// The clock of the recordings: Saturday, 26 July 2025, 13:05:09.
std::tm Clock() {
  std::tm now{};
  now.tm_year = 125;
  now.tm_mon = 6;
  now.tm_mday = 26;
  now.tm_hour = 13;
  now.tm_min = 5;
  now.tm_sec = 9;
  now.tm_wday = 6;
  now.tm_yday = 206;
  return now;
}

// The message of a raise_exception that jinja2 reported; empty if it was
// another refusal.
std::string Raised(const std::string& error) {
  const std::string kind = "TemplateError: ";
  return error.compare(0, kind.size(), kind) == 0 ? error.substr(kind.size())
                                                  : "";
}

// What tests/chat_templates/record_templates.py wrote.
struct Recordings {
  Recordings() {
    for (Json& record : ReadRecords("chat.jsonl.gz")) {
      if (record.contains("template")) {
        renderings.push_back(std::move(record));
      } else if (record.contains("constructs")) {
        constructs = std::move(record["constructs"]);
      } else {
        variables = std::move(record["variables"]);
      }
    }
  }
  Json variables, constructs;
  std::vector<Json> renderings;
};

TEST(Recorded, EveryTemplateEqualsJinja2) {
  const Recordings recorded;
  ChatTemplateOptions options;
  options.now = Clock();
  int rendered = 0, refused = 0;
  for (const Json& record : recorded.renderings) {
    const auto text = RenderTemplate(
        record["template"].get<std::string>(),
        recorded.variables[record["variables"].get<std::string>()], options);
    if (record.contains("error")) {
      ASSERT_FALSE(text.ok()) << record["name"] << " " << record["error"];
      EXPECT_THAT(text.status().message(),
                  EndsWith(Raised(record["error"].get<std::string>())))
          << record["name"];
      ++refused;
    } else {
      ASSERT_TRUE(text.ok()) << record["name"] << text.status().message();
      EXPECT_EQ(*text, record["text"].get<std::string>()) << record["name"];
      ++rendered;
    }
  }
  std::printf("equal to jinja2: %d renderings, %d refusals, %zu constructs\n",
              rendered, refused, recorded.constructs.size());
  EXPECT_GE(rendered, 1200);
  EXPECT_GE(refused, 400);
}

TEST(Recorded, EveryBuiltinOccurs) {
  const Recordings recorded;
  std::vector<std::string> names;
  const auto add = [&](const char* what, const std::vector<std::string>& all) {
    for (const std::string& name : all) {
      names.push_back(std::string(what) + " " + name);
    }
  };
  add("filter", chat_template::FilterNames());
  add("method", chat_template::StringMethodNames());
  add("method", {"get", "items", "keys", "values", "copy"});
  add("function", {"range", "dict", "namespace", "cycler", "joiner",
                   "raise_exception", "strftime_now", "loop"});
  add("statement",
      {"if",        "elif",           "if else",       "for",
       "for else",  "for if",         "for recursive", "for unpacking",
       "break",     "continue",       "set",           "set block",
       "macro",     "macro defaults", "call",          "filter block",
       "with",      "print",          "raw",           "comment",
       "generation"});
  for (const std::string& test : chat_template::TestNames()) {
    if (std::isalpha(static_cast<unsigned char>(test[0]))) {
      names.push_back("test " + test);
    }
  }
  for (const char* name :
       {"index", "index0", "revindex", "revindex0", "first", "last", "length",
        "depth", "depth0", "previtem", "nextitem", "cycle", "changed"}) {
    names.push_back(std::string("loop.") + name);
  }
  for (const std::string& name : names) {
    EXPECT_GE(recorded.constructs.value(name, 0), 3) << name;
  }
}

TEST(Refused, WhatJinja2KnowsAndWeDoNotIsNamed) {
  const auto message = [](const std::string& text) {
    return RenderTemplate(text, Json::object()).status().message();
  };
  for (const char* filter :
       {"pprint", "random", "striptags", "urlize", "wordwrap"}) {
    EXPECT_EQ(message(std::string("{{ 'x'|") + filter + " }}"),
              std::string("[chat_template] line 1: the filter '") + filter +
                  "' is not supported");
  }
  for (const char* tag : {"block", "extends", "include", "import", "from",
                          "autoescape", "trans", "do"}) {
    EXPECT_THAT(message(std::string("{% ") + tag + " x %}"),
                HasSubstr(std::string("'") + tag + "'"));
  }
  EXPECT_THAT(message("{{ lipsum() }}"), HasSubstr("'lipsum' is undefined"));
  EXPECT_THAT(message("{{ 'x'.encode() }}"),
              HasSubstr("'encode' is undefined"));
}

TEST(RenderChat, GivesTemplatesWhatTransformersGives) {
  const Json messages = {{{"role", "user"}, {"content", "hi"}}};
  ChatTemplateOptions options;
  options.extra["bos_token"] = "<s>";
  const char* text =
      "{{ bos_token }}{{ messages[0].content }}{{ tools is none }}"
      "{{ documents is none }}{{ add_generation_prompt }}{{ eos_token }}";
  EXPECT_EQ(RenderChat(text, messages, options).value(), "<s>hiTrueTrueTrue");
  options.tools = {{{"name", "f"}}};
  options.add_generation_prompt = false;
  EXPECT_EQ(RenderChat(text, messages, options).value(), "<s>hiFalseTrueFalse");
  EXPECT_FALSE(RenderChat(text, Json::object(), options).ok());
  EXPECT_FALSE(RenderTemplate(text, Json::array(), options).ok());
}

TEST(Errors, NameTheLine) {
  const auto message = [](const char* text) {
    return RenderTemplate(text, Json::object()).status().message();
  };
  EXPECT_EQ(message("a\nb\n{{ raise_exception('no') }}"),
            "[chat_template] line 3: no");
  EXPECT_THAT(message("\n{% if x %}\n"), HasSubstr("line 2"));
  EXPECT_THAT(message("{{ x.y }}"), HasSubstr("'x' is undefined"));
  EXPECT_THAT(message("{{ 1|nosuch }}"), HasSubstr("No filter named 'nosuch'"));
  EXPECT_THAT(message("\xff"), HasSubstr("UTF-8"));
}

TEST(Limits, StopWorkDepthAndSize) {
  ChatTemplateOptions options;
  options.limits.steps = 200000;
  options.limits.output_bytes = 10000;
  options.limits.list_items = 1000;
  const auto refused = [&](const std::string& text, const char* why) {
    const auto result = RenderTemplate(text, Json::object(), options);
    ASSERT_FALSE(result.ok()) << text.substr(0, 80);
    EXPECT_THAT(result.status().message(), HasSubstr(why));
  };
  const auto repeat = [](const std::string& unit, int times) {
    std::string text;
    for (int i = 0; i < times; ++i) text += unit;
    return text;
  };
  refused(
      "{% for i in range(1000) %}{% for j in range(1000) %}{% endfor %}"
      "{% endfor %}",
      "too much work");
  refused("{% for i in range(999) %}xxxxxxxxxxxxxxxxxxxx{% endfor %}",
          "output is too long");
  refused("{{ 'x' * 100000 }}", "too long");
  refused("{{ [1] * 100000 }}", "too long");
  refused("{{ range(100000) }}", "too long");
  refused(
      "{% set ns = namespace(s='x') %}{% for i in range(40) %}"
      "{% set ns.s = ns.s + ns.s %}{% endfor %}",
      "too long");
  refused(
      "{% set ns = namespace(l=[]) %}{% for i in range(500) %}"
      "{% set ns.l = [ns.l] %}{% endfor %}",
      "too deep");
  refused(
      "{% set ns = namespace(f='x') %}{% for i in range(500) %}"
      "{% set ns.f = [ns.f].index %}{% endfor %}",
      "too deep");
  refused(
      "{% set ns = namespace(l=['x']) %}{% for i in range(60) %}"
      "{% set ns.l = [ns.l, ns.l] %}{% endfor %}{{ ns.l }}",
      "too large");
  refused(
      "{% set s = ' ' * 9999 %}{% for i in range(900) %}"
      "{{ s.strip() }}{{ s == s }}{% endfor %}",
      "too much work");
  refused("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "too deeply");
  refused("{{ " + repeat("(", 5000) + repeat(")", 5000) + " }}", "too deeply");
  refused("{{ " + repeat("-", 5000) + "1 }}", "too deeply");
  refused("{{ " + repeat("not ", 5000) + "1 }}", "too deeply");
  refused("{{ 1" + repeat("+1", 5000) + " }}", "too long");
  refused("{{ x" + repeat(".x", 5000) + " }}", "too long");
  refused("{{ x" + repeat("|d", 5000) + " }}", "too long");
  refused(repeat("{% if 1 %}", 5000), "too deeply");
  refused("{{ '%999999d' % 1 }}", "too large");
  refused("{{ 9223372036854775807 + 1 }}", "too large");
  refused("{{ 10 ** 100 }}", "too large");
  refused("{{ 99999999999999999999 }}", "too large");
  refused("{{ strftime_now('%99999Y') }}", "width");
  Json deep = 1;
  for (int i = 0; i < 500; ++i) deep = Json::array({deep});
  EXPECT_FALSE(RenderTemplate("", {{"deep", deep}}, options).ok());
}

TEST(Values, CirclesOfNamespacesAreFreed) {
  // The leak checker of a sanitizer build watches this one.
  const auto text = RenderTemplate(
      "{% set a = namespace() %}{% set b = namespace(a=a) %}{% set a.b = b %}"
      "{% set a.self = [a] %}{% macro m() %}{{ a.b.a.x }}{% endmacro %}"
      "{% set a.m = m %}{% set a.x = 'ok' %}{{ m() }}",
      Json::object());
  ASSERT_TRUE(text.ok()) << text.status().message();
  EXPECT_EQ(*text, "ok");
}

// A short, repeatable stand-in for the fuzzer: random edits of the recorded
// templates.
TEST(Fuzz, EditedTemplatesNeverCrash) {
  std::vector<std::string> seeds;
  for (const Json& record : Recordings().renderings) {
    seeds.push_back(record["template"].get<std::string>());
  }
  const std::string tokens[] = {"{{",   "}}",  "{%",   "%}",     "|", ".",
                                "(",    ")",   "[",    "]",      "'", "loop",
                                "for ", " in", " if ", "endfor", "-", "~",
                                "ns",   "**",  "1",    "\n",     ":", ","};
  std::mt19937 random(11);
  for (int round = 0; round < 4000; ++round) {
    std::string text = seeds[random() % seeds.size()];
    const int edits = 1 + static_cast<int>(random() % 5);
    for (int i = 0; i < edits && !text.empty(); ++i) {
      const size_t at = random() % text.size();
      switch (random() % 4) {
        case 0:
          text[at] = static_cast<char>(random() % 128);
          break;
        case 1:
          text.erase(at, random() % 12);
          break;
        case 2:
          text.insert(at, tokens[random() % std::size(tokens)]);
          break;
        default: {
          const std::string& other = seeds[random() % seeds.size()];
          text.insert(at, other.substr(random() % other.size(), random() % 40));
        }
      }
    }
    FuzzChatTemplate(text);
  }
}

}  // namespace
}  // namespace intarsia
