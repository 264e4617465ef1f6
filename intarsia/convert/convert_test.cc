// Round trips between GGUF, Hugging Face folders and native folders: the bytes
// of every tensor, the configuration and the tokenizer come back.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "intarsia/convert/layouts.h"
#include "intarsia/convert/test_convert.h"
#include "intarsia/families/gguf_tokenizer.h"
#include "intarsia/families/load.h"
#include "intarsia/formats/format.h"

namespace intarsia {
namespace {

using Json = nlohmann::json;

void ExpectSameTensors(const std::string& a, const std::string& b) {
  const auto one = OpenPath(a), other = OpenPath(b);
  EXPECT_EQ(one->tensors().size(), other->tensors().size());
  for (const StoredTensor& tensor : one->tensors()) {
    const StoredTensor* found = other->Find(tensor.name);
    ASSERT_NE(found, nullptr) << tensor.name;
    EXPECT_EQ(tensor.encoding, found->encoding) << tensor.name;
    EXPECT_EQ(tensor.shape, found->shape) << tensor.name;
    EXPECT_EQ(tensor.bytes.ToVector<uint8_t>(),
              found->bytes.ToVector<uint8_t>())
        << tensor.name;
  }
}

std::vector<float> Logits(const std::string& path) {
  const auto checkpoint = OpenPath(path);
  const auto loaded = LoadModel(*checkpoint);
  EXPECT_TRUE(loaded.ok()) << loaded.status().message();
  if (!loaded.ok()) return {};
  ThreadPool pool(1);
  const Batch batch = Batch::Of({{3, 14, 15, 9, 26, 5, 35, 8}});
  Context ctx;
  ctx.pool = &pool;
  ctx.batch = &batch;
  return loaded->model->Forward(ctx).ToVector<float>();
}

// Where one file has blocks and the other what they unpack to, activations of
// the first may be rounded to 15 bits.
void ExpectNear(const std::vector<float>& a, const std::vector<float>& b) {
  ASSERT_EQ(a.size(), b.size());
  ASSERT_FALSE(a.empty());
  for (size_t i = 0; i < a.size(); ++i) ASSERT_NEAR(a[i], b[i], 1e-4f) << i;
}

// Whose tensors are ours one by one.
bool WholeTensors(const std::string& type) {
  return type != "gpt2" && type != "mixtral";
}

class RoundTripTest : public testing::TestWithParam<const char*> {};

TEST_P(RoundTripTest, ThroughGgufAndBack) {
  const TempFolder folder;
  WriteHf(folder / "hf", SmallConfig(GetParam()));
  const std::vector<float> logits = Logits(folder / "hf");
  ToGguf(folder / "hf", folder / "m.gguf");
  ExpectNear(Logits(folder / "m.gguf"), logits);
  ToHf(folder / "m.gguf", folder / "hf2");
  ExpectSameTensors(folder / "hf", folder / "hf2");
  EXPECT_EQ(OpenPath(folder / "hf")->config(),
            OpenPath(folder / "hf2")->config());
  // Without the configuration that came along, what GGUF itself says does.
  const auto checkpoint = OpenPath(folder / "m.gguf");
  GgufModel bare = *ToGgufModel(*checkpoint);
  std::erase_if(bare.metadata,
                [](const auto& entry) { return entry.first == kSourceConfig; });
  ASSERT_TRUE(
      WriteGgufParts(folder / "b.gguf", bare.metadata, bare.tensors, 0).ok());
  ToHf(folder / "b.gguf", folder / "hf3");
  ExpectNear(Logits(folder / "hf3"), logits);
}

TEST_P(RoundTripTest, ThroughNativeAndBack) {
  const TempFolder folder;
  WriteHf(folder / "hf", SmallConfig(GetParam()));
  const std::vector<float> logits = Logits(folder / "hf");
  ToGguf(folder / "hf", folder / "m.gguf");
  ToNative(folder / "hf", folder / "native");
  ExpectNear(Logits(folder / "native"), logits);
  if (!WholeTensors(GetParam())) {
    const auto model = ReadHfModel(*OpenPath(folder / "native"));
    EXPECT_NE(model.status().message().find("cut or turned"),
              std::string::npos);
    return;
  }
  ToHf(folder / "native", folder / "hf3");
  ExpectSameTensors(folder / "hf", folder / "hf3");
  ToNative(folder / "m.gguf", folder / "native2");
  ExpectSameTensors(folder / "native", folder / "native2");
  ToGguf(folder / "native", folder / "m2.gguf");
  ExpectSameTensors(folder / "m.gguf", folder / "m2.gguf");
}

// Blocks move whole: quantised, into a native folder and back, no byte differs.
TEST_P(RoundTripTest, BlocksMoveAsTheyAre) {
  const TempFolder folder;
  WriteHf(folder / "hf", SmallConfig(GetParam()));
  const auto checkpoint = OpenPath(folder / "hf");
  const auto model = ToGgufModel(*checkpoint);
  const QuantizeOptions options{.mix = FindQuantMix("Q5_0")};
  const auto plan = PlanQuantization(*model, options);
  ASSERT_TRUE(
      Quantize(*model, *plan, options, folder / "q.gguf", nullptr).ok());
  ToNative(folder / "q.gguf", folder / "native");
  ExpectNear(Logits(folder / "native"), Logits(folder / "q.gguf"));
  if (!WholeTensors(GetParam())) {
    ToHf(folder / "q.gguf", folder / "hf2");
    ExpectNear(Logits(folder / "hf2"), Logits(folder / "q.gguf"));
    return;
  }
  EXPECT_EQ(OpenPath(folder / "native")->Find("blocks.0.0.q_proj")->encoding,
            "q5_0");
  ToGguf(folder / "native", folder / "q2.gguf");
  ExpectSameTensors(folder / "q.gguf", folder / "q2.gguf");
  // Hugging Face's folders have no blocks: exact in f32.
  ToHf(folder / "q.gguf", folder / "hf2");
  EXPECT_EQ(OpenPath(folder / "hf2")->config()["torch_dtype"], "float32");
  const auto loaded = LoadModel(*OpenPath(folder / "hf2"));
  EXPECT_TRUE(loaded.ok());
}

INSTANTIATE_TEST_SUITE_P(Families, RoundTripTest,
                         testing::Values("llama", "qwen2", "qwen3", "mixtral",
                                         "gpt2", "olmo2"));

// Through GGUF and back; without the configuration that came along, what GGUF
// itself says does. Gives that folder's configuration.
Json ThroughGguf(const TempFolder& folder) {
  const std::vector<float> logits = Logits(folder / "hf");
  ToGguf(folder / "hf", folder / "m.gguf");
  ExpectNear(Logits(folder / "m.gguf"), logits);
  ToHf(folder / "m.gguf", folder / "hf2");
  ExpectSameTensors(folder / "hf", folder / "hf2");
  ExpectNear(Logits(folder / "hf2"), logits);
  ToNative(folder / "hf", folder / "native");
  ExpectNear(Logits(folder / "native"), logits);
  ToNative(folder / "m.gguf", folder / "native2");
  ExpectSameTensors(folder / "native", folder / "native2");
  ToHf(folder / "native", folder / "hf4");
  ExpectSameTensors(folder / "hf", folder / "hf4");
  QuantizeTo(folder / "native", folder / "q.gguf");
  EXPECT_EQ(OpenPath(folder / "q.gguf")->tensors().size(),
            OpenPath(folder / "m.gguf")->tensors().size());
  RewriteGguf(folder / "m.gguf", folder / "b.gguf", [](GgufModel* model) {
    std::erase_if(model->metadata, [](const auto& entry) {
      return entry.first == kSourceConfig;
    });
  });
  ToHf(folder / "b.gguf", folder / "hf3");
  ExpectNear(Logits(folder / "hf3"), logits);
  return OpenPath(folder / "hf3")->config();
}

TEST(ConvertTest, BiasesGoThroughGguf) {
  const TempFolder folder;
  Json config = SmallConfig("llama");
  config["attention_bias"] = config["mlp_bias"] = true;
  WriteHf(folder / "hf", config);
  const Json back = ThroughGguf(folder);
  EXPECT_EQ(back["attention_bias"], true);
  EXPECT_EQ(back["mlp_bias"], true);
  const auto gguf = OpenPath(folder / "m.gguf");
  for (const char* name : {"attn_q", "attn_k", "attn_v", "attn_output",
                           "ffn_gate", "ffn_up", "ffn_down"}) {
    const std::string full = std::string("blk.1.") + name + ".bias";
    ASSERT_NE(gguf->Find(full), nullptr) << full;
    EXPECT_EQ(gguf->Find(full)->encoding, "f32");
  }
}

TEST(ConvertTest, AHeadOfItsOwnGoesThroughGguf) {
  const TempFolder folder;
  WriteHf(folder / "hf", SmallConfig("llama"));
  Json config = SmallConfig("llama");
  config["tie_word_embeddings"] = true;  // the file's own head counts
  WriteFile(folder / "hf/config.json", config.dump());
  EXPECT_EQ(ThroughGguf(folder)["tie_word_embeddings"], false);
  EXPECT_NE(OpenPath(folder / "m.gguf")->Find("output.weight"), nullptr);
}

TEST(ConvertTest, WindowsOfAllLayersGoThroughGguf) {
  for (const char* type : {"mistral", "qwen2"}) {
    const TempFolder folder;
    Json config = SmallConfig(type);
    config["sliding_window"] = 3;
    config["use_sliding_window"] = true;
    config["max_window_layers"] = 0;
    if (std::string_view(type) == "mistral") {
      config.erase("use_sliding_window");
      config.erase("max_window_layers");
    }
    WriteHf(folder / "hf", config);
    const Json back = ThroughGguf(folder);
    EXPECT_EQ(back["model_type"], type);
    EXPECT_EQ(back["sliding_window"], 3);
    const auto model = ToGgufModel(*OpenPath(folder / "hf"));
    ASSERT_TRUE(model.ok());
    ASSERT_EQ(model->warnings.size(), 1u);
    EXPECT_NE(model->warnings[0].find("no sliding window"), std::string::npos);
  }
  Json some = SmallConfig("qwen2");
  some["sliding_window"] = 3;
  some["use_sliding_window"] = true;
  some["max_window_layers"] = 1;
  EXPECT_NE(GgufFieldsOf(some).status().message().find("some layers"),
            std::string::npos);
}

// llama.cpp refuses such a file too.
TEST(ConvertTest, GgufWithoutItsEpsilonIsRefused) {
  for (const auto& [type, name] :
       {std::pair("llama", "llama.attention.layer_norm_rms_epsilon"),
        std::pair("gpt2", "gpt2.attention.layer_norm_epsilon")}) {
    const std::string key = name;
    const TempFolder folder;
    WriteHf(folder / "m", SmallConfig(type));
    ToGguf(folder / "m", folder / "m.gguf");
    RewriteGguf(folder / "m.gguf", folder / "n.gguf", [&](GgufModel* model) {
      EXPECT_EQ(
          std::erase_if(model->metadata,
                        [&](const auto& entry) { return entry.first == key; }),
          1u);
    });
    const auto checkpoint = OpenPath(folder / "n.gguf");
    const auto loaded = LoadModel(*checkpoint);
    ASSERT_FALSE(loaded.ok());
    EXPECT_NE(loaded.status().message().find(key + "\" must be"),
              std::string::npos)
        << loaded.status().message();
  }
}

TEST(ConvertTest, ListsByLayerOfGguf) {
  const TempFolder folder;
  WriteHf(folder / "m", SmallConfig("llama"));
  ToGguf(folder / "m", folder / "m.gguf");
  using List = std::vector<uint32_t>;
  const auto change = [&](const List& heads, const List& hidden) {
    RewriteGguf(folder / "m.gguf", folder / "n.gguf", [&](GgufModel* model) {
      model->Set("llama.attention.head_count", List{4, 4});
      model->Set("llama.attention.head_count_kv", heads);
      model->Set("llama.feed_forward_length", hidden);
    });
  };
  change({2, 2}, {96, 96});
  EXPECT_EQ(Logits(folder / "n.gguf"), Logits(folder / "m.gguf"));
  EXPECT_EQ(OpenPath(folder / "n.gguf")->names().size(),
            OpenPath(folder / "m.gguf")->names().size());
  ToHf(folder / "n.gguf", folder / "back");
  EXPECT_EQ(Logits(folder / "back"), Logits(folder / "m"));
  QuantizeTo(folder / "n.gguf", folder / "q.gguf");
  EXPECT_EQ(Logits(folder / "q.gguf").size(), Logits(folder / "m").size());

  const auto fault = [&]() {
    const auto checkpoint = OpenPath(folder / "n.gguf");
    const auto loaded = LoadModel(*checkpoint);
    return loaded.ok() ? "" : loaded.status().message();
  };
  change({2, 2, 2}, {96, 96});
  EXPECT_NE(fault().find("\"llama.attention.head_count_kv\" must be a whole "
                         "number from 1, or one for each of 2 layers"),
            std::string::npos)
      << fault();
  change({2, 2}, {96, 0});
  EXPECT_NE(fault().find("\"llama.feed_forward_length\""), std::string::npos)
      << fault();
}

// Layers may differ in GGUF and in a native folder, not in config.json.
TEST(ConvertTest, LayersOfUnlikeWidths) {
  const TempFolder folder;
  WriteHf(folder / "m", SmallConfig("llama"));
  ToGguf(folder / "m", folder / "m.gguf");
  RewriteGguf(folder / "m.gguf", folder / "n.gguf", [&](GgufModel* model) {
    model->Set("llama.feed_forward_length", std::vector<uint32_t>{96, 32});
    for (LazyTensor& tensor : model->tensors) {
      if (tensor.name.find("blk.1.ffn_") == std::string::npos ||
          tensor.name.find("norm") != std::string::npos) {
        continue;
      }
      // 32 of the 96 hidden channels.
      const bool down = tensor.name.find("down") != std::string::npos;
      tensor.shape = down ? Shape{64, 32} : Shape{32, 64};
      tensor.values = []() -> Result<Tensor> {
        return Tensor::Zeros({2 * 64 * 32}, DType::kU8);
      };
    }
  });
  const std::vector<float> logits = Logits(folder / "n.gguf");
  ASSERT_FALSE(logits.empty());
  ToNative(folder / "n.gguf", folder / "native");
  EXPECT_EQ(Logits(folder / "native"), logits);
  const auto checkpoint = OpenPath(folder / "n.gguf");
  const auto model = ReadHfModel(*checkpoint);
  ASSERT_FALSE(model.ok());
  EXPECT_NE(model.status().message().find(
                "\"llama.feed_forward_length\" differs among layers"),
            std::string::npos)
      << model.status().message();
}

TEST(ConvertTest, RowsOfHeadsPairAndPartAgain) {
  std::vector<uint8_t> rows(16);
  for (size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<uint8_t>(i);
  const Tensor in = Tensor::From(rows, {16});
  const Tensor paired = PairRows(in, 16, 2, false);
  EXPECT_EQ(paired.ToVector<uint8_t>(),
            (std::vector<uint8_t>{0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9, 13, 10, 14,
                                  11, 15}));
  EXPECT_EQ(PairRows(paired, 16, 2, true).ToVector<uint8_t>(), rows);
}

TEST(ConvertTest, RefusesWhatGgufWouldLose) {
  const auto refuses = [](const char* key, const Json& value) {
    Json config = SmallConfig("llama");
    config[key] = value;
    const auto fields = GgufFieldsOf(config);
    EXPECT_FALSE(fields.ok()) << key;
    EXPECT_NE(fields.status().message().find("[convert]"), std::string::npos);
  };
  refuses("hidden_act", "gelu");
  Json swish = SmallConfig("llama");
  swish["hidden_act"] = "swish";  // another name of silu
  EXPECT_TRUE(GgufFieldsOf(swish).ok());
  refuses("rope_scaling", {{"rope_type", "dynamic"}, {"factor", 8}});
  refuses("model_type", "mamba2");
  refuses("model_type", "retnet");
  Json linear = SmallConfig("llama");
  linear["rope_scaling"] = {{"type", "linear"}, {"factor", 2.0}};
  const auto fields = GgufFieldsOf(linear);
  ASSERT_TRUE(fields.ok());
  EXPECT_EQ((*fields)["llama.rope.scaling.type"], "linear");
  EXPECT_EQ((*fields)["llama.rope.scaling.factor"], 2.0);
  const auto back = ConfigOfGguf(*fields);
  ASSERT_TRUE(back.ok());
  EXPECT_EQ((*back)["num_key_value_heads"], 2);
}

// What a configuration leaves open as null, or gives as something else, is as
// if it were not there; heads of 0 are the family's to refuse.
TEST(ConvertTest, OddConfigurationsAreNoFault) {
  for (const char* type : {"llama", "mixtral", "gpt2"}) {
    const Json plain = SmallConfig(type);
    const auto expected = GgufFieldsOf(plain);
    ASSERT_TRUE(expected.ok());
    Json config = plain;
    for (const char* key :
         {"head_dim", "rope_scaling", "rope_parameters", "sliding_window",
          "attention_bias", "use_sliding_window", "mlp_bias"}) {
      config[key] = nullptr;
    }
    const auto fields = GgufFieldsOf(config);
    ASSERT_TRUE(fields.ok());
    EXPECT_EQ(*fields, *expected);
    for (const auto& item : plain.items()) {
      for (const Json& odd : {Json("x"), Json(0), Json::array(), Json(-1.5)}) {
        config[item.key()] = odd;
        const auto result = GgufFieldsOf(config);
        if (!result.ok()) continue;
        const auto hf = HfLayout(config);
        const auto gguf = GgufLayout(*result);
        if (hf.ok() && gguf.ok()) (void)JoinNames(hf->tensors, *gguf).ok();
      }
      config[item.key()] = item.value();
    }
  }
}

class TokenizerTest : public testing::TestWithParam<const char*> {};

TEST_P(TokenizerTest, GoesAlong) {
  const TempFolder folder;
  const std::string name = GetParam();
  WriteHf(folder / "hf", SmallConfig("llama"));
  std::filesystem::copy_file(
      "intarsia/tokenizer/testdata/" + name + ".tokenizer.json",
      folder / "hf/tokenizer.json");
  ToGguf(folder / "hf", folder / "m.gguf");
  const auto gguf = OpenPath(folder / "m.gguf");
  const auto one = OpenTokenizer(*OpenPath(folder / "hf"));
  const auto other = OpenTokenizer(*gguf);
  ASSERT_TRUE(one.ok() && *one != nullptr);
  ASSERT_TRUE(other.ok()) << other.status().message();
  ASSERT_NE(*other, nullptr);
  ToHf(folder / "m.gguf", folder / "hf3");
  EXPECT_EQ(ReadFile(folder / "hf/tokenizer.json"),
            ReadFile(folder / "hf3/tokenizer.json"));
  constexpr const char* kTexts[] = {"Hello, world! 1234", "a  b\n\n c don't",
                                    "\xC3\xA9t\xC3\xA9 e\xCC\x81 12 345", ""};
  for (const char* text : kTexts) {
    // GGUF's qwen2 composes no characters, as llama.cpp does not.
    if (name == "qwen2" && text == kTexts[2]) continue;
    EXPECT_EQ(*(*one)->Encode(text), *(*other)->Encode(text)) << text;
  }
  if (!gguf->gguf()->Has("tokenizer.ggml.tokens")) {
    EXPECT_EQ(name, "gpt2");  // its prefix space has no place there
    return;
  }
  // The tokenizer.json that is made from GGUF's vocabulary alone.
  GgufModel bare = *ToGgufModel(*gguf);
  std::erase_if(bare.metadata,
                [](const auto& entry) { return entry.first == kHfTokenizer; });
  ASSERT_TRUE(
      WriteGgufParts(folder / "b.gguf", bare.metadata, bare.tensors, 0).ok());
  ToHf(folder / "b.gguf", folder / "hf2");
  const auto made = OpenTokenizer(*OpenPath(folder / "hf2"));
  ASSERT_TRUE(made.ok()) << made.status().message();
  ASSERT_NE(*made, nullptr);
  for (const char* text : kTexts) {
    EXPECT_EQ(*(*one)->Encode(text), *(*made)->Encode(text)) << text;
  }
}

INSTANTIATE_TEST_SUITE_P(Names, TokenizerTest,
                         testing::Values("smollm", "llama3", "qwen2", "gpt2"));

}  // namespace
}  // namespace intarsia
