#include "intarsia/core/json_reader.h"

#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <nlohmann/json.hpp>

namespace intarsia {
namespace {

using Json = nlohmann::json;

// The message after `read` has asked for the fields of `text`.
std::string Message(const char* text,
                    const std::function<void(JsonReader*)>& read,
                    const JsonPlace& place = {}) {
  const Json json = Json::parse(text);
  JsonReader reader(json, "room", place);
  read(&reader);
  return reader.status().message();
}

TEST(JsonReader, ReadsEveryType) {
  const Json json = Json::parse(
      R"({"heads": 8, "low": -3, "eps": 1e-6, "whole": 2, "on": true,
          "name": "silu", "sub": {"a": 1}, "list": [1], "id": 7,
          "ids": [2, 3, -1]})");
  JsonReader reader(json, "room");
  EXPECT_EQ(reader.Int("heads", 1, 8), 8);
  EXPECT_EQ(reader.IntOr("low", 0, -3, 0), -3);
  EXPECT_EQ(reader.NumberOr("eps", 0), 1e-6);
  EXPECT_EQ(reader.NumberOr("whole", 0), 2.0);
  EXPECT_TRUE(reader.BoolOr("on", false));
  EXPECT_EQ(reader.String("name"), "silu");
  EXPECT_EQ(reader.StringOr("name", "relu"), "silu");
  EXPECT_EQ(reader.ObjectOr("sub"), Json({{"a", 1}}));
  ASSERT_NE(reader.List("list"), nullptr);
  EXPECT_EQ(*reader.List("list"), Json({1}));
  EXPECT_EQ(reader.Ids("id"), std::vector<int>({7}));
  EXPECT_EQ(reader.Ids("ids"), std::vector<int>({2, 3, -1}));
  EXPECT_TRUE(reader.Finish().ok()) << reader.status().message();
  EXPECT_TRUE(reader.Unread().empty());
}

TEST(JsonReader, AbsentAndNullFieldsLeaveTheFallback) {
  for (const char* text :
       {"{}", R"({"i": null, "n": null, "b": null, "s": null, "o": null,
                  "ids": null, "e": null})"}) {
    const Json json = Json::parse(text);
    JsonReader reader(json, "room");
    EXPECT_EQ(reader.IntOr("i", -9, 1, 4), -9);  // outside of its range
    EXPECT_EQ(reader.NumberOr("n", 0.5), 0.5);
    EXPECT_TRUE(reader.BoolOr("b", true));
    EXPECT_EQ(reader.StringOr("s", "x"), "x");
    EXPECT_EQ(reader.ObjectOr("o"), Json::object());
    EXPECT_TRUE(reader.Ids("ids").empty());
    EXPECT_EQ(reader.Find("i"), nullptr);
    reader.Expect("e", 3);
    EXPECT_TRUE(reader.Finish().ok()) << reader.status().message();
  }
}

TEST(JsonReader, WrongTypesSayWhatIsWantedAndWhatIsThere) {
  using R = JsonReader;
  EXPECT_EQ(Message(R"({"a": "x"})", [](R* r) { r->Int("a", 1, 65536); }),
            "[room] \"a\" must be a whole number in [1, 65536], got \"x\"");
  EXPECT_EQ(Message("{}", [](R* r) { r->Int("a", 1, 2); }),
            "[room] \"a\" is missing: a whole number in [1, 2]");
  EXPECT_EQ(Message(R"({"a": "1e4"})", [](R* r) { r->NumberOr("a", 0); }),
            "[room] \"a\" must be a finite number, got \"1e4\"");
  EXPECT_EQ(Message(R"({"a": 1})", [](R* r) { r->BoolOr("a", true); }),
            "[room] \"a\" must be true or false, got 1");
  EXPECT_EQ(Message(R"({"a": []})", [](R* r) { r->StringOr("a", ""); }),
            "[room] \"a\" must be a string, got []");
  EXPECT_EQ(Message(R"({"a": 2})", [](R* r) { r->String("a"); }),
            "[room] \"a\" must be a string, got 2");
  EXPECT_EQ(Message("{}", [](R* r) { r->String("a"); }),
            "[room] \"a\" is missing: a string");
  EXPECT_EQ(Message(R"({"a": 2})", [](R* r) { r->ObjectOr("a"); }),
            "[room] \"a\" must be an object, got 2");
  EXPECT_EQ(Message(R"({"a": []})", [](R* r) { r->List("a"); }),
            "[room] \"a\" must be a list of at least one entry, got []");
  EXPECT_EQ(Message("{}", [](R* r) { r->List("a"); }),
            "[room] \"a\" is missing: a list of at least one entry");
  EXPECT_EQ(Message(R"({"a": [1, "b"]})", [](R* r) { r->Ids("a"); }),
            "[room] \"a[1]\" must be a whole number in [-1, 2147483647], got "
            "\"b\"");
  EXPECT_EQ(Message("[1]", [](R* r) { r->Int("a"); }),
            "[room] the configuration must be an object, got [1]");
}

TEST(JsonReader, WholeNumbersDoNotWrapRoundOrTruncate) {
  for (const char* text :
       {R"({"a": 18446744073709551615})", R"({"a": 9223372036854775808})",
        R"({"a": 4294967297})", R"({"a": -9223372036854775808})",
        R"({"a": 1e300})", R"({"a": 1.5})", R"({"a": 2.0})", R"({"a": true})",
        R"({"a": 0})", R"({"a": 11})"}) {
    const Json json = Json::parse(text);
    JsonReader reader(json, "room");
    EXPECT_EQ(reader.Int("a", 1, 10), 1) << text;  // safe to divide by
    EXPECT_FALSE(reader.status().ok()) << text;
  }
  const Json infinite = {{"a", std::numeric_limits<double>::infinity()}};
  JsonReader reader(infinite, "room");
  EXPECT_EQ(reader.NumberOr("a", 2.0), 2.0);
  EXPECT_EQ(reader.status().message(),
            "[room] \"a\" must be a finite number, got inf");
}

TEST(JsonReader, MessagesAreShortPrintableText) {
  const std::string name(3, '\x01');
  Json json = {{"a", std::string(5000, 'x')}, {name, "\xff\x1b[2J"}};
  JsonReader first(json, "room");
  first.Int("a");
  EXPECT_LT(first.status().message().size(), 120u);
  JsonReader second(json, "room");
  second.StringOr("a", "");
  second.Int(name);
  for (char c : second.status().message()) {
    EXPECT_TRUE(c >= ' ' && c < 127) << second.status().message();
  }
  JsonReader third(json, "room");
  third.Find("a");
  const Status unknown = third.Finish();
  EXPECT_FALSE(unknown.ok());
  for (char c : unknown.message()) EXPECT_TRUE(c >= ' ' && c < 127);
}

TEST(JsonReader, KeepsTheFirstFault) {
  const Json json = Json::parse(R"({"a": "x", "b": "y", "c": 1})");
  JsonReader reader(json, "room");
  reader.Int("a");
  reader.Int("b");
  reader.Require(false, "a and b disagree");
  EXPECT_EQ(reader.Take(Result<int>(NotFound("no such thing")), 4), 4);
  EXPECT_EQ(reader.Finish().message(),
            "[room] \"a\" must be a whole number in [1, 16777216], got \"x\"");
}

TEST(JsonReader, RulesAndResults) {
  using R = JsonReader;
  EXPECT_EQ(Message("{}", [](R* r) { r->Require(true, "never"); }), "");
  EXPECT_EQ(Message("{}", [](R* r) { r->Require(false, "a < b"); }),
            "[room] a < b");
  EXPECT_EQ(
      Message(R"({"a": 3})", [](R* r) { r->RequireField(false, "a", "even"); }),
      "[room] \"a\" must be even, got 3");
  EXPECT_EQ(Message("{}", [](R* r) { r->RequireField(false, "a", "even"); }),
            "[room] \"a\" must be even, and is absent");
  const Json json = Json::parse(R"({"act": "sulu"})");
  JsonReader reader(json, "room");
  EXPECT_EQ(reader.Take(Result<int>(7), 4), 7);
  EXPECT_TRUE(reader.status().ok());
  EXPECT_EQ(reader.Take(Result<int>(NotFound("[other] no \"sulu\"")), 4), 4);
  EXPECT_EQ(reader.status().code(), StatusCode::kNotFound);
  EXPECT_EQ(reader.status().message(), "[other] no \"sulu\"");
}

TEST(JsonReader, OtherValuesOfExpectedFieldsAreUnsupported) {
  const Json json = Json::parse(R"({"act": "gelu", "bias": false, "n": 4})");
  JsonReader reader(json, "room");
  reader.Expect("bias", false);
  reader.Expect("n", 4);
  reader.Expect("absent", 1);
  EXPECT_TRUE(reader.status().ok());
  reader.Expect("act", "silu");
  EXPECT_EQ(reader.status().code(), StatusCode::kUnsupported);
  EXPECT_EQ(reader.status().message(),
            "[room] \"act\": \"gelu\" is not supported (only \"silu\")");
}

TEST(JsonReader, UnreadFieldsAreRefusedOrListed) {
  const Json json =
      Json::parse(R"({"heads": 1, "hedas": 2, "old": 3, "nothing": null})");
  JsonReader reader(json, "room");
  reader.Int("heads");
  reader.Ignore({"old"});
  EXPECT_EQ(reader.Unread(), std::vector<std::string>({"hedas"}));
  EXPECT_TRUE(reader.status().ok());
  EXPECT_EQ(reader.Finish().message(),
            "[room] unknown field \"hedas\"; there are heads, old");
}

TEST(JsonReader, PathAndKeyPrefix) {
  using R = JsonReader;
  const JsonPlace rope = {.path = "rope"};
  EXPECT_EQ(Message(R"({"dim": 3})",
                    [](R* r) { r->RequireField(false, "dim", "even"); }, rope),
            "[room] \"rope.dim\" must be even, got 3");
  EXPECT_EQ(Message(
                "3", [](R*) {}, rope),
            "[room] \"rope\" must be an object, got 3");
  const Json json = Json::parse(
      R"({"llama.heads": 4, "llama.extra": 1, "gpt2.heads": 5, "heads": 6})");
  JsonReader reader(json, "room", {.key_prefix = "llama."});
  EXPECT_EQ(reader.Int("heads"), 4);
  EXPECT_EQ(reader.Unread(), std::vector<std::string>({"extra"}));
  EXPECT_EQ(reader.Finish().message(),
            "[room] unknown field \"llama.extra\"; there are heads");
  JsonReader again(json, "room", {.key_prefix = "llama."});
  again.Int("layers", 1, 9);
  EXPECT_EQ(again.status().message(),
            "[room] \"llama.layers\" is missing: a whole number in [1, 9]");
}

}  // namespace
}  // namespace intarsia
