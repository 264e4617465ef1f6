// The mixes that names mean, importance matrices, and files that quantising
// writes: each type, whole and split.
#include "intarsia/convert/quantize.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <map>

#include "intarsia/checkpoint/test_files.h"
#include "intarsia/core/random.h"
#include "intarsia/formats/format.h"

namespace intarsia {
namespace {

// A llama of `layers` layers as far as names and shapes go.
std::vector<MixTensor> Llama(int layers, int64_t dim, bool head) {
  std::vector<MixTensor> tensors = {{"token_embd.weight", {1000, dim}},
                                    {"output_norm.weight", {dim}}};
  if (head) tensors.push_back({"output.weight", {1000, dim}});
  for (int i = 0; i < layers; ++i) {
    const std::string blk = "blk." + std::to_string(i) + ".";
    tensors.push_back({blk + "attn_norm.weight", {dim}});
    for (const char* name :
         {"attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up"}) {
      tensors.push_back({blk + name + ".weight", {dim, dim}});
    }
    tensors.push_back({blk + "ffn_down.weight", {dim, 4 * dim}});
  }
  return tensors;
}

std::map<std::string, MixChoice> Choices(const char* mix, const MixModel& model,
                                         const std::vector<MixTensor>& tensors,
                                         const MixOverrides& overrides = {}) {
  const std::vector<MixChoice> choices =
      ChooseFormats(*FindQuantMix(mix), model, overrides, tensors);
  std::map<std::string, MixChoice> out;
  for (size_t i = 0; i < tensors.size(); ++i) {
    out[tensors[i].name] = choices[i];
  }
  return out;
}

TEST(QuantMixTest, NamesAreFoundInAnyCase) {
  EXPECT_STREQ(FindQuantMix("q4_k_m")->name, "Q4_K_M");
  EXPECT_STREQ(FindQuantMix("Q4_K")->name, "Q4_K_M");
  EXPECT_STREQ(FindQuantMix("iq4_xs")->name, "IQ4_XS");
  EXPECT_EQ(FindQuantMix("q4_k_x"), nullptr);
  EXPECT_EQ(FindQuantMix(""), nullptr);
}

TEST(QuantMixTest, Q4KMGivesHalfOfTheValuesAndDownsMore) {
  auto of = Choices("Q4_K_M", {.architecture = "llama"}, Llama(16, 512, true));
  EXPECT_EQ(of["output.weight"].format, "q6_k");
  EXPECT_EQ(of["token_embd.weight"].format, "q4_k");
  EXPECT_EQ(of["output_norm.weight"].format, "");
  EXPECT_EQ(of["blk.3.attn_norm.weight"].format, "");
  // 16 layers: 0, 1, then 4, 7, 10, 13, then 14, 15.
  for (int i = 0; i < 16; ++i) {
    const std::string blk = "blk." + std::to_string(i) + ".";
    const bool more = i < 2 || i >= 14 || (i - 2) % 3 == 2;
    EXPECT_EQ(of[blk + "attn_v.weight"].format, more ? "q6_k" : "q4_k") << i;
    EXPECT_EQ(of[blk + "ffn_down.weight"].format, more ? "q6_k" : "q4_k") << i;
    EXPECT_EQ(of[blk + "attn_q.weight"].format, "q4_k");
    EXPECT_EQ(of[blk + "attn_output.weight"].format, "q4_k");
  }
}

TEST(QuantMixTest, OtherMixes) {
  const std::vector<MixTensor> tensors = Llama(16, 512, true);
  const MixModel plain{.architecture = "llama"};
  const MixModel grouped{.architecture = "llama", .queries_per_key = 4};
  auto q2 = Choices("Q2_K", plain, tensors);
  EXPECT_EQ(q2["blk.5.attn_v.weight"].format, "q3_k");
  EXPECT_EQ(q2["blk.5.ffn_down.weight"].format, "q3_k");
  EXPECT_EQ(q2["blk.5.attn_q.weight"].format, "q2_k");
  EXPECT_EQ(Choices("Q2_K", grouped, tensors)["blk.5.attn_v.weight"].format,
            "q4_k");
  auto q3 = Choices("Q3_K_M", plain, tensors);
  EXPECT_EQ(q3["blk.1.attn_v.weight"].format, "q5_k");
  EXPECT_EQ(q3["blk.2.attn_v.weight"].format, "q4_k");
  EXPECT_EQ(q3["blk.0.ffn_down.weight"].format, "q5_k");
  EXPECT_EQ(q3["blk.1.ffn_down.weight"].format, "q4_k");
  EXPECT_EQ(q3["blk.1.attn_output.weight"].format, "q4_k");
  auto q5 = Choices("Q5_K_S", plain, tensors);
  EXPECT_EQ(q5["blk.0.attn_v.weight"].format, "q5_k");
  auto small = Choices("Q4_K_S", plain, tensors);
  EXPECT_EQ(small["blk.3.attn_v.weight"].format, "q5_k");
  EXPECT_EQ(small["blk.4.attn_v.weight"].format, "q4_k");
  EXPECT_EQ(small["blk.1.ffn_down.weight"].format, "q5_k");
  EXPECT_EQ(small["blk.2.ffn_down.weight"].format, "q4_k");
  auto with =
      Choices("Q4_0", {.architecture = "llama", .importance = true}, tensors);
  EXPECT_EQ(with["blk.1.ffn_down.weight"].format, "q4_1");
  EXPECT_EQ(with["blk.2.ffn_down.weight"].format, "q4_0");
  auto eight =
      Choices("Q4_K_M", {.architecture = "llama", .experts = 8}, tensors);
  EXPECT_EQ(eight["blk.5.attn_k.weight"].format, "q8_0");
  EXPECT_EQ(eight["blk.5.attn_output.weight"].format, "q5_k");
  for (const char* name : {"F16", "BF16", "Q8_0"}) {
    auto all = Choices(name, plain, tensors);
    for (const auto& [tensor, choice] : all) {
      const bool norm = tensor.find("norm") != std::string::npos;
      EXPECT_EQ(choice.format, norm ? "" : FindQuantMix(name)->format);
    }
  }
}

TEST(QuantMixTest, RowsThatDoNotFitFallBackAndSayWhatWasWanted) {
  EXPECT_EQ(FittingFormat("q4_k", 576), "q5_0");
  EXPECT_EQ(FittingFormat("q5_k", 576), "q5_1");
  EXPECT_EQ(FittingFormat("q6_k", 576), "q8_0");
  EXPECT_EQ(FittingFormat("q2_k", 576), "iq4_nl");
  EXPECT_EQ(FittingFormat("iq4_xs", 576), "iq4_nl");
  EXPECT_EQ(FittingFormat("q4_k", 33), "f16");
  EXPECT_EQ(FittingFormat("q4_0", 48), "f16");
  EXPECT_EQ(FittingFormat("q4_k", 512), "q4_k");
  // A tied table of such rows is a head in q8_0.
  auto of = Choices("Q4_K_M", {.architecture = "llama"}, Llama(16, 576, false));
  EXPECT_EQ(of["token_embd.weight"].format, "q8_0");
  EXPECT_EQ(of["blk.3.attn_q.weight"].format, "q5_0");
  EXPECT_EQ(of["blk.3.attn_q.weight"].wanted, "q4_k");
  EXPECT_EQ(of["blk.0.attn_v.weight"].format, "q8_0");
  EXPECT_EQ(of["blk.3.ffn_down.weight"].format, "q4_k");
  EXPECT_EQ(of["blk.3.ffn_down.weight"].wanted, "");
}

TEST(QuantMixTest, OverridesComeFirst) {
  MixOverrides overrides;
  overrides.output = "q8_0";
  overrides.embedding = "f16";
  overrides.tensors = {{"attn_v", "q5_1"}};
  auto of = Choices("Q4_K_M", {.architecture = "llama"}, Llama(16, 512, true),
                    overrides);
  EXPECT_EQ(of["output.weight"].format, "q8_0");
  EXPECT_EQ(of["token_embd.weight"].format, "f16");
  EXPECT_EQ(of["blk.0.attn_v.weight"].format, "q5_1");
  overrides = {.pure = true, .keep_output = true};
  of = Choices("Q4_K_M", {.architecture = "llama"}, Llama(16, 512, true),
               overrides);
  EXPECT_EQ(of["output.weight"].format, "");
  EXPECT_EQ(of["blk.0.attn_v.weight"].format, "q4_k");
}

// A small f32 model.
GgufModel Small() {
  GgufModel model;
  model.Set("general.architecture", std::string("llama"));
  model.Set("llama.attention.head_count", uint32_t{4});
  model.Set("note", std::vector<std::string>{"a", "b"});
  const auto add = [&](const std::string& name, const Shape& shape) {
    Random random(std::hash<std::string>()(name));
    Tensor values = Tensor::Empty(shape);
    for (int64_t i = 0; i < values.numel(); ++i) {
      values.mutable_data<float>()[i] = random.NextNormal();
    }
    model.tensors.push_back(
        {.name = name,
         .encoding = "f32",
         .shape = shape,
         .values = [values]() -> Result<Tensor> { return values; }});
  };
  add("token_embd.weight", {40, 96});
  add("output_norm.weight", {96});
  for (int i = 0; i < 2; ++i) {
    const std::string blk = "blk." + std::to_string(i) + ".";
    add(blk + "attn_v.weight", {24, 96});
    add(blk + "ffn_down.weight", {96, 256});
    add(blk + "ffn_gate_exps.weight", {2, 6, 256});
  }
  return model;
}

double Rmse(const GgufModel& model, const Checkpoint& file,
            const std::string& name) {
  ThreadPool pool(1);
  for (const LazyTensor& tensor : model.tensors) {
    if (tensor.name != name) continue;
    const StoredTensor& stored = *file.Find(name);
    const Format& format = *FindFormat(stored.encoding);
    const int64_t k = stored.shape[-1], rows = stored.shape.numel() / k;
    const Tensor values = *tensor.values();
    std::vector<float> row(k);
    double sum = 0;
    for (int64_t r = 0; r < rows; ++r) {
      format.DequantizeRow(stored.bytes.raw() + r * format.row_bytes(k),
                           row.data(), k);
      for (int64_t i = 0; i < k; ++i) {
        sum += std::pow(row[i] - values.data<float>()[r * k + i], 2);
      }
    }
    return std::sqrt(sum / static_cast<double>(stored.shape.numel()));
  }
  return NAN;
}

TEST(QuantizeTest, WritesEveryType) {
  const TempFolder folder;
  const GgufModel model = Small();
  for (const QuantMix& mix : QuantMixes()) {
    SCOPED_TRACE(mix.name);
    QuantizeOptions options{.mix = &mix, .threads = 2};
    const auto plan = PlanQuantization(model, options);
    ASSERT_TRUE(plan.ok());
    const std::string path = folder / (std::string(mix.name) + ".gguf");
    uint64_t last = 0;
    int calls = 0;
    const auto paths = Quantize(model, *plan, options, path,
                                [&](const QuantizedTensor&, uint64_t done) {
                                  EXPECT_GE(done, last);
                                  last = done;
                                  ++calls;
                                });
    ASSERT_TRUE(paths.ok()) << paths.status().message();
    EXPECT_EQ(calls, static_cast<int>(model.tensors.size()));
    const auto file = Checkpoint::Open(path);
    ASSERT_TRUE(file.ok()) << file.status().message();
    EXPECT_TRUE((*file)->ValidateBlocks().ok());
    EXPECT_EQ(*(*file)->gguf()->Int("general.file_type"), mix.file_type);
    EXPECT_EQ((*file)->gguf()->Strings("note")->at(1), "b");
    for (const QuantizedTensor& tensor : *plan) {
      const StoredTensor* stored = (*file)->Find(tensor.name);
      ASSERT_NE(stored, nullptr);
      EXPECT_EQ(stored->encoding, tensor.to);
      EXPECT_EQ(stored->bytes.nbytes(), tensor.bytes_after);
      EXPECT_LT(Rmse(model, **file, tensor.name), 0.32) << tensor.name;
    }
    EXPECT_EQ((*file)->Find("output_norm.weight")->encoding, "f32");
  }
}

TEST(QuantizeTest, BytesDoNotDependOnThreads) {
  const TempFolder folder;
  const GgufModel model = Small();
  std::string first;
  for (const int threads : {1, 3}) {
    const QuantizeOptions options{.mix = FindQuantMix("Q3_K_M"),
                                  .threads = threads};
    const auto plan = PlanQuantization(model, options);
    ASSERT_TRUE(
        Quantize(model, *plan, options, folder / "m.gguf", nullptr).ok());
    const std::string bytes = ReadFile(folder / "m.gguf");
    if (first.empty()) first = bytes;
    EXPECT_EQ(bytes, first);
  }
}

TEST(QuantizeTest, SplitsAndReadsBack) {
  const TempFolder folder;
  const GgufModel model = Small();
  QuantizeOptions options{.mix = FindQuantMix("Q8_0"),
                          .max_part_bytes = 30'000};
  const auto plan = PlanQuantization(model, options);
  const auto paths =
      Quantize(model, *plan, options, folder / "m.gguf", nullptr);
  ASSERT_TRUE(paths.ok());
  ASSERT_GT(paths->size(), 1u);
  EXPECT_TRUE(paths->at(0).ends_with("m-00001-of-0000" +
                                     std::to_string(paths->size()) + ".gguf"));
  EXPECT_FALSE(std::filesystem::exists(folder / "m.gguf"));
  const auto split = Checkpoint::Open(paths->at(0));
  ASSERT_TRUE(split.ok()) << split.status().message();
  options.max_part_bytes = 0;
  ASSERT_TRUE(
      Quantize(model, *plan, options, folder / "whole.gguf", nullptr).ok());
  const auto whole = Checkpoint::Open(folder / "whole.gguf");
  ASSERT_EQ((*split)->names(), (*whole)->names());
  for (const StoredTensor& tensor : (*whole)->tensors()) {
    const StoredTensor& other = *(*split)->Find(tensor.name);
    EXPECT_EQ(tensor.shape, other.shape);
    EXPECT_EQ(tensor.bytes.ToVector<uint8_t>(),
              other.bytes.ToVector<uint8_t>());
  }
  // Parts again as one model, and one model as it was.
  EXPECT_EQ((*split)->gguf()->ToEntries(), (*whole)->gguf()->ToEntries());
  for (const std::string& path : *paths) {
    EXPECT_LT(std::filesystem::file_size(path), 40'000u);
  }
  std::filesystem::remove(paths->back());
  EXPECT_FALSE(Checkpoint::Open(paths->at(0)).ok());
}

TEST(QuantizeTest, RefusesToLoseTwiceUnlessAllowed) {
  const TempFolder folder;
  const GgufModel model = Small();
  QuantizeOptions options{.mix = FindQuantMix("Q8_0")};
  ASSERT_TRUE(Quantize(model, *PlanQuantization(model, options), options,
                       folder / "m.gguf", nullptr)
                  .ok());
  const auto file = Checkpoint::Open(folder / "m.gguf");
  const auto again = ToGgufModel(**file);
  ASSERT_TRUE(again.ok());
  options.mix = FindQuantMix("Q4_0");
  const auto refused = PlanQuantization(*again, options);
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.status().message().find("allow-requantize"),
            std::string::npos);
  options.allow_requantize = true;
  EXPECT_TRUE(PlanQuantization(*again, options).ok());
}

std::string OldImatrix(const std::string& name, int calls,
                       const std::vector<float>& sums) {
  std::string bytes = Raw<int32_t>(1) + Raw<int32_t>(name.size()) + name +
                      Raw<int32_t>(calls) + Raw<int32_t>(sums.size());
  for (const float x : sums) bytes += Raw(x);
  return bytes + Raw<int32_t>(7) + Raw<int32_t>(4) + "text";
}

TEST(ImatrixTest, BothFormsHoldMeans) {
  const TempFolder folder;
  WriteFile(folder / "old.dat", OldImatrix("a.weight", 4, {8, 4, 0}));
  const auto old = ImportanceMatrix::Open(folder / "old.dat");
  ASSERT_TRUE(old.ok()) << old.status().message();
  EXPECT_EQ(old->Of("a.weight"), (std::vector<float>{2, 1, 0}));
  EXPECT_TRUE(old->Of("b.weight").empty());
  const std::vector<NamedTensor> tensors = {
      {.name = "e.weight.in_sum2",
       .tensor = Tensor::From(std::vector<float>{8, 4, 6, 3}, {2, 2})},
      {.name = "e.weight.counts",
       .tensor = Tensor::From(std::vector<float>{4, 3}, {2, 1})}};
  ASSERT_TRUE(WriteGguf(folder / "new.gguf", {}, tensors).ok());
  const auto fresh = ImportanceMatrix::Open(folder / "new.gguf");
  ASSERT_TRUE(fresh.ok()) << fresh.status().message();
  EXPECT_EQ(fresh->Of("e.weight"), (std::vector<float>{2, 1, 2, 1}));
}

TEST(ImatrixTest, BadFilesAreRefused) {
  const TempFolder folder;
  const std::string good = OldImatrix("a.weight", 4, {8, 4, 0});
  const auto refuses = [&](const std::string& bytes) {
    WriteFile(folder / "bad", bytes);
    const auto matrix = ImportanceMatrix::Open(folder / "bad");
    EXPECT_FALSE(matrix.ok());
    EXPECT_TRUE(matrix.status().message().starts_with("["))
        << matrix.status().message();
  };
  refuses("");
  refuses("GGUF");
  refuses(Raw<int32_t>(-1));
  for (size_t size = 4; size < good.size() - 12; ++size) {
    refuses(good.substr(0, size));
  }
  refuses(OldImatrix("a", 1, {NAN}));
  refuses(OldImatrix("a", 1, {-1}));
  refuses(Raw<int32_t>(1) + Raw<int32_t>(1) + "a" + Raw<int32_t>(1) +
          Raw<int32_t>(0x7FFFFFFF) + Raw(1.0f));
}

TEST(ImatrixTest, WeighsErrorsAndMustFit) {
  const TempFolder folder;
  const GgufModel model = Small();
  std::vector<float> sums(256, 0.1f);
  for (size_t i = 0; i < sums.size(); i += 8) sums[i] = 100;
  WriteFile(folder / "m.dat", OldImatrix("blk.0.ffn_down.weight", 1, sums));
  const auto matrix = ImportanceMatrix::Open(folder / "m.dat");
  QuantizeOptions options{.mix = FindQuantMix("Q2_K"), .importance = &*matrix};
  const auto plan = PlanQuantization(model, options);
  ASSERT_TRUE(plan.ok());
  int with = 0;
  for (const QuantizedTensor& tensor : *plan) with += tensor.importance;
  EXPECT_EQ(with, 1);
  ASSERT_TRUE(
      Quantize(model, *plan, options, folder / "with.gguf", nullptr).ok());
  options.importance = nullptr;
  ASSERT_TRUE(Quantize(model, *PlanQuantization(model, options), options,
                       folder / "without.gguf", nullptr)
                  .ok());
  const auto a = Checkpoint::Open(folder / "with.gguf");
  const auto b = Checkpoint::Open(folder / "without.gguf");
  EXPECT_GT(Rmse(model, **a, "blk.0.ffn_down.weight"),
            Rmse(model, **b, "blk.0.ffn_down.weight"));
  EXPECT_EQ((*a)->Find("blk.1.ffn_down.weight")->bytes.ToVector<uint8_t>(),
            (*b)->Find("blk.1.ffn_down.weight")->bytes.ToVector<uint8_t>());
  WriteFile(folder / "other.dat",
            OldImatrix("blk.0.ffn_down.weight", 1, {1, 2, 3}));
  const auto other = ImportanceMatrix::Open(folder / "other.dat");
  options.importance = &*other;
  EXPECT_FALSE(PlanQuantization(model, options).ok());
}

}  // namespace
}  // namespace intarsia
