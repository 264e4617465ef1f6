// Hand-made bad files. Each must be refused with a message that names the file
// and the fault; under the address sanitizer none may read out of bounds.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <vector>

#include "intarsia/checkpoint/checkpoint.h"
#include "intarsia/checkpoint/encoding.h"
#include "intarsia/checkpoint/test_files.h"

namespace intarsia {
namespace {

using ::testing::HasSubstr;

struct BadFile {
  std::string what;  // names the case
  std::string bytes;
  std::string fault;  // part of the message
};

// Opens each case as `file` and looks at the message.
void ExpectRefused(const std::vector<BadFile>& cases, const std::string& file) {
  TempFolder folder;
  for (const BadFile& bad : cases) {
    SCOPED_TRACE(bad.what);
    WriteFile(folder / file, bad.bytes);
    const auto opened = Checkpoint::Open(folder / file);
    ASSERT_FALSE(opened.ok());
    EXPECT_THAT(opened.status().message(), HasSubstr(folder / file));
    EXPECT_THAT(opened.status().message(), HasSubstr(bad.fault));
  }
}

// A header with one f32 tensor "w" of these fields, and data.
std::string OneTensor(const std::string& dtype, const std::string& shape,
                      const std::string& offsets, size_t data) {
  return Safetensors("{\"w\":{\"dtype\":" + dtype + ",\"shape\":" + shape +
                         ",\"data_offsets\":" + offsets + "}}",
                     std::string(data, '\1'));
}

std::string Two(const std::string& a, const std::string& b, size_t data) {
  const std::string head = R"({"dtype":"U8","shape":)";
  return Safetensors("{\"a\":" + head + a + "},\"b\":" + head + b + "}}",
                     std::string(data, '\1'));
}

TEST(BadSafetensors, Files) {
  const std::string deep(100000, '[');
  std::string deep_value =
      R"({"w":)" + std::string(5000, '[') + std::string(5000, ']') + "}";
  const std::vector<BadFile> cases = {
      {"empty file", "", "is empty (0 bytes)"},
      {"seven bytes", std::string("\1\0\0\0\0\0\0", 7), "truncated: 7 bytes"},
      {"seven letters", "1234567", "is text (\"1234567\"), not weights"},
      {"header past the end", Raw<uint64_t>(100) + "{}",
       "header claims 100 bytes, the file has 2"},
      {"header of 2^64 - 1", Raw<uint64_t>(~0ull) + "{}",
       "header claims 18446744073709551615 bytes, at most"},
      {"header of 2^63", Raw<uint64_t>(1ull << 63) + "{}", "at most"},
      {"empty header", Raw<uint64_t>(0), "begins with zeros"},
      {"not JSON", Safetensors("{\"w\":", ""), "header is not JSON"},
      {"pickle", std::string("\x80\x02}q\x00.PK\x03\x04zzzz", 15),
       "is a Python pickle"},
      {"an array", Safetensors("[]", ""), "header is not an object"},
      {"a number", Safetensors("1", ""), "header is not an object"},
      {"zero byte in the header", Safetensors(std::string("{}\0", 3), ""),
       "zero byte"},
      {"invalid UTF-8", Safetensors("{\"\xff\":1}", ""), "not JSON"},
      {"100,000 brackets", Safetensors(deep, ""), "nests deeper than 4"},
      {"nested value", Safetensors(deep_value, ""), "nests deeper than 4"},
      {"the same name twice",
       Safetensors(R"({"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                   R"("w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})",
                   "x"),
       "gives \"w\" twice"},
      {"the same field twice",
       Safetensors(R"({"w":{"dtype":"U8","dtype":"F32","shape":[1],)"
                   R"("data_offsets":[0,1]}})",
                   "x"),
       "gives \"dtype\" twice"},
      {"metadata not strings", Safetensors(R"({"__metadata__":{"a":1}})", ""),
       "__metadata__ \"a\" is not a string"},
      {"metadata no object", Safetensors(R"({"__metadata__":"a"})", ""),
       "__metadata__ is not an object"},
      {"tensor no object", Safetensors(R"({"w":[1,2]})", ""),
       "tensor \"w\" is not described by an object"},
      {"no offsets", Safetensors(R"({"w":{"dtype":"F32","shape":[1]}})", ""),
       "no data_offsets"},
      {"three offsets", OneTensor("\"F32\"", "[1]", "[0,4,8]", 4),
       "no data_offsets"},
      {"negative offset", OneTensor("\"F32\"", "[1]", "[-4,0]", 4),
       "bad data_offsets [-4,0]"},
      {"fractional offset", OneTensor("\"F32\"", "[1]", "[0,4.0]", 4),
       "bad data_offsets"},
      {"text offset", OneTensor("\"F32\"", "[1]", "[\"0\",4]", 4),
       "bad data_offsets"},
      {"offset over 2^64",
       OneTensor("\"F32\"", "[1]", "[0,18446744073709551620]", 4),
       "bad data_offsets"},
      {"end before begin", OneTensor("\"F32\"", "[1]", "[4,0]", 4),
       "bad data_offsets [4,0]"},
      {"past the end", OneTensor("\"F32\"", "[2]", "[0,8]", 7),
       "tensor \"w\" ends at byte 8 of the data, the file has 7"},
      {"end at 2^64 - 1",
       OneTensor("\"U8\"", "[4]", "[0,18446744073709551615]", 4),
       "ends at byte 18446744073709551615"},
      {"bytes too many", OneTensor("\"F32\"", "[1]", "[0,8]", 8),
       "has 4 bytes, its data_offsets span 8"},
      {"bytes too few", OneTensor("\"F32\"", "[3]", "[0,8]", 8),
       "f32 [3] has 12 bytes, its data_offsets span 8"},
      {"trailing bytes", OneTensor("\"F32\"", "[1]", "[0,4]", 9),
       "5 bytes after the last tensor"},
      {"overlap",
       Two(R"([4],"data_offsets":[0,4])", R"([4],"data_offsets":[2,6])", 6),
       "tensor \"b\" overlaps tensor \"a\""},
      {"one inside the other",
       Two(R"([6],"data_offsets":[0,6])", R"([1],"data_offsets":[3,4])", 6),
       "tensor \"b\" overlaps tensor \"a\""},
      {"the same bytes",
       Two(R"([4],"data_offsets":[0,4])", R"([4],"data_offsets":[0,4])", 4),
       "overlaps"},
      {"a hole",
       Two(R"([2],"data_offsets":[0,2])", R"([2],"data_offsets":[4,6])", 6),
       "after a hole from 2"},
      {"unknown dtype", OneTensor("\"F33\"", "[1]", "[0,4]", 4),
       "dtype \"F33\""},
      {"dtype a number", OneTensor("7", "[1]", "[0,4]", 4), "no dtype"},
      {"no shape", OneTensor("\"F32\"", "null", "[0,4]", 4), "no shape"},
      {"negative dimension", OneTensor("\"F32\"", "[-1]", "[0,4]", 4),
       "has shape [-1]"},
      {"product overflows",
       OneTensor("\"F32\"", "[4294967296,4294967296,4]", "[0,4]", 4),
       "the number of its elements overflows"},
      {"product wraps to 1",
       OneTensor("\"U8\"", "[18446744073709551615,18446744073709551615]",
                 "[0,1]", 1),
       "overflows"},
      {"overflow hidden by a zero",
       OneTensor("\"F32\"", "[4611686018427387904,4611686018427387904,0]",
                 "[0,0]", 0),
       "overflows"},
      {"bytes overflow",
       OneTensor("\"F64\"", "[4611686018427387904]", "[0,4]", 4), "overflows"},
      {"too many dimensions",
       OneTensor("\"U8\"", "[1,1,1,1,1,1,1]", "[0,1]", 1), "7 dimensions"},
      {"a million dimensions",
       [] {
         std::string shape = "[1";
         for (int i = 0; i < 1000000; ++i) shape += ",1";
         return OneTensor("\"U8\"", shape + "]", "[0,1]", 1);
       }(),
       "dimensions"},
      {"half a byte", OneTensor("\"F4\"", "[3]", "[0,1]", 1),
       "not whole f4 blocks"},
      {"unknown block encoding",
       Safetensors(R"({"__metadata__":{"intarsia.encoding.w":"q9"},)"
                   R"("w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})",
                   "x"),
       "encoding \"q9\""},
      {"block encoding that does not fit",
       Safetensors(R"({"__metadata__":{"intarsia.encoding.w":"q8_0"},)"
                   R"("w":{"dtype":"U8","shape":[33],"data_offsets":[0,33]}})",
                   std::string(33, 'x')),
       "not rows of q8_0 blocks"},
  };
  EXPECT_GE(cases.size(), 40u);
  ExpectRefused(cases, "model.safetensors");
}

// A sound file with one key and one f32 tensor [2, 4].
GgufBytes Sound() {
  GgufBytes g;
  g.Key("general.name", 8, GgufBytes::String("x"));
  g.Info("w", {4, 2}, 0, 0);
  g.data = std::string(32, '\1');
  return g;
}

std::string With(const std::function<void(GgufBytes*)>& change) {
  GgufBytes g = Sound();
  change(&g);
  return g.Bytes();
}

// A file with one tensor of these fields over 64 bytes of data.
std::string WithTensor(std::initializer_list<uint64_t> dims, uint32_t type,
                       uint64_t offset) {
  GgufBytes g;
  g.Info("w", dims, type, offset);
  g.data = std::string(64, '\1');
  return g.Bytes();
}

std::string WithKey(uint32_t type, std::string value) {
  GgufBytes g;
  g.Key("k", type, std::move(value));
  return g.Bytes();
}

TEST(BadFiles, WhatIsNoModelIsCalledSo) {
  const TempFolder folder;
  for (const std::string& bytes : {std::string(), std::string("hello"),
                                   std::string("# A page of text\n")}) {
    WriteFile(folder / "page", bytes);
    EXPECT_THAT(Checkpoint::Open(folder / "page").status().message(),
                HasSubstr("neither GGUF nor safetensors"))
        << bytes;
  }
  WriteFile(folder / "page", Safetensors("{}", ""));
  EXPECT_TRUE(Checkpoint::Open(folder / "page").ok());
}

TEST(BadGguf, TheSoundFileIsRead) {
  TempFolder folder;
  WriteFile(folder / "m.gguf", Sound().Bytes());
  const auto opened = Checkpoint::Open(folder / "m.gguf");
  ASSERT_TRUE(opened.ok()) << opened.status().message();
  EXPECT_EQ((*opened)->Find("w")->shape, Shape({2, 4}));
}

std::vector<BadFile> BadGgufFiles() {
  const std::string k = GgufBytes::String("k");
  return {
      {"empty file", "", "is empty (0 bytes)"},
      {"23 bytes", Sound().Bytes().substr(0, 23), "truncated: 23 bytes"},
      {"wrong magic", With([](auto* g) { g->magic = "GGML"; }),
       "bad magic \"GGML\""},
      {"version 1", With([](auto* g) { g->version = 1; }), "version 1"},
      {"version 4", With([](auto* g) { g->version = 4; }), "version 4"},
      {"big endian", With([](auto* g) { g->version = 3u << 24; }),
       "big-endian"},
      {"2^63 keys", With([](auto* g) { g->keys = 1ll << 62; }),
       "claims 4611686018427387904 keys"},
      {"-1 keys", With([](auto* g) { g->keys = -1; }),
       "claims 18446744073709551615 keys"},
      {"-1 tensors", With([](auto* g) { g->tensors = -1; }),
       "claims 18446744073709551615 tensors"},
      {"a key too many", With([](auto* g) { ++g->keys; }),
       "tensor 0 has a name of 562949953421312 bytes"},
      {"a tensor too many", With([](auto* g) { ++g->tensors; }), "tensor 1"},
      {"data cut short", With([](auto* g) { g->data.resize(31); }),
       "tensor \"w\" needs 32 bytes at offset 0 of the data, which has 31"},
      {"data missing", With([](auto* g) { g->data.clear(); }),
       "of the data, which has 0"},
      {"key name of 2^64 - 1 bytes", With([](auto* g) {
         g->key_bytes = Raw<uint64_t>(~0ull) + g->key_bytes;
       }),
       "key 0 has a name of 18446744073709551615 bytes"},
      {"empty key name", With([](auto* g) { g->Key("", 0, Raw<uint8_t>(1)); }),
       "key 1 has a name of 0 bytes"},
      {"key name not UTF-8",
       With([](auto* g) { g->Key("\xff\xfe", 0, Raw<uint8_t>(1)); }),
       "not UTF-8 (\"\\xff\\xfe\")"},
      {"key twice",
       With([](auto* g) { g->Key("general.name", 8, GgufBytes::String("y")); }),
       "key general.name is given twice"},
      {"unknown value type", WithKey(13, Raw<uint64_t>(1)),
       "key k has unknown type 13"},
      {"unknown item type", WithKey(9, Raw<uint32_t>(99) + Raw<uint64_t>(1)),
       "key k has unknown type 99"},
      {"array of arrays", WithKey(9, Raw<uint32_t>(9) + Raw<uint64_t>(1)),
       "array of arrays"},
      {"array of 2^62 numbers",
       WithKey(9, Raw<uint32_t>(10) + Raw<uint64_t>(1ull << 62)),
       "key k claims 4611686018427387904 items"},
      {"array count times size wraps",
       WithKey(9, Raw<uint32_t>(10) + Raw<uint64_t>((1ull << 61) + 1) +
                      Raw<uint64_t>(0)),
       "key k claims"},
      {"array of too many strings",
       WithKey(9, Raw<uint32_t>(8) + Raw<uint64_t>(3) + GgufBytes::String("a") +
                      GgufBytes::String("b")),
       "key k"},
      {"string of 2^64 - 1 bytes", WithKey(8, Raw<uint64_t>(~0ull) + "text"),
       "a string of key k"},
      {"string cut short", WithKey(8, Raw<uint64_t>(5) + "text"),
       "a string of key k"},
      {"value cut short", WithKey(10, "1234"), "key k claims 1 items"},
      {"alignment 0",
       With([](auto* g) { g->Key("general.alignment", 4, Raw(0u)); }),
       "general.alignment is 0"},
      {"alignment 24",
       With([](auto* g) { g->Key("general.alignment", 4, Raw(24u)); }),
       "general.alignment is 24"},
      {"alignment 2^31",
       With([](auto* g) { g->Key("general.alignment", 4, Raw(1u << 31)); }),
       "general.alignment is 2147483648"},
      {"alignment a string", With([](auto* g) {
         g->Key("general.alignment", 8, GgufBytes::String("32"));
       }),
       "general.alignment is not an integer"},
      {"tensor name of 2^40 bytes", With([](auto* g) {
         g->tensor_bytes = Raw<uint64_t>(1ull << 40) + g->tensor_bytes;
       }),
       "tensor 0 has a name of 1099511627776 bytes"},
      {"tensor twice", With([](auto* g) {
         g->Info("w", {4}, 0, 32);
         g->data.resize(64);
       }),
       "tensor \"w\" is there twice"},
      {"rank 0", WithTensor({}, 0, 0), "has 0 dimensions"},
      {"rank 5", WithTensor({1, 1, 1, 1, 1}, 0, 0), "has 5 dimensions"},
      {"rank 2^32 - 1", With([](auto* g) {
         g->tensor_bytes = GgufBytes::String("w") + Raw(~0u) + "12345678";
       }),
       "has 4294967295 dimensions"},
      {"a dimension of 0", WithTensor({0, 4}, 0, 0), "dimension of 0"},
      {"a dimension of 2^64 - 1", WithTensor({~0ull, 1}, 0, 0), "overflows"},
      {"product overflows", WithTensor({1ull << 32, 1ull << 32}, 0, 0),
       "overflows"},
      {"bytes overflow", WithTensor({1ull << 61, 2}, 28, 0), "overflows"},
      {"unknown tensor type", WithTensor({4}, 4, 0), "unknown type 4"},
      {"tensor type 2^32 - 1", WithTensor({4}, ~0u, 0),
       "unknown type 4294967295"},
      {"row not whole blocks", WithTensor({48}, 2, 0),
       "rows of 48 values are not whole q4_0 blocks of 32"},
      {"offset not aligned", WithTensor({4}, 0, 8),
       "offset 8, not a multiple of the alignment 32"},
      {"offset past the end", WithTensor({4}, 0, 96), "at offset 96"},
      {"offset plus size wraps", WithTensor({4}, 0, ~0ull - 31),
       "at offset 18446744073709551584"},
      {"overlap", With([](auto* g) {
         g->Info("v", {16}, 0, 0);
         g->data.resize(64);
       }),
       "overlaps tensor"},
      {"partial overlap", With([](auto* g) {
         g->Info("v", {12}, 0, 32);
         g->Info("u", {4}, 0, 64);
         g->data.resize(128);
       }),
       "tensor \"u\" overlaps tensor \"v\""},
      {"split with a plain name",
       With([](auto* g) { g->Key("split.count", 2, Raw<uint16_t>(3)); }),
       "is one of 3 parts, but its name"},
      {"split.count a string",
       With([](auto* g) { g->Key("split.count", 8, GgufBytes::String("3")); }),
       "split.count is not an integer"},
  };
}

TEST(BadGguf, Files) {
  const std::vector<BadFile> cases = BadGgufFiles();
  EXPECT_GE(cases.size(), 40u);
  ExpectRefused(cases, "model.gguf");
}

// Every prefix of a file is refused or, once the tensors are whole, read.
TEST(BadGguf, EveryPrefix) {
  TempFolder folder;
  const std::string whole = Sound().Bytes();
  for (size_t n = 0; n < whole.size(); ++n) {
    WriteFile(folder / "m.gguf", whole.substr(0, n));
    EXPECT_FALSE(Checkpoint::Open(folder / "m.gguf").ok()) << n;
  }
}

TEST(BadGguf, Splits) {
  TempFolder folder;
  auto part = [&](int number, uint16_t no, uint16_t count, int32_t tensors,
                  const std::string& name) {
    GgufBytes g;
    g.Key("split.no", 2, Raw(no)).Key("split.count", 2, Raw(count));
    g.Key("split.tensors.count", 5, Raw(tensors));
    g.Info(name, {4}, 0, 0);
    g.data = std::string(16, '\1');
    WriteFile(folder / ("m-0000" + std::to_string(number) + "-of-00002.gguf"),
              g.Bytes());
  };
  const std::string first = folder / "m-00001-of-00002.gguf";
  const std::string second = folder / "m-00002-of-00002.gguf";
  auto message = [](const std::string& path) {
    return Checkpoint::Open(path).status().message();
  };
  part(1, 0, 2, 2, "a");
  EXPECT_THAT(message(first), HasSubstr(second));  // it is not there
  part(2, 1, 2, 2, "b");
  EXPECT_TRUE(Checkpoint::Open(first).ok());
  EXPECT_THAT(message(second), HasSubstr("open " + first));
  part(2, 1, 2, 2, "a");
  EXPECT_THAT(message(first), HasSubstr(second + ": tensor \"a\" is there"));
  part(2, 0, 2, 2, "b");
  EXPECT_THAT(message(first), HasSubstr(second + ": is part 1 of 2"));
  part(2, 1, 2, 2, "b");
  part(1, 0, 2, 5, "a");
  EXPECT_THAT(message(first),
              HasSubstr(first + ": its parts have 2 tensors, the model has 5"));
  part(1, 0, 7, 2, "a");
  EXPECT_THAT(message(first), HasSubstr("is one of 7 parts"));
}

TEST(BadFolders, Configurations) {
  TempFolder folder;
  auto message = [&] {
    return Checkpoint::Open(folder.path()).status().message();
  };
  EXPECT_THAT(Checkpoint::Open(folder / "none").status().message(),
              HasSubstr("none: no such file or folder"));
  EXPECT_THAT(message(), HasSubstr("neither intarsia.json nor config.json"));
  const std::string config = folder / "config.json";
  const std::vector<BadFile> cases = {
      {"empty", "", "is not JSON"},
      {"cut short", R"({"a":)", "is not JSON"},
      {"text after it", "{} {}", "is not JSON"},
      {"a comment", "{} // no", "is not JSON"},
      {"an array", "[1]", "not an object"},
      {"half a word", R"({"a":Infinit})", "is not JSON"},
      {"deep", "{\"a\":" + std::string(200000, '['), "nests deeper than 64"},
      {"a number out of range", R"({"a":1e999})", "is not JSON"},
      {"a lone quote", "\"", "is not JSON"},
      {"a lone backslash", "\"\\", "is not JSON"},
  };
  for (const BadFile& bad : cases) {
    SCOPED_TRACE(bad.what);
    WriteFile(config, bad.bytes);
    EXPECT_THAT(message(), HasSubstr(config + ":"));
    EXPECT_THAT(message(), HasSubstr(bad.fault));
  }
  WriteFile(config, "{}");
  EXPECT_THAT(message(), HasSubstr("neither model.safetensors nor"));
  WriteFile(folder / "pytorch_model.bin", "x");
  EXPECT_THAT(message(), HasSubstr("convert it to safetensors"));
}

TEST(BadFolders, Indexes) {
  TempFolder folder;
  WriteFile(folder / "config.json", "{}");
  WriteFile(folder / "a.safetensors", OneTensor("\"U8\"", "[1]", "[0,1]", 1));
  const std::string index = folder / "model.safetensors.index.json";
  const std::vector<BadFile> cases = {
      {"not JSON", "{", "is not JSON"},
      {"no map", "{}", "no object \"weight_map\""},
      {"map is a list", R"({"weight_map":[]})", "no object \"weight_map\""},
      {"file is a number", R"({"weight_map":{"w":1}})",
       "tensor \"w\" is not mapped to a file name"},
      {"a path out of the folder",
       R"({"weight_map":{"w":"../../etc/x.safetensors"}})",
       "tensor \"w\" is mapped to \"../../etc/x.safetensors\", which is not"},
      {"an absolute path", R"({"weight_map":{"w":"/x.safetensors"}})",
       "which is not the name"},
      {"another kind of file", R"({"weight_map":{"w":"config.json"}})",
       "which is not the name"},
      {"a zero byte in the name",
       R"({"weight_map":{"w":"a\u0000.safetensors"}})",
       "which is not the name"},
      {"a tensor twice",
       R"({"weight_map":{"w":"a.safetensors","w":"a.safetensors"}})",
       "gives \"w\" twice"},
      {"a tensor that its shard lacks",
       R"({"weight_map":{"w":"a.safetensors","v":"a.safetensors"}})",
       "tensor \"v\" is not in a.safetensors"},
  };
  for (const BadFile& bad : cases) {
    SCOPED_TRACE(bad.what);
    WriteFile(index, bad.bytes);
    const auto opened = Checkpoint::Open(folder.path());
    ASSERT_FALSE(opened.ok());
    EXPECT_THAT(opened.status().message(), HasSubstr(index + ":"));
    EXPECT_THAT(opened.status().message(), HasSubstr(bad.fault));
  }
  WriteFile(index, R"({"weight_map":{"w":"b.safetensors"}})");
  EXPECT_THAT(Checkpoint::Open(folder.path()).status().message(),
              HasSubstr("b.safetensors: No such file"));
  WriteFile(index, R"({"weight_map":{"w":"a.safetensors"}})");
  EXPECT_TRUE(Checkpoint::Open(folder.path()).ok());
}

TEST(BadScales, NameFileTensorAndBlock) {
  TempFolder folder;
  for (const uint16_t scale : {0x7E00, 0x7C00, 0xFC00}) {  // NaN, inf, -inf
    GgufBytes g;
    g.Info("w", {64, 2}, 8, 0);  // q8_0: f16 scale, 32 values
    g.data = std::string(4 * 34, '\1');
    g.data.replace(2 * 34, 2, Raw(scale));
    WriteFile(folder / "m.gguf", g.Bytes());
    const auto opened = Checkpoint::Open(folder / "m.gguf");
    ASSERT_TRUE(opened.ok()) << opened.status().message();
    const Status status = (*opened)->ValidateBlocks();
    EXPECT_EQ(status.code(), StatusCode::kDataLoss);
    EXPECT_THAT(status.message(),
                HasSubstr((folder / "m.gguf") +
                          ": tensor \"w\" has a scale that is NaN or infinite "
                          "in q8_0 block 2"));
  }
}

}  // namespace
}  // namespace intarsia
