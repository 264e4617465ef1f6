// Time and memory of the readers of checkpoints at 1 and 4 MB.
#include "intarsia/core/growth_testing.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <span>

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

// ---- Checkpoints: each reader on the smallest entries that it takes.

std::shared_ptr<const MappedFile> File(const std::string& bytes) {
  return MappedFile::OfBytes("f", std::as_bytes(std::span(bytes)));
}

void ExpectFile(
    const std::string& name, const std::function<std::string(size_t)>& make,
    double memory,
    const std::function<Status(std::shared_ptr<const MappedFile>)>& read) {
  ExpectLinear(name, make,
               [&](const std::string& bytes) {
                 const Status status = read(File(bytes));
                 EXPECT_TRUE(status.ok()) << status.message();
               },
               {.memory = memory});
}

Status ReadAllSafetensors(std::shared_ptr<const MappedFile> file) {
  TensorTable table;
  std::map<std::string, std::string> metadata;
  RETURN_IF_ERROR(ReadSafetensors(std::move(file), &table, &metadata));
  for (const StoredTensor& tensor : table.tensors()) {
    CHECK(table.Find(tensor.name) == &tensor) << tensor.name;
  }
  return Status::Ok();
}

TEST(SafetensorsGrowth, Headers) {
  const auto expect = [](const std::string& name, const std::string& item,
                         double memory) {
    ExpectFile(
        "safetensors: " + name,
        [&](size_t bytes) {
          return Safetensors(Repeated("{", item, "}", bytes), "");
        },
        memory, ReadAllSafetensors);
  };
  expect("tensors", R"("#":{"dtype":"U8","shape":[0],"data_offsets":[0,0]})",
         12);
  expect("long names",
         "\"" + std::string(500, 'n') + R"(#":{"dtype":"U8",)" +
             R"("shape":[0],"data_offsets":[0,0]})",
         8);
  expect("fields that are not read",
         R"("#":{"dtype":"U8","shape":[0],"data_offsets":[0,0],"a":"",)"
         R"("b":[],"c":{},"d":0})",
         8);
  ExpectFile(
      "safetensors: metadata",
      [](size_t bytes) {
        return Safetensors(
            Repeated(R"({"__metadata__":{)", R"("#":"")", "}}", bytes), "");
      },
      16, ReadAllSafetensors);
}

TEST(SafetensorsGrowth, Index) {
  for (const char* file : {"a", "#"}) {
    ExpectLinear(
        std::string("shard index: files called ") + file,
        [&](size_t bytes) {
          return Repeated(R"({"weight_map":{)",
                          R"("#":")" + std::string(file) + R"(.safetensors")",
                          "}}", bytes);
        },
        [](const std::string& text) {
          EXPECT_TRUE(ReadShardIndex(text, "f").ok());
        });
  }
}

TEST(SafetensorsGrowth, Shards) {
  // 400 and 1600 shards, each with a tensor of its own and one of the next.
  ExpectLinear(
      "a folder of many shards",
      [](size_t bytes) { return std::string(bytes, ' '); },
      [](const std::string& count) {
        const auto shards = static_cast<int>(count.size());
        TempFolder folder;
        std::string index = "{\"weight_map\":{";
        for (int i = 0; i < shards; ++i) {
          const std::string n = std::to_string(i), m = std::to_string(i + 1);
          const std::string item =
              R"(":{"dtype":"U8","shape":[0],"data_offsets":[0,0]})";
          WriteFile(folder / (n + ".safetensors"),
                    Safetensors("{\"" + n + item + ",\"" + m + item + "}", ""));
          index += (i > 0 ? ",\"" : "\"") + n + R"(":")" + n + ".safetensors\"";
        }
        WriteFile(folder / "model.safetensors.index.json", index + "}}");
        const auto opened =
            Checkpoint::Open(folder / "model.safetensors.index.json");
        ASSERT_TRUE(opened.ok()) << opened.status().message();
        EXPECT_EQ((*opened)->names().size(), static_cast<size_t>(shards));
      },
      // The input is a byte a shard: this is what each of them takes.
      {.memory = 2e4, .bytes = 400});
}

Status ReadAllGguf(std::shared_ptr<const MappedFile> file) {
  TensorTable table;
  std::unique_ptr<GgufMetadata> metadata;
  RETURN_IF_ERROR(ReadGguf(std::move(file), &table, &metadata));
  CHECK(metadata->ToJson().size() == metadata->values().size() ||
        metadata->values().size() < 100);
  for (const StoredTensor& tensor : table.tensors()) {
    CHECK(table.Find(tensor.name) == &tensor) << tensor.name;
  }
  return Status::Ok();
}

std::string Key(const std::string& name, uint32_t type,
                const std::string& value) {
  return GgufBytes::String(name) + Raw(type) + value;
}

// A key whose value is an array that fills the file.
std::string OneArray(uint32_t type, const std::string& item, size_t bytes) {
  GgufBytes file;
  const uint64_t count = bytes / item.size();
  std::string items;
  for (uint64_t i = 0; i < count; ++i) items += item;
  file.keys = 1;
  file.key_bytes = Key("k", 9, Raw(type) + Raw(count) + items);
  return file.Bytes();
}

TEST(GgufGrowth, Keys) {
  const auto keys = [](const std::string& value, uint32_t type) {
    return [=](size_t bytes) {
      GgufBytes file;
      // No more than are read.
      for (file.keys = 0; file.key_bytes.size() < bytes && file.keys < 65536;
           ++file.keys) {
        file.key_bytes += Key(std::to_string(file.keys), type, value);
      }
      return file.Bytes() + std::string(bytes, ' ');
    };
  };
  ExpectFile("GGUF: keys of bool", keys("\1", 7), 12, ReadAllGguf);
  ExpectFile("GGUF: keys of an empty string", keys(Raw<uint64_t>(0), 8), 12,
             ReadAllGguf);
  ExpectFile("GGUF: keys of an array of four bytes",
             keys(Raw<uint32_t>(0) + Raw<uint64_t>(4) + "1234", 9), 12,
             ReadAllGguf);
}

TEST(GgufGrowth, Arrays) {
  ExpectFile(
      "GGUF: an array of bytes",
      [](size_t bytes) { return OneArray(0, "x", bytes); }, 2, ReadAllGguf);
  // Read whole by convert and by the tokenizer.
  const auto entries = [](std::shared_ptr<const MappedFile> file) -> Status {
    TensorTable table;
    std::unique_ptr<GgufMetadata> metadata;
    RETURN_IF_ERROR(ReadGguf(std::move(file), &table, &metadata));
    CHECK(metadata->ToEntries().size() == 1);
    return Status::Ok();
  };
  const auto strings = [](std::shared_ptr<const MappedFile> file) -> Status {
    TensorTable table;
    std::unique_ptr<GgufMetadata> metadata;
    RETURN_IF_ERROR(ReadGguf(std::move(file), &table, &metadata));
    return metadata->Strings("k").status();
  };
  const auto of_strings = [](size_t bytes) {
    return OneArray(8, Raw<uint64_t>(0), bytes);
  };
  ExpectFile("GGUF: an array of empty strings", of_strings, 2, ReadAllGguf);
  ExpectFile("GGUF: the same, decoded", of_strings, 8, strings);
  ExpectFile("GGUF: the same, to be written", of_strings, 8, entries);
  ExpectFile(
      "GGUF: bytes, to be written",
      [](size_t bytes) { return OneArray(0, "x", bytes); }, 4, entries);
}

TEST(GgufGrowth, Tensors) {
  ExpectFile(
      "GGUF: tensors",
      [](size_t bytes) {
        GgufBytes file;
        for (file.tensors = 0; file.tensor_bytes.size() < bytes / 2;
             ++file.tensors) {
          file.tensor_bytes += GgufBytes::String(std::to_string(file.tensors)) +
                               Raw<uint32_t>(1) + Raw<uint64_t>(1) +
                               Raw<uint32_t>(0) +
                               Raw<uint64_t>(32 * file.tensors);
        }
        file.data = std::string(32 * file.tensors, ' ');
        return file.Bytes();
      },
      12, ReadAllGguf);
}

TEST(GgufGrowth, MoreThanAllowed) {
  const auto refusal = [](const GgufBytes& file) {
    TensorTable table;
    std::unique_ptr<GgufMetadata> metadata;
    const std::string bytes = file.Bytes();
    return ReadGguf(File(bytes), &table, &metadata).message();
  };
  GgufBytes keys;
  keys.keys = 65537;
  keys.key_bytes = std::string(13 * 65537, ' ');
  EXPECT_THAT(refusal(keys), HasSubstr("has 65537 keys, at most 65536"));
  GgufBytes arrays;
  for (arrays.keys = 0; arrays.keys < 65; ++arrays.keys) {
    arrays.key_bytes +=
        Key(std::to_string(arrays.keys), 9,
            Raw<uint32_t>(0) + Raw<uint64_t>(4096) + std::string(4096, 'x'));
  }
  EXPECT_THAT(refusal(arrays), HasSubstr("key 64: the arrays of up to 4096"));
}

}  // namespace
}  // namespace intarsia
