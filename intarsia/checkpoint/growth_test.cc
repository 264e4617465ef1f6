// Time and memory of the readers of checkpoints at 1 and 4 MB.
#include "intarsia/core/growth_testing.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "intarsia/checkpoint/checkpoint.h"
#include "intarsia/checkpoint/json_input.h"
#include "intarsia/checkpoint/test_files.h"

namespace intarsia {
namespace {

using ::testing::HasSubstr;

// One more than there can be, so that the shapes and not the limit are seen.
constexpr size_t kAll = size_t{1} << 24;

void ReadJson(const std::string& text) {
  const auto json =
      ParseJson(text, "[t] f:", {.non_finite = true, .values = kAll});
  ASSERT_TRUE(json.ok()) << json.status().message();
}

void RefuseJson(const std::string& text) {
  const auto json = ParseJson(text, "[t] f:", {.non_finite = true});
  ASSERT_FALSE(json.ok());
  EXPECT_LT(json.status().message().size(), 400u);
}

void ExpectJson(const std::string& name, const std::string& head,
                const std::string& item, const std::string& tail, double memory,
                const std::string& between = ",") {
  ExpectLinear(
      "JSON: " + name,
      [&](size_t bytes) { return Repeated(head, item, tail, bytes, between); },
      ReadJson, {.memory = memory});
}

TEST(JsonGrowth, Trees) {
  ExpectJson("members", "{", R"("k#":#)", "}", 12);
  ExpectJson("members that are objects", "{", R"("k#":{})", "}", 16);
  ExpectJson("members that are arrays", "{", R"("k#":[])", "}", 16);
  ExpectJson("members that share a long start", "{",
             "\"" + std::string(1000, 'k') + R"(#":0)", "}", 8);
  ExpectJson("numbers", "[", "0", "]", 32);
  ExpectJson("empty strings", "[", "\"\"", "]", 32);
  ExpectJson("empty arrays", "[", "[]", "]", 32);
  ExpectJson("objects of one member", "[", R"({"":0})", "]", 32);
  ExpectJson("escapes", "\"", "\\u00e9", "\"", 8, "");
  ExpectJson("pairs of escapes", "\"", "\\ud83d\\ude00", "\"", 8, "");
  ExpectJson("a fraction", "0.", "3", "", 8, "");
  ExpectJson("non-finite numbers", "[", "NaN", "]", 16);
  ExpectJson("floats as objects", "[", R"({"__float__":"NaN"})", "]", 32);
  ExpectJson("white space", "[0", "\n \t", "]", 8, "");
  ExpectJson("nests of sixty", "[",
             std::string(60, '[') + "0" + std::string(60, ']'), "]", 32);
}

TEST(JsonGrowth, Refusals) {
  const auto expect = [](const std::string& name, const std::string& head,
                         const std::string& item, const std::string& between) {
    ExpectLinear(
        "not JSON: " + name,
        [&](size_t bytes) { return Repeated(head, item, "", bytes, between); },
        RefuseJson, {.memory = 16});
  };
  expect("open brackets", "", "[", "");
  expect("an open string", "\"", "a", "");
  expect("an open string of escapes", "\"", "\\u0001", "");
  expect("new lines", "", "\n", "");
  expect("a word", "", "x", "");
  expect("digits", "", "1", "");
  expect("empty arrays without an end", "[", "[]", ",\n");
  expect("a key twice at the end", "[{\"a\":0,\"a\":0},", "0", ",");
}

TEST(JsonGrowth, MoreValuesThanAllowed) {
  const std::string text = Repeated("[", "0", "]", 1000);
  const auto json = ParseJson(text, "[t] f:", {.values = 100});
  ASSERT_FALSE(json.ok());
  EXPECT_THAT(json.status().message(),
              HasSubstr("[t] f: holds more than 100 values (at byte 20"));
}

// Parts and members are read without a tree of them.
TEST(JsonGrowth, PartsAreNotKept) {
  ExpectLinear(
      "JSON: a part, member by member",
      [](size_t bytes) {
        return Repeated(R"({"a":{"b":{)", R"("k#":#)", "},\"c\":1}}", bytes);
      },
      [](const std::string& text) {
        JsonPart part{{"a", "b"}};
        const auto json = ParseJson(text, "[t] f:", {}, {&part, 1});
        ASSERT_TRUE(json.ok()) << json.status().message();
        EXPECT_EQ(json->dump(), R"({"a":{"b":null,"c":1}})");
        int64_t sum = 0, count = 0;
        const Status status = VisitJson(
            part.text, "[t] f:", {}, [&](std::string* key, auto* value) {
              EXPECT_EQ(*key, "k" + std::to_string(count));
              sum += value->template get<int64_t>();
              ++count;
              return Status::Ok();
            });
        EXPECT_TRUE(status.ok()) << status.message();
        EXPECT_EQ(sum, count * (count - 1) / 2);
      },
      {.memory = 0.1});
}

TEST(JsonParts, Places) {
  const std::string text =
      R"( {"a":[{"m":[9]}, "x"] , "m" : [1, {"v":{}}],"o":{"v":3,"w":[]}} )";
  JsonPart parts[] = {{{"m"}}, {{"o", "v"}}, {{"o", "w"}}, {{"o"}, "old"}};
  const auto json = ParseJson(text, "[t] f:", {}, std::span(parts).first(3));
  ASSERT_TRUE(json.ok()) << json.status().message();
  EXPECT_EQ(parts[0].text, R"([1, {"v":{}}])");
  EXPECT_EQ(parts[1].text, "");  // neither an object nor an array
  EXPECT_EQ(parts[2].text, "[]");
  EXPECT_EQ(json->dump(),
            R"({"a":[{"m":[9]},"x"],"m":null,"o":{"v":3,"w":null}})");
  // What a part holds is checked with the rest.
  JsonPart part{{"m"}};
  for (const char* bad : {R"({"m":[1,}]})", R"({"m":[1)", R"({"m":[[[1]]]})"}) {
    EXPECT_FALSE(ParseJson(bad, "[t] f:", {.depth = 3}, {&part, 1}).ok())
        << bad;
  }
}

TEST(JsonParts, Visits) {
  std::string seen;
  const auto visit = [&](std::string* key, nlohmann::json* value) {
    seen += *key + "=" + value->dump() + ";";
    return *value == 3 ? DataLoss("[t] three") : Status::Ok();
  };
  const auto run = [&](const std::string& text, size_t values = 100) {
    seen.clear();
    return VisitJson(text, "[t] f:", {.non_finite = true, .values = values},
                     visit);
  };
  EXPECT_TRUE(run(R"({"b":1,"a":{"x":[{}]},"a":[]})").ok());
  EXPECT_EQ(seen, R"(b=1;a={"x":[{}]};a=[];)");
  EXPECT_TRUE(run(R"([1,[2],{"__float__":"NaN"},"s"])").ok());
  EXPECT_EQ(seen, R"(=1;=[2];=null;="s";)");
  EXPECT_EQ(run("[1,3,4]").message(), "[t] three");
  EXPECT_EQ(seen, "=1;=3;");
  EXPECT_FALSE(run("7").ok());
  EXPECT_FALSE(run("[1,2").ok());
  EXPECT_FALSE(run("[[1,2,3]]", 3).ok());
  EXPECT_TRUE(run("[[1,2],[1,2],[1,2]]", 4).ok());
  EXPECT_TRUE(run("[]").ok() && seen.empty());
}

TEST(JsonPlaces, ByteAndLine) {
  const auto message = [](const std::string& text) {
    return ParseJson(text, "[t] f:").status().message();
  };
  EXPECT_THAT(message("{\n \"a\": nul}"),
              HasSubstr("is not JSON: syntax error while parsing value"));
  EXPECT_THAT(message("{\n \"a\": nul}"), HasSubstr("(at byte 12, line 2)"));
  EXPECT_THAT(message("{\"a\":1,\n\n\"a\":2}"),
              HasSubstr("gives \"a\" twice (at byte 12, line 3)"));
  EXPECT_THAT(message(std::string("{\"a\":\0}", 7)), HasSubstr("at byte 5"));
}

}  // namespace
}  // namespace intarsia
