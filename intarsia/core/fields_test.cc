#include "intarsia/core/fields.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "intarsia/core/field_schema.h"
#include "intarsia/core/json_fields.h"

namespace intarsia {
namespace {

using Json = nlohmann::json;

struct Inner {
  bool enabled = true;
  double theta = 10;
  std::vector<float> factors;
  void Visit(Fields& f) {
    f.NumberOr("theta", &theta);
    f.NumbersOr("factors", &factors, 2, "a pair");
    f.RequireField(theta > 0, "theta", "positive");
  }
};

enum class Kind : uint8_t { kPlain, kSoft, kCut };
constexpr ChoiceName kKinds[] = {
    {"plain", Kind::kPlain}, {"soft", Kind::kSoft}, {"smooth", Kind::kSoft}};

struct Sample {
  int heads = 0, groups = 0, window = 0, cut = 0;
  float scale = 0, limit = std::numeric_limits<float>::infinity();
  bool wide = false, q = false, k = false;
  std::string name = "x";
  Kind kind = Kind::kSoft;
  std::optional<Kind> gate = Kind::kPlain;
  Inner inner;
  std::vector<int> ids;

  void Visit(Fields& f) {
    f.Int("heads", &heads, {1, 64});
    f.IntOr("groups", &groups, {1, 64}, heads, "heads");
    f.IntOr("window", &window, {1, 100});
    f.NumberOr("scale", &scale, 1.0 / std::sqrt(heads), "heads^-1/2");
    f.NumberOr("limit", &limit);
    f.BoolOr("wide", &wide);
    f.FlagsOr("bias", {{"q", &q}, {"k", &k}});
    f.StringOr("name", &name);
    f.ChoiceOrObject("kind", &kind, kKinds, Kind::kCut, [&](Fields& g) {
      g.Int("at", &cut, {0, 9});
    });
    f.Case(kind == Kind::kSoft, "kind is soft",
           [&](Fields& g) { g.ChoiceOrOff("gate", &gate, kKinds); });
    f.ObjectOrOff("inner", &inner, &Inner::enabled,
                  [&](Fields& g) { inner.Visit(g); });
    f.IdsOr("ids", &ids);
    f.Require(heads % groups == 0, "\"heads\" must be a multiple of groups");
  }
};

Sample Read(const char* text) {
  return ParseFields<Sample>(Json::parse(text), "room").value();
}

std::string Message(const char* text) {
  const auto read = ParseFields<Sample>(Json::parse(text), "room");
  return read.ok() ? "" : read.status().message();
}

Json Write(Sample sample) {
  return WriteFields([&](Fields& f) { sample.Visit(f); });
}

TEST(FieldsTest, AbsentAndNullFieldsKeepTheirDefaults) {
  for (const char* text :
       {R"({"heads": 4})", R"({"heads": 4, "groups": null, "window": null,
            "scale": null, "limit": null, "inner": null, "kind": null})"}) {
    const Sample s = Read(text);
    EXPECT_EQ(s.groups, 4);
    EXPECT_EQ(s.window, 0);
    EXPECT_EQ(s.scale, 0.5f);
    EXPECT_TRUE(std::isinf(s.limit));
    EXPECT_EQ(s.kind, Kind::kSoft);
    EXPECT_EQ(s.gate, Kind::kPlain);
    EXPECT_TRUE(s.inner.enabled);
    EXPECT_EQ(s.inner.theta, 10);
  }
}

TEST(FieldsTest, WhatIsWrittenReadsTheSame) {
  for (const char* text :
       {R"({"heads": 4})",
        R"({"heads": 6, "groups": 3, "window": 7, "scale": 0.1, "limit": 2,
               "wide": true, "bias": {"k": true}, "name": "y",
               "kind": "smooth", "gate": false,
               "inner": {"theta": 3, "factors": [1, 2.5]}, "ids": [3, 4]})",
        R"({"heads": 1, "bias": true, "kind": {"at": 5}, "inner": false,
               "ids": 7})"}) {
    const Json written = Write(Read(text));
    EXPECT_EQ(Write(Read(written.dump().c_str())), written) << text;
    const Json source = Json::parse(text);
    for (const auto& item : source.items()) {
      EXPECT_TRUE(written.contains(item.key())) << item.key();
    }
  }
  const Json written = Write(Read(R"({"heads": 6, "gate": "smooth"})"));
  EXPECT_EQ(written, Json::parse(R"({"heads": 6, "groups": 6,
      "scale": 0.40824830532073975, "wide": false,
      "bias": {"q": false, "k": false}, "name": "x", "kind": "soft",
      "gate": "soft", "inner": {"theta": 10.0}, "ids": []})"));
}

TEST(FieldsTest, FlagsAreOneOrMany) {
  const Sample all = Read(R"({"heads": 1, "bias": true})");
  EXPECT_TRUE(all.q && all.k);
  const Sample one = Read(R"({"heads": 1, "bias": {"k": true}})");
  EXPECT_TRUE(!one.q && one.k);
}

TEST(FieldsTest, MessagesNameTheField) {
  EXPECT_EQ(Message("{}"),
            "[room] \"heads\" is missing: a whole number in [1, 64]");
  EXPECT_EQ(Message(R"({"heads": 2, "window": 0})"),
            "[room] \"window\" must be a whole number in [1, 100], got 0");
  EXPECT_EQ(Message(R"({"heads": 3, "groups": 2})"),
            "[room] \"heads\" must be a multiple of groups");
  EXPECT_EQ(Message(R"({"heads": 2, "gate": "no"})"),
            "[room] \"gate\" must be \"plain\", \"soft\", \"smooth\" or false, "
            "got \"no\"");
  EXPECT_EQ(Message(R"({"heads": 2, "gate": 1})"),
            "[room] \"gate\" must be a string, got 1");
  EXPECT_EQ(Message(R"({"heads": 2, "kind": 1})"),
            "[room] \"kind\" must be \"plain\", \"soft\", \"smooth\" or an "
            "object, got 1");
  EXPECT_EQ(Message(R"({"heads": 2, "kind": {"at": 10}})"),
            "[room] \"kind.at\" must be a whole number in [0, 9], got 10");
  EXPECT_EQ(Message(R"({"heads": 2, "bias": 3})"),
            "[room] \"bias\" must be true, false or an object with booleans q, "
            "k, got 3");
  EXPECT_EQ(Message(R"({"heads": 2, "inner": {"theta": -1}})"),
            "[room] \"inner.theta\" must be positive, got -1");
  EXPECT_EQ(Message(R"({"heads": 2, "inner": {"factors": [1]}})"),
            "[room] \"inner.factors\" must be a list of 2 positive numbers, "
            "one a pair, got [1]");
  EXPECT_EQ(Message(R"({"heads": 2, "inner": 3})"),
            "[room] \"inner\" must be an object, got 3");
  EXPECT_EQ(Message(R"({"heads": 2, "inner": {"thetta": 1}})"),
            "[room] unknown field \"inner.thetta\"; there are factors, theta");
  // Of a kind that this configuration is not of.
  EXPECT_NE(Message(R"({"heads": 2, "kind": "plain", "gate": false})")
                .find("unknown field \"gate\""),
            std::string::npos);
}

struct Part {
  std::string mixer, config = "{}";
  int64_t window = 0;
  void Visit(Fields& f) {
    f.String("mixer", &mixer);
    f.Text("config", &config, "mixer");
    f.IntOr("window", &window, {1, 9});
  }
};

struct Whole {
  std::vector<Part> parts, more;
  std::vector<std::string> names;
  std::array<float, 2> pair = {1, 1};
  std::optional<double> factor;
  Inner inner;

  void Visit(Fields& f) {
    f.List("parts", &parts, {1, 3});
    f.List("more", &more, {0, 2});
    f.Names("names", &names, {0, 2});
    f.NumbersOr("pair", pair);
    f.OptionalNumber("factor", &factor);
    f.Object(f.Either("inner", "inside"), &inner);
  }
};

TEST(FieldsTest, ListsTextsAndOlderNames) {
  const auto parse = [](const char* text) {
    return ParseFields<Whole>(Json::parse(text), "room");
  };
  const auto whole = parse(R"({"parts": [{"mixer": "a"}, {"mixer": "b",
      "config": {"x": [1]}, "window": 4}], "names": ["n"], "pair": [-2, 0.5],
      "factor": 0, "inside": {"theta": 2}})");
  ASSERT_TRUE(whole.ok()) << whole.status().message();
  ASSERT_EQ(whole->parts.size(), 2u);
  EXPECT_EQ(whole->parts[0].config, "{}");
  EXPECT_EQ(whole->parts[1].config, R"({"x":[1]})");
  EXPECT_EQ(whole->parts[1].window, 4);
  EXPECT_EQ(whole->names, std::vector<std::string>{"n"});
  EXPECT_EQ(whole->pair, (std::array<float, 2>{-2, 0.5f}));
  EXPECT_EQ(whole->factor, 0.0);
  EXPECT_EQ(whole->inner.theta, 2);

  const auto message = [&](const char* text) {
    return parse(text).status().message();
  };
  EXPECT_EQ(message("{}"),
            "[room] \"parts\" is missing: a list of at least one entry");
  EXPECT_EQ(message(R"({"parts": [{"mixer": "a"}, {"mixer": 3}]})"),
            "[room] \"parts[1].mixer\" must be a string, got 3");
  EXPECT_EQ(message(R"({"parts": [{"mixer": "a", "config": 1}]})"),
            "[room] \"parts[0].config\" must be an object, got 1");
  EXPECT_EQ(message(R"({"parts": [{}, {}, {}, {}]})"),
            "[room] \"parts\" must be a list of 1 to 3 objects, got "
            "[{},{},{},{}]");
  EXPECT_EQ(message(R"({"parts": [{"mixer": "a"}], "names": ["n", 1]})"),
            "[room] \"names\" must be a list of names, got [\"n\",1]");
  EXPECT_EQ(message(R"({"parts": [{"mixer": "a"}], "pair": [1]})"),
            "[room] \"pair\" must be a list of 2 numbers, got [1]");
  EXPECT_EQ(message(R"({"parts": [{"mixer": "a"}], "inner": {},
                        "inside": {}})"),
            "[room] \"inside\" must be absent beside \"inner\", of which it is "
            "an older name, got {}");
}

TEST(FieldsTest, OnlyWhatChangesSomethingIsWritten) {
  const auto shortest = [](const char* text) {
    Sample read = Read(text), fresh;
    return WriteChanged([&](Fields& f) { read.Visit(f); },
                        [&](Fields& f) { fresh.Visit(f); });
  };
  // Whose default others decide is always written.
  Json want = {{"heads", 4}, {"groups", 4}, {"scale", 0.5}};
  EXPECT_EQ(shortest(R"({"heads": 4, "wide": false, "name": "x",
      "inner": {"theta": 10}, "kind": "smooth", "gate": "plain",
      "bias": false, "ids": []})"),
            want);
  want["bias"] = {{"q", false}, {"k", true}};
  want["gate"] = false;
  want["inner"] = {{"theta", 3.0}};
  want["name"] = "y";
  EXPECT_EQ(shortest(R"({"heads": 4, "bias": {"k": true}, "gate": false,
      "inner": {"theta": 3}, "name": "y"})"),
            want);
  want = {{"heads", 4},
          {"groups", 4},
          {"scale", 0.5},
          {"kind", {{"at", 5}}},
          {"inner", false}};
  EXPECT_EQ(shortest(R"({"heads": 4, "kind": {"at": 5}, "inner": false})"),
            want);

  Whole whole, fresh;
  whole.parts = {{.mixer = "a"}, {.mixer = "b", .window = 3}};
  EXPECT_EQ(WriteChanged([&](Fields& f) { whole.Visit(f); },
                         [&](Fields& f) { fresh.Visit(f); }),
            Json::parse(R"({"parts": [{"mixer": "a"},
                                      {"mixer": "b", "window": 3}]})"));
}

TEST(FieldsTest, SchemaShowsDefaultsAndRanges) {
  const Json schema = FieldSchema([](Fields& f) { Sample().Visit(f); });
  EXPECT_EQ(schema["required"], Json::array({"heads"}));
  EXPECT_EQ(schema["additionalProperties"], false);
  const Json& of = schema["properties"];
  const auto is = [&](const char* name, const char* text) {
    EXPECT_EQ(of.at(name), Json::parse(text)) << name;
  };
  is("heads", R"({"type": "integer", "minimum": 1, "maximum": 64})");
  is("groups", R"({"type": "integer", "minimum": 1, "maximum": 64,
                   "x-default": "heads"})");
  is("window", R"({"type": "integer", "minimum": 1, "maximum": 100})");
  is("limit", R"({"type": "number"})");
  is("scale", R"({"type": "number", "x-default": "heads^-1/2"})");
  is("gate", R"({"enum": ["plain", "soft", "smooth", false],
                 "default": "plain", "x-when": "kind is soft"})");
  EXPECT_EQ(of["kind"]["anyOf"][0]["enum"].size(), 3u);
  EXPECT_EQ(of["kind"]["anyOf"][1]["properties"]["at"]["maximum"], 9);
  EXPECT_EQ(of["kind"]["default"], "soft");
  EXPECT_EQ(of["bias"]["anyOf"][1]["properties"].size(), 2u);
  EXPECT_EQ(of["inner"]["anyOf"][1]["properties"]["theta"]["default"], 10);
  EXPECT_EQ(of["inner"]["default"], Json::object());

  const Json whole = FieldSchema([](Fields& f) { Whole().Visit(f); });
  EXPECT_EQ(whole["required"], Json::array({"parts"}));
  const Json& parts = whole["properties"]["parts"];
  EXPECT_EQ(parts["minItems"], 1);
  EXPECT_EQ(parts["maxItems"], 3);
  EXPECT_EQ(parts["items"]["required"], Json::array({"mixer"}));
  EXPECT_EQ(parts["items"]["allOf"][0]["$ref"], "#/$defs/mixer");
  EXPECT_EQ(whole["properties"]["pair"]["default"], Json::parse("[1, 1]"));
}

}  // namespace
}  // namespace intarsia
