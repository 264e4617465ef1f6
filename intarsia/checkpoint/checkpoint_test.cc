// Round trips: what is written is read back, bit for bit, with its names,
// shapes, encodings and metadata.
#include "intarsia/checkpoint/checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <numeric>

#include "intarsia/checkpoint/encoding.h"
#include "intarsia/checkpoint/mapped_file.h"
#include "intarsia/checkpoint/test_files.h"
#include "intarsia/core/random.h"

namespace intarsia {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// A plain tensor with every byte different from its neighbours.
Tensor Pattern(const Shape& shape, DType dtype, int seed) {
  Tensor t = Tensor::Empty(shape, dtype);
  std::byte* p = t.mutable_raw();
  for (size_t i = 0; i < t.nbytes(); ++i) {
    p[i] = static_cast<std::byte>((i * 37 + seed * 101 + i / 256) & 0xFF);
  }
  return t;
}

// Blocks of `encoding` with scales of 1 and patterned values.
NamedTensor Blocks(const std::string& name, const std::string& encoding,
                   const Shape& shape) {
  const Encoding& e = *FindEncoding(encoding);
  const int64_t blocks = shape.numel() / e.block;
  Tensor bytes = Pattern({blocks * e.bytes}, DType::kU8, 3);
  for (int64_t b = 0; b < blocks; ++b) {
    for (int16_t at : e.scale_offsets) {
      if (at < 0 || e.scale != ScaleKind::kF16) continue;
      const f16 one = ToF16(1.0f);
      std::memcpy(bytes.mutable_raw() + b * e.bytes + at, &one, 2);
    }
  }
  return {name, bytes, encoding, shape};
}

std::vector<NamedTensor> PlainTensors() {
  return {{"a.weight", Pattern({3, 5}, DType::kF32, 1)},
          {"b", Pattern({7}, DType::kBF16, 2)},
          {"c", Pattern({2, 3, 1}, DType::kF16, 3)},
          {"d", Pattern({4}, DType::kI32, 4)},
          {"e", Pattern({3}, DType::kI64, 5)},
          {"f", Pattern({5}, DType::kI8, 6)},
          {"g", Pattern({2, 2}, DType::kF64, 8)}};
}

void ExpectSame(const Checkpoint& checkpoint,
                std::span<const NamedTensor> tensors) {
  ASSERT_EQ(checkpoint.names().size(), tensors.size());
  for (const NamedTensor& want : tensors) {
    SCOPED_TRACE(want.name);
    const StoredTensor* got = checkpoint.Find(want.name);
    ASSERT_NE(got, nullptr);
    const bool block = !want.encoding.empty();
    EXPECT_EQ(got->shape, block ? want.shape : want.tensor.shape());
    EXPECT_EQ(got->encoding,
              block ? want.encoding : std::string(Name(want.tensor.dtype())));
    ASSERT_EQ(got->bytes.nbytes(), want.tensor.nbytes());
    EXPECT_EQ(
        std::memcmp(got->bytes.raw(), want.tensor.raw(), want.tensor.nbytes()),
        0);
    const Result<Tensor> plain = got->AsTensor();
    ASSERT_EQ(plain.ok(), !block);
    if (block) continue;
    EXPECT_EQ(plain->dtype(), want.tensor.dtype());
    EXPECT_EQ(plain->shape(), want.tensor.shape());
    EXPECT_EQ(std::memcmp(plain->raw(), want.tensor.raw(), plain->nbytes()), 0);
  }
}

std::unique_ptr<Checkpoint> OpenOrDie(const std::string& path) {
  Result<std::unique_ptr<Checkpoint>> opened = Checkpoint::Open(path);
  EXPECT_TRUE(opened.ok()) << opened.status().message();
  return std::move(opened).value();
}

TEST(Safetensors, RoundTripOfEveryPlainType) {
  TempFolder folder;
  const std::string path = folder / "x.safetensors";
  std::vector<NamedTensor> tensors = PlainTensors();
  tensors.push_back({"scalar", Pattern({}, DType::kF32, 7)});
  tensors.push_back({"empty", Pattern({0, 4}, DType::kF32, 7)});
  tensors.push_back({"u8", Pattern({9}, DType::kU8, 9)});
  ASSERT_TRUE(WriteSafetensors(path, tensors,
                               {{"format", "pt"}, {"note", "\u00e9\n\""}})
                  .ok());
  const auto checkpoint = OpenOrDie(path);
  EXPECT_EQ(checkpoint->kind(), CheckpointKind::kSafetensors);
  ExpectSame(*checkpoint, tensors);
  EXPECT_EQ(checkpoint->metadata().at("note"), "\u00e9\n\"");
  EXPECT_EQ(checkpoint->gguf(), nullptr);
  EXPECT_EQ(checkpoint->Find("nothing"), nullptr);
  // Our own files place every tensor where it can be used without a copy.
  for (const StoredTensor& t : checkpoint->tensors()) {
    EXPECT_EQ(t.AsTensor()->raw(), t.bytes.raw()) << t.name;
    EXPECT_TRUE(t.bytes.storage()->borrowed());
  }
}

TEST(Safetensors, BlockTypesKeepTheirEncoding) {
  TempFolder folder;
  const std::string path = folder / "q.safetensors";
  const std::vector<NamedTensor> tensors = {
      Blocks("w", "q4_1", {3, 64}),
      Blocks("v", "q8_0", {2, 2, 32}),
      Blocks("k", "q6_k", {1, 256}),
      {"n", Pattern({3}, DType::kF32, 1)}};
  ASSERT_TRUE(WriteSafetensors(path, tensors).ok());
  const auto checkpoint = OpenOrDie(path);
  ExpectSame(*checkpoint, tensors);
  EXPECT_TRUE(checkpoint->ValidateBlocks().ok());
  EXPECT_THAT(checkpoint->Find("w")->AsTensor().status().message(),
              HasSubstr("q4_1"));
}

TEST(Safetensors, OddOffsetsAreCopiedAndTensorsOutliveTheCheckpoint) {
  TempFolder folder;
  const std::string path = folder / "odd.safetensors";
  const float value = 1.5f;
  WriteFile(path, Safetensors(R"({"b":{"dtype":"U8","shape":[1],)"
                              R"("data_offsets":[0,1]},"f":{"dtype":"F32",)"
                              R"("shape":[1],"data_offsets":[1,5]},)"
                              R"("m":{"dtype":"BOOL","shape":[1],)"
                              R"("data_offsets":[5,6]}})",
                              std::string("\1") + Raw(value) + "\1"));
  Tensor kept;
  {
    const auto checkpoint = OpenOrDie(path);
    Result<Tensor> f = checkpoint->Find("f")->AsTensor();
    ASSERT_TRUE(f.ok());
    kept = *f;
    EXPECT_EQ(checkpoint->Find("m")->encoding, "bool");
    EXPECT_EQ(checkpoint->Find("m")->AsTensor()->dtype(), DType::kU8);
    EXPECT_THAT(checkpoint->names(), ElementsAre("b", "f", "m"));
  }
  EXPECT_EQ(kept.data<float>()[0], value);
}

TEST(Safetensors, NonContiguousViewsAreWrittenInOrder) {
  TempFolder folder;
  const std::string path = folder / "v.safetensors";
  const Tensor base = Tensor::From<float>({0, 1, 2, 3, 4, 5}, {3, 2});
  ASSERT_TRUE(
      WriteSafetensors(
          path, std::vector<NamedTensor>{{"column", base.Slice(1, 1, 2)}})
          .ok());
  EXPECT_THAT(OpenOrDie(path)->Find("column")->AsTensor()->ToVector<float>(),
              ElementsAre(1, 3, 5));
}

TEST(Safetensors, WriterRefuses) {
  TempFolder folder;
  const Tensor t = Tensor::Zeros({2});
  const std::vector<NamedTensor> twice = {{"a", t}, {"a", t}};
  EXPECT_THAT(WriteSafetensors(folder / "x", twice).message(),
              HasSubstr("tensor \"a\" is there twice"));
  const std::vector<NamedTensor> wrong = {
      {"a", Tensor::Zeros({19}, DType::kU8), "q4_1", {32}}};
  EXPECT_THAT(WriteSafetensors(folder / "x", wrong).message(),
              HasSubstr("has 20 bytes, given are 19"));
  const std::vector<NamedTensor> fine = {{"a", t}};
  EXPECT_THAT(WriteSafetensors(folder / "no/such/x", fine).message(),
              HasSubstr("no/such: No such file"));
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));  // nothing half done
}

TEST(Safetensors, ReplacingAFileLeavesTheMappedOneValid) {
  TempFolder folder;
  const std::string path = folder / "x.safetensors";
  const std::vector<NamedTensor> before = {{"a", Tensor::Full({1000}, 1.0f)}};
  const std::vector<NamedTensor> after = {{"a", Tensor::Full({2}, 2.0f)}};
  ASSERT_TRUE(WriteSafetensors(path, before).ok());
  const auto old = OpenOrDie(path);
  ASSERT_TRUE(WriteSafetensors(path, after).ok());
  ExpectSame(*old, before);
  ExpectSame(*OpenOrDie(path), after);
}

TEST(Folder, ShardsAndTheirIndex) {
  TempFolder folder;
  WriteFile(folder / "config.json", R"({"model_type":"llama","limit":[0.0,)"
                                    R"(Infinity,-Infinity,NaN],)"
                                    R"("x":{"__float__":"Infinity"},)"
                                    R"("text":"Infinity \" NaN"})");
  WriteFile(folder / "tokenizer.json", "{}");
  const std::vector<NamedTensor> tensors = PlainTensors();
  ASSERT_TRUE(WriteSafetensorsSharded(folder.path(), tensors, 48).ok());
  EXPECT_TRUE(std::filesystem::exists(folder / "model.safetensors.index.json"));
  EXPECT_TRUE(
      std::filesystem::exists(folder / "model-00001-of-00004.safetensors"));
  const auto checkpoint = OpenOrDie(folder.path());
  EXPECT_EQ(checkpoint->kind(), CheckpointKind::kHfFolder);
  ExpectSame(*checkpoint, tensors);
  EXPECT_EQ(checkpoint->config()["model_type"], "llama");
  const auto& limit = checkpoint->config()["limit"];
  constexpr double kInf = std::numeric_limits<double>::infinity();
  EXPECT_EQ(limit[1].get<double>(), kInf);
  EXPECT_EQ(limit[2].get<double>(), -kInf);
  EXPECT_TRUE(std::isnan(limit[3].get<double>()));
  EXPECT_EQ(checkpoint->config()["x"].get<double>(), kInf);
  EXPECT_EQ(checkpoint->config()["text"], "Infinity \" NaN");
  EXPECT_EQ(checkpoint->tokenizer_path(), folder / "tokenizer.json");
  EXPECT_EQ(checkpoint->tokenizer_config_path(), "");
  ExpectSame(*OpenOrDie(folder / "model.safetensors.index.json"), tensors);

  // One file replaces the shards, and the other way round.
  const std::vector<NamedTensor> one = {{"a", Tensor::Full({2}, 2.0f)}};
  ASSERT_TRUE(WriteSafetensorsSharded(folder.path(), one, 1 << 20).ok());
  ExpectSame(*OpenOrDie(folder.path()), one);
  ASSERT_TRUE(WriteSafetensorsSharded(folder.path(), tensors, 48).ok());
  ExpectSame(*OpenOrDie(folder.path()), tensors);
}

TEST(Folder, NativeComesFirst) {
  TempFolder folder;
  WriteFile(folder / "config.json", "{}");
  WriteFile(folder / "intarsia.json", R"({"version":1})");
  ASSERT_TRUE(
      WriteSafetensorsSharded(folder.path(), PlainTensors(), 1 << 20).ok());
  const auto checkpoint = OpenOrDie(folder.path());
  EXPECT_EQ(checkpoint->kind(), CheckpointKind::kNativeFolder);
  EXPECT_EQ(checkpoint->config()["version"], 1);
}

GgufEntries SomeMetadata() {
  return {
      {"general.architecture", std::string("llama")},
      {"u8", uint8_t{200}},
      {"i8", int8_t{-5}},
      {"u16", uint16_t{60000}},
      {"i16", int16_t{-300}},
      {"u32", uint32_t{4000000000}},
      {"i32", int32_t{-7}},
      {"f32", 0.5f},
      {"flag", true},
      {"u64", uint64_t{1} << 63},
      {"i64", int64_t{-1} << 40},
      {"f64", 1e300},
      {"bytes", std::vector<uint8_t>{1, 2}},
      {"flags", std::vector<bool>{true, false, true}},
      {"small", std::vector<int32_t>{-1, 2}},
      {"tokenizer.ggml.tokens", std::vector<std::string>{"a", "", "\u0120the"}},
      {"tokenizer.ggml.token_type", std::vector<int32_t>{1, 3, 6}},
      {"tokenizer.ggml.merges", std::vector<std::string>{"a b"}},
      {"tokenizer.ggml.scores", std::vector<float>{0.0f, -1.5f}},
      {"large", std::vector<float>(20000, 2.0f)}};
}

void ExpectSomeMetadata(const Checkpoint& checkpoint) {
  ASSERT_NE(checkpoint.gguf(), nullptr);
  const GgufMetadata& m = *checkpoint.gguf();
  EXPECT_EQ(*m.String("general.architecture"), "llama");
  EXPECT_EQ(*m.Int("u8"), 200);
  EXPECT_EQ(*m.Int("i8"), -5);
  EXPECT_EQ(*m.Int("u16"), 60000);
  EXPECT_EQ(*m.Int("i16"), -300);
  EXPECT_EQ(*m.Int("u32"), 4000000000);
  EXPECT_EQ(*m.Int("i32"), -7);
  EXPECT_EQ(*m.Int("i64"), int64_t{-1} << 40);
  EXPECT_EQ(*m.Float("f32"), 0.5);
  EXPECT_EQ(*m.Float("f64"), 1e300);
  EXPECT_TRUE(*m.Bool("flag"));
  EXPECT_THAT(*m.Ints("bytes"), ElementsAre(1, 2));
  EXPECT_THAT(*m.Tokens(), ElementsAre("a", "", "\u0120the"));
  EXPECT_THAT(*m.TokenTypes(), ElementsAre(1, 3, 6));
  EXPECT_THAT(*m.Merges(), ElementsAre("a b"));
  EXPECT_THAT(*m.Scores(), ElementsAre(0.0f, -1.5f));
  EXPECT_EQ(m.Floats("large")->size(), 20000u);
  EXPECT_THAT(m.Int("u64").status().message(), HasSubstr("out of range"));
  EXPECT_THAT(m.Int("flag").status().message(),
              HasSubstr("key flag is not an integer"));
  EXPECT_THAT(m.Int("small").status().message(), HasSubstr("is an array"));
  EXPECT_THAT(m.Ints("u8").status().message(), HasSubstr("is not an array"));
  EXPECT_EQ(m.String("none").status().code(), StatusCode::kNotFound);

  const auto& json = checkpoint.config();
  EXPECT_EQ(json["u64"], uint64_t{1} << 63);
  EXPECT_EQ(json["i16"], -300);
  EXPECT_EQ(json["f32"], 0.5);
  EXPECT_EQ(json["flag"], true);
  EXPECT_EQ(json["flags"], nlohmann::json({true, false, true}));
  EXPECT_EQ(json["tokenizer.ggml.tokens"][2], "\u0120the");
  EXPECT_FALSE(json.contains("large"));
}

std::vector<NamedTensor> GgufTensors() {
  std::vector<NamedTensor> tensors = PlainTensors();
  for (const char* name : {"q8_0", "q4_0", "q4_1", "q5_1"}) {
    tensors.push_back(Blocks(std::string("blk.") + name, name, {3, 64}));
  }
  for (const char* name : {"q2_k", "q4_k", "q6_k", "iq4_xs", "tq1_0"}) {
    tensors.push_back(Blocks(std::string("blk.") + name, name, {2, 256}));
  }
  return tensors;
}

TEST(Gguf, RoundTrip) {
  TempFolder folder;
  const std::string path = folder / "m.gguf";
  ASSERT_TRUE(WriteGguf(path, SomeMetadata(), GgufTensors()).ok());
  const auto checkpoint = OpenOrDie(path);
  EXPECT_EQ(checkpoint->kind(), CheckpointKind::kGguf);
  ExpectSame(*checkpoint, GgufTensors());
  ExpectSomeMetadata(*checkpoint);
  EXPECT_TRUE(checkpoint->ValidateBlocks().ok());
  // A folder with nothing but this file stands for it.
  ExpectSame(*OpenOrDie(folder.path()), GgufTensors());
}

TEST(Gguf, OtherAlignmentAndVersionTwo) {
  TempFolder folder;
  const std::string path = folder / "m.gguf";
  GgufEntries metadata = SomeMetadata();
  metadata.push_back({"general.alignment", uint32_t{256}});
  ASSERT_TRUE(WriteGguf(path, metadata, GgufTensors()).ok());
  std::string bytes = ReadFile(path);
  bytes[4] = 2;
  WriteFile(path, bytes);
  const auto checkpoint = OpenOrDie(path);
  ExpectSame(*checkpoint, GgufTensors());
  ExpectSomeMetadata(*checkpoint);
  const std::byte* file = checkpoint->tensors()[0].bytes.storage()->data();
  for (const StoredTensor& t : checkpoint->tensors()) {
    EXPECT_EQ((t.bytes.raw() - file) % 256, 0) << t.name;
  }
}

TEST(Gguf, SplitFiles) {
  TempFolder folder;
  const std::vector<NamedTensor> all = GgufTensors();
  const std::span<const NamedTensor> span(all);
  const std::span<const NamedTensor> parts[] = {
      span.first(0), span.subspan(0, 4), span.subspan(4)};
  for (int i = 0; i < 3; ++i) {
    GgufEntries metadata = i == 0 ? SomeMetadata() : GgufEntries{};
    metadata.push_back({"split.no", static_cast<uint16_t>(i)});
    metadata.push_back({"split.count", uint16_t{3}});
    metadata.push_back(
        {"split.tensors.count", static_cast<int32_t>(all.size())});
    const std::string name = "m-0000" + std::to_string(i + 1) + "-of-00003";
    ASSERT_TRUE(WriteGguf(folder / (name + ".gguf"), metadata, parts[i]).ok());
  }
  const auto checkpoint = OpenOrDie(folder / "m-00001-of-00003.gguf");
  ExpectSame(*checkpoint, all);
  ExpectSomeMetadata(*checkpoint);
  ExpectSame(*OpenOrDie(folder.path()), all);
}

TEST(Gguf, WriterRefuses) {
  TempFolder folder;
  const std::vector<NamedTensor> u8 = {{"a", Tensor::Zeros({1}, DType::kU8)}};
  EXPECT_THAT(WriteGguf(folder / "x", {}, u8).message(),
              HasSubstr("tensor \"a\" is u8, which GGUF does not have"));
  const std::vector<NamedTensor> deep = {{"a", Tensor::Zeros({1, 1, 1, 1, 1})}};
  EXPECT_THAT(WriteGguf(folder / "x", {}, deep).message(),
              HasSubstr("1 to 4 dimensions"));
  const GgufEntries twice = {{"k", uint8_t{1}}, {"k", uint8_t{1}}};
  EXPECT_THAT(WriteGguf(folder / "x", twice, {}).message(),
              HasSubstr("there twice"));
}

// Every block type, its bytes, and the place of each of its scales.
TEST(Encodings, BadScalesAreFound) {
  int seen = 0;
  for (uint32_t type = 0; type < 64; ++type) {
    const Encoding* e = FindGgufEncoding(type);
    if (e == nullptr || e->plain()) continue;
    SCOPED_TRACE(e->name);
    ++seen;
    std::vector<std::byte> data(e->bytes * 5, std::byte{0});
    EXPECT_EQ(FindBadScale(*e, data, 100), -1);
    for (int16_t at : e->scale_offsets) {
      if (at < 0) continue;
      std::vector<std::byte> bad = data;
      std::byte* p = bad.data() + 3 * e->bytes + at;
      switch (e->scale) {
        case ScaleKind::kF16:
          p[1] = std::byte{0x7E};
          break;
        case ScaleKind::kF32:
          p[2] = std::byte{0x80}, p[3] = std::byte{0xFF};
          break;
        case ScaleKind::kE8M0:
          p[0] = std::byte{0xFF};
          break;
        case ScaleKind::kE4M3x4:
          p[3] = std::byte{0x7F};
          break;
        case ScaleKind::kIq1m:
          p[5] = std::byte{0xC0}, p[7] = std::byte{0x70};
          break;
        case ScaleKind::kNone:
          break;
      }
      EXPECT_EQ(FindBadScale(*e, bad, 100), 3) << at;
      EXPECT_EQ(FindBadScale(*e, bad, 1), -1);  // a limit of one: block 0 only
    }
  }
  EXPECT_EQ(seen, 26);
}

TEST(Encodings, LayoutsAreChecked) {
  Shape shape;
  uint64_t bytes = 0;
  const Encoding& q8 = *FindEncoding("q8_0");
  const uint64_t fine[] = {3, 64};
  ASSERT_TRUE(CheckLayout(q8, fine, &shape, &bytes).ok());
  EXPECT_EQ(bytes, 3u * 2 * 34);
  EXPECT_EQ(shape, Shape({3, 64}));
  const uint64_t huge[] = {uint64_t{1} << 40, uint64_t{1} << 40};
  EXPECT_FALSE(CheckLayout(q8, huge, &shape, &bytes).ok());
  const uint64_t wide[] = {uint64_t{1} << 62};  // elements fit, bytes do not
  EXPECT_FALSE(CheckLayout(*FindEncoding("f32"), wide, &shape, &bytes).ok());
  const uint64_t hidden[] = {uint64_t{1} << 62, uint64_t{1} << 62, 0};
  EXPECT_FALSE(CheckLayout(*FindEncoding("f32"), hidden, &shape, &bytes).ok());
  const uint64_t negative[] = {~uint64_t{0}};
  EXPECT_FALSE(CheckLayout(*FindEncoding("i8"), negative, &shape, &bytes).ok());
}

TEST(MappedFile, EmptyAndSpecialFiles) {
  TempFolder folder;
  WriteFile(folder / "empty", "");
  auto empty = MappedFile::Open(folder / "empty");
  ASSERT_TRUE(empty.ok());
  EXPECT_EQ((*empty)->size(), 0u);
  (*empty)->Advise(MappedFile::Access::kDone);
  EXPECT_THAT(MappedFile::Open(folder.path()).status().message(),
              HasSubstr("not a regular file"));
  EXPECT_EQ(MappedFile::Open(folder / "none").status().code(),
            StatusCode::kNotFound);
}

TEST(MappedFile, HintsChangeNoByte) {
  TempFolder folder;
  const std::string text(20000, 'x');
  WriteFile(folder / "text", text);
  const auto file = MappedFile::Open(folder / "text");
  ASSERT_TRUE(file.ok());
  (*file)->Advise(MappedFile::Access::kSequential);
  EXPECT_EQ((*file)->text(), text);
  (*file)->Advise(MappedFile::Access::kDone);
  EXPECT_EQ((*file)->text(), text);
}

}  // namespace
}  // namespace intarsia
