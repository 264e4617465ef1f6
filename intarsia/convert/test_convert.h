// What the tests of conversions share.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "intarsia/checkpoint/test_files.h"
#include "intarsia/convert/hf_model.h"
#include "intarsia/convert/quantize.h"
#include "intarsia/families/open.h"
#include "intarsia/families/test_models.h"

namespace intarsia {

inline constexpr uint64_t kShard = 1 << 30;

// A folder of random bf16 weights for the configuration.
inline void WriteHf(const std::string& folder, const nlohmann::json& config) {
  std::filesystem::create_directories(folder);
  std::vector<NamedTensor> tensors = RandomModel(config).tensors;
  for (NamedTensor& tensor : tensors) {
    tensor.tensor = tensor.tensor.To(DType::kBF16);
  }
  ASSERT_TRUE(
      WriteSafetensors(
          (std::filesystem::path(folder) / "model.safetensors").string(),
          tensors)
          .ok());
  WriteFile(folder + "/config.json", config.dump());
}

inline std::unique_ptr<Checkpoint> OpenPath(const std::string& path) {
  auto opened = Checkpoint::Open(path);
  EXPECT_TRUE(opened.ok()) << opened.status().message();
  return opened.ok() ? std::move(*opened) : nullptr;
}

inline std::vector<std::string> ToGguf(const std::string& from,
                                       const std::string& to) {
  const auto checkpoint = OpenPath(from);
  const auto model = ToGgufModel(*checkpoint);
  EXPECT_TRUE(model.ok()) << model.status().message();
  if (!model.ok()) return {};
  const auto paths = WriteGgufParts(to, model->metadata, model->tensors, 0);
  EXPECT_TRUE(paths.ok()) << paths.status().message();
  return model->warnings;
}

// The same with other metadata.
inline void RewriteGguf(const std::string& from, const std::string& to,
                        const std::function<void(GgufModel*)>& change) {
  const auto checkpoint = OpenPath(from);
  GgufModel model;
  model.metadata = checkpoint->gguf()->ToEntries();
  for (const StoredTensor& stored : checkpoint->tensors()) {
    model.tensors.push_back(
        {.name = stored.name,
         .encoding = stored.encoding,
         .shape = stored.shape,
         .values = [&stored]() -> Result<Tensor> { return stored.bytes; }});
  }
  change(&model);
  const auto paths = WriteGgufParts(to, model.metadata, model.tensors, 0);
  ASSERT_TRUE(paths.ok()) << paths.status().message();
}

inline void QuantizeTo(const std::string& from, const std::string& to) {
  const auto checkpoint = OpenPath(from);
  const auto model = ToGgufModel(*checkpoint);
  ASSERT_TRUE(model.ok()) << model.status().message();
  const QuantizeOptions options{.mix = FindQuantMix("Q8_0")};
  const auto plan = PlanQuantization(*model, options);
  ASSERT_TRUE(plan.ok()) << plan.status().message();
  const auto paths = Quantize(*model, *plan, options, to, nullptr);
  ASSERT_TRUE(paths.ok()) << paths.status().message();
}

inline std::vector<std::string> ToHf(const std::string& from,
                                     const std::string& to) {
  const auto checkpoint = OpenPath(from);
  const auto model = ReadHfModel(*checkpoint);
  EXPECT_TRUE(model.ok()) << model.status().message();
  if (!model.ok()) return {};
  const Status status = WriteHfFolder(*model, to, kShard);
  EXPECT_TRUE(status.ok()) << status.message();
  return model->warnings;
}

inline void ToNative(const std::string& from, const std::string& to) {
  const auto checkpoint = OpenPath(from);
  const auto files = ReadModelFiles(*checkpoint);
  ASSERT_TRUE(files.ok()) << files.status().message();
  const Status status =
      WriteNativeFolder(*checkpoint, *files, to, kShard, false, nullptr);
  ASSERT_TRUE(status.ok()) << status.message();
}

inline std::unique_ptr<Tokenizer> TokenizerOf(const std::string& path) {
  const auto checkpoint = OpenPath(path);
  auto tokenizer = OpenTokenizer(*checkpoint);
  EXPECT_TRUE(tokenizer.ok()) << path << tokenizer.status().message();
  return tokenizer.ok() ? *std::move(tokenizer) : nullptr;
}

// A model written in every way: paths by the name of the way.
inline std::vector<std::string> AllWays(const std::string& source,
                                        const TempFolder& folder) {
  const auto in = [&](const char* name) { return folder / name; };
  ToGguf(source, in("m.gguf"));
  QuantizeTo(source, in("q.gguf"));
  ToHf(source, in("hf"));
  ToNative(source, in("native"));
  ToHf(in("m.gguf"), in("hf2"));
  ToGguf(in("hf2"), in("m2.gguf"));
  ToNative(in("m.gguf"), in("native2"));
  ToGguf(in("native"), in("m3.gguf"));
  QuantizeTo(in("native2"), in("q2.gguf"));
  QuantizeTo(in("m.gguf"), in("q3.gguf"));
  ToHf(in("native"), in("hf3"));
  return {in("m.gguf"),  in("q.gguf"),  in("hf"),      in("native"),
          in("hf2"),     in("m2.gguf"), in("native2"), in("m3.gguf"),
          in("q2.gguf"), in("q3.gguf"), in("hf3")};
}

}  // namespace intarsia
