// Checkpoints become models: what ToForeign writes loads to the same weights,
// and a file that does not fit is refused by the name of its tensor.
#include "intarsia/families/load.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>

#include "intarsia/checkpoint/test_files.h"
#include "intarsia/families/open.h"
#include "intarsia/families/test_models.h"
#include "intarsia/families/unused.h"
#include "intarsia/formats/format.h"

namespace intarsia {
namespace {

using Json = nlohmann::json;
using testing::Contains;
using testing::HasSubstr;

// Random weights, to be edited and written as a folder.
class Folder : public RandomTensors {
 public:
  explicit Folder(Json config)
      : RandomTensors(RandomModel(config)), config_(std::move(config)) {}

  NamedTensor& At(const std::string& name) {
    const auto at = std::ranges::find(tensors, name, &NamedTensor::name);
    CHECK(at != tensors.end()) << name;
    return *at;
  }

  std::unique_ptr<Checkpoint> Open() const { return Open(config_); }
  std::unique_ptr<Checkpoint> Open(const Json& config) const {
    const Status written =
        WriteSafetensors(folder_ / "model.safetensors", tensors);
    EXPECT_TRUE(written.ok()) << written.message();
    WriteFile(folder_ / "config.json", config.dump());
    auto opened = Checkpoint::Open(folder_.path());
    EXPECT_TRUE(opened.ok()) << opened.status().message();
    return std::move(*opened);
  }

  std::string Refusal(const LoadOptions& options = {}) const {
    return RefusalWith(config_, options);
  }
  std::string RefusalWith(const Json& config,
                          const LoadOptions& options = {}) const {
    const auto loaded = LoadModel(*Open(config), options);
    return loaded.ok() ? "loaded" : loaded.status().message();
  }

 private:
  TempFolder folder_;
  Json config_;
};

// GPT-2 has transposed and fused tensors, Mixtral one tensor an expert.
class RoundTripTest : public testing::TestWithParam<const char*> {};

TEST_P(RoundTripTest, WeightsComeBack) {
  const Folder folder(SmallConfig(GetParam()));
  ASSERT_FALSE(folder.native.empty());
  const auto checkpoint = folder.Open();
  size_t last = 0;
  const auto loaded =
      LoadModel(*checkpoint, {.progress = [&](size_t done, size_t total) {
        EXPECT_EQ(done, last + 1);
        EXPECT_EQ(total, folder.native.size());
        last = done;
        return true;
      }});
  ASSERT_TRUE(loaded.ok()) << loaded.status().message();
  EXPECT_EQ(last, folder.native.size());
  EXPECT_TRUE(loaded->warnings.empty()) << loaded->warnings[0];
  for (const auto& [path, values] : folder.native) {
    EXPECT_EQ(loaded->model->Find(path)->values().ToVector<float>(),
              values.ToVector<float>())
        << path;
  }
}

INSTANTIATE_TEST_SUITE_P(Families, RoundTripTest,
                         testing::Values("llama", "mistral", "qwen2", "qwen3",
                                         "mixtral", "gpt2"),
                         [](const auto& info) { return info.param; });

TEST(LoadTest, UndefinedValuesAreZeros) {
  const FamilyModel family =
      *FindFamily("gpt2")->from_config(SmallConfig("gpt2"));
  const auto model = *Model::Create(family.config);
  const auto foreign =
      ToForeign(family.tensors, *model, [](const auto&) { return Tensor(); });
  ASSERT_FALSE(foreign.empty());
  for (const auto& [name, values] : foreign) {
    for (const float value : values.ToVector<float>()) {
      ASSERT_EQ(value, 0) << name;
    }
  }
}

TEST(LoadTest, BlocksOfFp8StayBlocks) {
  Folder folder(SmallConfig("llama", 128));
  std::vector<uint8_t> codes(128 * 128);
  for (size_t i = 0; i < codes.size(); ++i) codes[i] = 0x38;  // 1
  const std::string name = "model.layers.0.self_attn.q_proj.weight";
  folder.At(name) = {.name = name,
                     .tensor = Tensor::From(codes, {128 * 128}),
                     .encoding = "f8_e4m3",
                     .shape = {128, 128}};
  folder.tensors.push_back(
      {.name = name + "_scale_inv",
       .tensor = Tensor::From(std::vector<float>{0.25f}, {1, 1})});
  const auto checkpoint = folder.Open();
  const auto loaded = LoadModel(*checkpoint);
  ASSERT_TRUE(loaded.ok()) << loaded.status().message();
  EXPECT_TRUE(loaded->warnings.empty()) << loaded->warnings[0];
  const auto map =
      std::ranges::find(loaded->tensors, name, &TensorMap::foreign);
  ASSERT_NE(map, loaded->tensors.end());
  const Weight& weight = *loaded->model->Find(map->native);
  EXPECT_EQ(weight.format().name(), "f8_e4m3_128");
  ThreadPool pool(1);
  const Tensor values = weight.format().Dequantize(pool, weight.values(), 128);
  for (const float value : values.ToVector<float>()) ASSERT_EQ(value, 0.25f);
}

TEST(LoadTest, TensorsThatDoNotFit) {
  const std::string norm = "model.norm.weight";
  {
    Folder folder(SmallConfig("llama"));
    folder.At(norm) = {.name = norm,
                       .tensor = Tensor::Zeros({64}, DType::kI32)};
    EXPECT_THAT(folder.Refusal(),
                HasSubstr("tensor model.norm.weight is stored as i32, which "
                          "this build cannot compute with"));
  }
  {
    Folder folder(SmallConfig("llama"));
    folder.At(norm).tensor = Tensor::Zeros(Shape());
    EXPECT_THAT(folder.Refusal(),
                HasSubstr("tensor model.norm.weight is a scalar"));
  }
  {
    Folder folder(SmallConfig("llama"));
    folder.At(norm).tensor = Tensor::Zeros({63});
    EXPECT_THAT(folder.Refusal(),
                HasSubstr("has shape [63] of f32, expected [64] of f32 (tensor "
                          "model.norm.weight)"));
  }
  {
    Folder folder(SmallConfig("llama"));
    std::erase_if(folder.tensors,
                  [&](const NamedTensor& t) { return t.name == norm; });
    EXPECT_THAT(folder.Refusal(),
                HasSubstr("the checkpoint lacks model.norm.weight"));
  }
}

TEST(LoadTest, PartsThatDoNotFit) {
  {
    Folder folder(SmallConfig("gpt2"));
    folder.At("transformer.h.0.attn.c_attn.weight").tensor =
        Tensor::Zeros({64, 180});
    EXPECT_THAT(folder.Refusal(), HasSubstr("has 180 rows, needed are 128 to"));
  }
  {
    Folder folder(SmallConfig("gpt2", 128));
    const std::string name = "transformer.h.0.attn.c_attn.weight";
    const std::vector<uint8_t> codes(128 * 384);
    folder.At(name) = {.name = name,
                       .tensor = Tensor::From(codes, {128 * 384}),
                       .encoding = "f8_e4m3",
                       .shape = {128, 384}};
    folder.tensors.push_back(
        {.name = name + "_scale_inv", .tensor = Tensor::Zeros({1, 3})});
    EXPECT_THAT(folder.Refusal(),
                HasSubstr("must be a plain matrix to be transposed"));
  }
  {
    Folder folder(SmallConfig("mixtral"));
    NamedTensor& one =
        folder.At("model.layers.0.block_sparse_moe.experts.1.w1.weight");
    one.tensor = one.tensor.To(DType::kBF16);
    EXPECT_THAT(folder.Refusal(),
                HasSubstr("differ in shape or format: model.layers.0."
                          "block_sparse_moe.experts.1.w1.weight is bf16"));
  }
}

TEST(LoadTest, OptionsThatDoNotFit) {
  Json config = SmallConfig("llama");
  config["intermediate_size"] = 90;
  EXPECT_THAT(Folder(config).Refusal({.matrices = FindFormat("q8_0")}),
              HasSubstr("does not divide into blocks of q8_0"));
  const auto stop = [](size_t, size_t) { return false; };
  EXPECT_THAT(Folder(SmallConfig("llama")).Refusal({.progress = stop}),
              HasSubstr("the load was cancelled"));
}

// What a file has besides, and what a reader says of it.
TEST(LoadTest, TensorsThatAreNotUsed) {
  struct Case {
    std::string family;
    std::vector<std::string> names;
    std::string warning;  // with "refused": a refusal's part
    bool refused = false;
  };
  const std::vector<Case> cases = {
      // Leftovers that never mattered.
      {"llama", {"model.layers.0.self_attn.rotary_emb.inv_freq"}, ""},
      {"llama", {"model.position_ids", "rope.freqs"}, ""},
      {"gpt2",
       {"transformer.h.0.attn.bias", "transformer.h.1.attn.masked_bias"},
       ""},
      // Other tasks' heads, other parts.
      {"llama", {"score.weight"}, "1 tensor is not used: score.weight"},
      {"llama",
       {"vision_tower.vision_model.encoder.layers.0.mlp.fc1.weight",
        "vision_tower.vision_model.embeddings.position_embedding.weight"},
       "vision_tower.*: 2 tensors of a vision tower are skipped"},
      {"qwen2",
       {"multi_modal_projector.linear_1.weight"},
       "multi_modal_projector.*: 1 tensor of a projector is skipped"},
      {"qwen3",
       {"mtp.fc.weight", "mtp.layers.0.mlp.up_proj.weight"},
       "mtp.*: 2 tensors of a head that drafts tokens (MTP) are skipped"},
      {"llama",
       {"model.layers.2.eh_proj.weight", "model.layers.2.enorm.weight",
        "model.layers.2.mlp.up_proj.weight"},
       "model.layers.2.*: 3 tensors of a head that drafts tokens"},
      // The model's own.
      {"llama", {"model.layers.2.mlp.up_proj.weight"}, "layers.2.mlp", true},
      {"llama", {"model.layers.0.self_attn.q_norm.weight"}, "q_norm", true},
      {"llama", {"lm_head.bias"}, "lm_head.bias", true},
      {"llama", {"model.norm.bias"}, "model.norm.bias", true},
      {"llama", {"layers.0.mlp.gate.weight"}, "layers.0.mlp.gate", true},
      {"llama",
       {"base_model.model.model.layers.0.mlp.up_proj.lora_A.weight"},
       "lora_A",
       true},
      {"gpt2", {"h.0.attn.rel_bias"}, "h.0.attn.rel_bias", true},
  };
  for (const Case& c : cases) {
    Folder folder(SmallConfig(c.family));
    for (const std::string& name : c.names) {
      folder.tensors.push_back({.name = name, .tensor = Tensor::Zeros({8})});
    }
    const auto loaded = LoadModel(*folder.Open());
    if (c.refused) {
      ASSERT_FALSE(loaded.ok()) << c.names[0];
      EXPECT_THAT(loaded.status().message(), HasSubstr(c.warning));
      EXPECT_THAT(loaded.status().message(), HasSubstr("--allow-unused"));
      const auto allowed = LoadModel(*folder.Open(), {.allow_unused = true});
      ASSERT_TRUE(allowed.ok()) << allowed.status().message();
      EXPECT_EQ(allowed->unused_tensors, c.names);
      EXPECT_THAT(allowed->warnings, Contains(HasSubstr(c.warning)));
      continue;
    }
    ASSERT_TRUE(loaded.ok()) << loaded.status().message();
    EXPECT_TRUE(loaded->unused_tensors.empty());
    if (c.warning.empty()) {
      EXPECT_TRUE(loaded->warnings.empty()) << loaded->warnings[0];
    } else {
      ASSERT_EQ(loaded->warnings.size(), 1u) << c.names[0];
      EXPECT_THAT(loaded->warnings[0], HasSubstr(c.warning));
    }
  }
}

// Ten names, then a count.
TEST(LoadTest, ManyUnusedTensorsAreCut) {
  Folder folder(SmallConfig("llama"));
  for (int i = 0; i < 25; ++i) {
    folder.tensors.push_back(
        {.name = "model.layers.0.extra." + std::to_string(10 + i),
         .tensor = Tensor::Zeros({8})});
  }
  const std::string message = folder.Refusal();
  EXPECT_THAT(message, HasSubstr("25 tensors of the model are not used"));
  EXPECT_THAT(message, HasSubstr("extra.19 and 15 more"));
  EXPECT_THAT(message, HasSubstr("(the first is in model.safetensors)"));
}

// A configuration's claim of biases that the file lacks.
TEST(LoadTest, BiasesThatTheFileLacksAreNamed) {
  const Folder folder(SmallConfig("llama"));
  Json config = SmallConfig("llama");
  config["attention_bias"] = true;
  EXPECT_THAT(folder.RefusalWith(config),
              HasSubstr("the checkpoint lacks model.layers.0.self_attn.k"));
}

TEST(LoadTest, BiasesThatTheFileHasCount) {
  for (const char* type : {"llama", "mistral", "qwen2"}) {
    Folder folder(SmallConfig(type));
    const std::string layer = "model.layers.1.";
    for (const char* name :
         {"self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj"}) {
      folder.tensors.push_back(
          {.name = layer + name + ".bias",
           .tensor = Tensor::Zeros({std::string(name)[0] == 's' ? 64 : 96})});
    }
    // A gated unit has all three.
    EXPECT_THAT(folder.Refusal(), HasSubstr(layer + "mlp.gate_proj.bias"));
    folder.tensors.push_back(
        {.name = layer + "mlp.down_proj.bias", .tensor = Tensor::Zeros({64})});
    const auto loaded = LoadModel(*folder.Open());
    ASSERT_TRUE(loaded.ok()) << loaded.status().message();
    EXPECT_NE(loaded->model->Find("blocks.1.0.o_bias"), nullptr);
    EXPECT_EQ(loaded->model->Find("blocks.0.0.o_bias"), nullptr);
    EXPECT_NE(loaded->model->Find("blocks.1.1.down_bias"), nullptr);
    EXPECT_THAT(loaded->warnings,
                Contains(HasSubstr("4 biases that config.json does not")));
  }
}

// Errors are in the file's own words.
TEST(LoadTest, ErrorsNameTensorsAsTheFileDoes) {
  Folder folder(SmallConfig("gpt2"));
  std::erase_if(folder.tensors, [](const NamedTensor& t) {
    return t.name == "transformer.ln_f.bias";
  });
  for (NamedTensor& tensor : folder.tensors) {
    tensor.name = tensor.name.substr(std::string("transformer.").size());
  }
  EXPECT_THAT(folder.Refusal(),
              testing::EndsWith("the checkpoint lacks ln_f.bias"));
}

TEST(LoadTest, WrappersNamesAreRead) {
  for (const std::string front : {"_orig_mod.", "module.", "base_model.model.",
                                  "language_model.", "module._orig_mod."}) {
    Folder folder(SmallConfig("llama"));
    for (NamedTensor& tensor : folder.tensors) {
      tensor.name = front + tensor.name;
    }
    const auto loaded = LoadModel(*folder.Open());
    ASSERT_TRUE(loaded.ok()) << loaded.status().message();
    EXPECT_TRUE(loaded->warnings.empty()) << loaded->warnings[0];
  }
  Folder folder(SmallConfig("llama"));
  for (NamedTensor& tensor : folder.tensors) {
    if (tensor.name.starts_with("model.")) {
      tensor.name = "model.language_model." + tensor.name.substr(6);
    }
  }
  folder.tensors.push_back({.name = "model.visual.patch_embed.weight",
                            .tensor = Tensor::Zeros({8})});
  const auto loaded = LoadModel(*folder.Open());
  ASSERT_TRUE(loaded.ok()) << loaded.status().message();
  ASSERT_EQ(loaded->warnings.size(), 1u);
  EXPECT_THAT(loaded->warnings[0], HasSubstr("model.visual.*: 1 tensor of"));
}

TEST(LoadTest, TheLanguageModelOfSeveralParts) {
  const Json text = SmallConfig("llama");
  const Folder folder(text);
  const Json whole = {{"model_type", "llava"},
                      {"text_config", text},
                      {"vision_config", {{"model_type", "clip"}}}};
  EXPECT_EQ(folder.RefusalWith(whole), "loaded");
}

TEST(LoadTest, OtherQuantisersAreRefusedByName) {
  struct Case {
    Json settings;
    std::string named;
  };
  const std::vector<Case> cases = {
      {{{"quant_method", "gptq"}, {"bits", 4}, {"group_size", 128}}, "GPTQ"},
      {{{"quant_method", "awq"}, {"bits", 4}}, "AWQ"},
      {{{"quant_method", "bitsandbytes"}, {"load_in_4bit", true}},
       "bitsandbytes"},
      {{{"load_in_8bit", true}}, "bitsandbytes"},
      {{{"quant_method", "compressed-tensors"}, {"format", "pack-quantized"}},
       "compressed-tensors"},
      {{{"quant_method", "mxfp4"}}, "MXFP4"},
      {{{"quant_method", "fp8"}, {"activation_scheme", "static"}}, "FP8"},
      {{{"quant_algo", "NVFP4"}}, "ModelOpt"},
      {{{"quant_method", "torchao"}}, "torchao"},
      {{{"quant_method", "quanto"}}, "Quanto"},
      {{{"quant_method", "hqq"}}, "HQQ"},
      {{{"quant_method", "eetq"}}, "EETQ"},
      {{{"quant_method", "aqlm"}}, "AQLM"},
      {{{"quant_method", "exl2"}, {"bits", 4.0}}, "EXL2"},
      {{{"quant_method", "of tomorrow"}}, "of tomorrow"},
  };
  const Folder folder(SmallConfig("llama"));
  for (const Case& c : cases) {
    Json config = SmallConfig("llama");
    config["quantization_config"] = c.settings;
    const std::string message = folder.RefusalWith(config);
    EXPECT_THAT(message, HasSubstr("quantised by "));
    EXPECT_THAT(message, HasSubstr(c.named));
    EXPECT_THAT(message, HasSubstr("/config.json"));
    EXPECT_THAT(message, HasSubstr("GGUF"));
  }
  Json mlx = SmallConfig("llama");
  mlx["quantization"] = {{"group_size", 64}, {"bits", 4}};
  EXPECT_THAT(folder.RefusalWith(mlx), HasSubstr("MLX"));
  // Without a word in the configuration, names tell.
  for (const auto& [end, named] :
       {std::pair("q_proj.qweight", "GPTQ"),
        std::pair("q_proj.weight.absmax", "bitsandbytes"),
        std::pair("q_proj.weight_packed", "compressed-tensors"),
        std::pair("q_proj.trellis", "EXL3")}) {
    Folder told(SmallConfig("llama"));
    told.tensors.push_back(
        {.name = std::string("model.layers.0.self_attn.") + end,
         .tensor = Tensor::Zeros({8})});
    EXPECT_THAT(told.Refusal(), HasSubstr(named));
    EXPECT_THAT(told.Refusal(), HasSubstr(end));
  }
  // What is read stays read.
  Json blocks = SmallConfig("llama");
  blocks["quantization_config"] = {{"quant_method", "fp8"},
                                   {"weight_block_size", {128, 128}}};
  EXPECT_EQ(folder.RefusalWith(blocks), "loaded");
}

// As published files of Qwen say that there is no window.
TEST(LoadTest, AWindowThatIsNotUsedMayBeAnything) {
  for (const char* type : {"qwen2", "qwen3"}) {
    for (const int window : {0, -1}) {
      Json config = SmallConfig(type);
      config["sliding_window"] = window;
      config["use_sliding_window"] = false;
      EXPECT_TRUE(FindFamily(type)->from_config(config).ok()) << window;
      config["use_sliding_window"] = true;
      EXPECT_FALSE(FindFamily(type)->from_config(config).ok()) << window;
    }
  }
}

// Every field that a configuration class of the reference library declares is
// read, or known with the values at which it changes nothing.
TEST(LoadTest, EveryDeclaredFieldIsKnown) {
  std::ifstream file("tests/golden/declared_fields.json");
  const Json recorded = Json::parse(file);
  size_t seen = 0;
  for (const auto& [type, fields] : recorded["fields"].items()) {
    const Family* family = FindFamily(type);
    ASSERT_NE(family, nullptr) << type;
    // Fields that are null by default get a value too: nulls count as absent.
    const Json values = {{"head_dim", 16},
                         {"num_key_value_heads", 2},
                         {"n_inner", 96},
                         {"ffn_hidden_size", 96},
                         {"mlp_multipliers", {1, 1}},
                         {"ssm_multipliers", {1, 1, 1, 1, 1}},
                         {"position_embedding_type", "nope"},
                         {"layers_block_type", {"linear_attention", "hybrid"}},
                         {"sliding_window", 8},
                         {"time_step_limit", {0, 1}},
                         {"rope_parameters", {{"rope_type", "default"}}},
                         {"layer_types", {"full_attention", "full_attention"}}};
    Json config = SmallConfig(type);
    for (const auto& [name, value] : values.items()) {
      if (config.value(name, Json()).is_null()) config[name] = value;
    }
    for (const auto& [name, value] : fields.items()) {
      if (!config.contains(name)) config[name] = value;
      if (config[name].is_null()) config[name] = "something";
      ++seen;
    }
    for (auto at = config.begin(); at != config.end();) {
      const bool theta =
          at.key() == "rope_theta" && fields.contains("rope_parameters");
      at = fields.contains(at.key()) || theta || at.key() == "model_type"
               ? std::next(at)
               : config.erase(at);
    }
    if (config.contains("bos_token_id")) config["bos_token_id"] = 1;
    if (config.contains("eos_token_id")) config["eos_token_id"] = 2;
    const auto translated = family->from_config(config);
    ASSERT_TRUE(translated.ok()) << type << translated.status().message();
    const std::vector<std::string>& unread = translated->unread;
    for (const std::string& name : unread) {
      const auto known = [&](const std::vector<DeclaredField>& declared) {
        return std::ranges::any_of(declared, [&](const DeclaredField& field) {
          return name == field.name;
        });
      };
      EXPECT_TRUE(known(family->declared) || known(CommonFields()))
          << type << " has " << name;
    }
  }
  EXPECT_GT(seen, 200u);
}

// Keys of the architecture that llama.cpp reads count, others are named.
TEST(LoadTest, GgufKeysThatAreNotUsed) {
  const Json plain = {{"general.architecture", "llama"},
                      {"llama.block_count", 2},
                      {"llama.embedding_length", 64},
                      {"llama.attention.head_count", 4},
                      {"llama.feed_forward_length", 96},
                      {"tokenizer.ggml.model", "llama"},
                      {"llama.attention.layer_norm_rms_epsilon", 1e-5}};
  const auto sorted = [&](const char* key, const Json& value) {
    Json fields = plain;
    fields[key] = value;
    const auto model = FindGgufFamily("llama")->from_gguf(fields);
    EXPECT_TRUE(model.ok()) << model.status().message();
    Unused unused;
    if (model.ok()) {
      SortFields(model->unread, fields, "llama.", CommonGgufFields(), &unused);
    }
    return unused;
  };
  using Names = std::vector<std::string>;
  EXPECT_EQ(sorted("llama.attention.causal", false).fields,
            Names({"llama.attention.causal"}));
  EXPECT_EQ(sorted("llama.expert_group_count", 4).fields,
            Names({"llama.expert_group_count"}));
  for (const auto& [key, value] :
       {std::pair("llama.attention.causal", Json(true)),
        std::pair("llama.expert_group_count", Json(1)),
        std::pair("llama.expert_used_count", Json(0)),
        std::pair("general.type", Json("model")),
        std::pair("tokenizer.ggml.pre", Json("default"))}) {
    const Unused unused = sorted(key, value);
    EXPECT_TRUE(unused.fields.empty()) << key;
    EXPECT_TRUE(unused.warnings.empty()) << key;
  }
  const Unused other = sorted("llama.tensor_data_layout", "Meta AI");
  EXPECT_TRUE(other.fields.empty());
  ASSERT_EQ(other.warnings.size(), 1u);
  EXPECT_THAT(other.warnings[0], HasSubstr("llama.tensor_data_layout"));
}

GgufEntries Words() {
  return {{"general.architecture", std::string("llama")},
          {"tokenizer.ggml.model", std::string("llama")},
          {"tokenizer.ggml.tokens",
           std::vector<std::string>{"<unk>", "<s>", "</s>", "a", "\u2581"}},
          {"tokenizer.ggml.token_type", std::vector<int32_t>{2, 3, 3, 1, 1}},
          {"tokenizer.ggml.scores", std::vector<float>{0, 0, 0, -1, -2}}};
}

TEST(OpenTokenizerTest, GgufMayNameSeveralChatTemplates) {
  const TempFolder folder;
  GgufEntries entries = Words();
  entries.push_back({"tokenizer.chat_template", std::string("plain")});
  entries.push_back({"tokenizer.chat_template.tool_use", std::string("tools")});
  ASSERT_TRUE(WriteGguf(folder / "m.gguf", entries, {}).ok());
  const auto checkpoint = Checkpoint::Open(folder / "m.gguf");
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
  const auto tokenizer = OpenTokenizer(**checkpoint);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().message();
  EXPECT_EQ((*tokenizer)->chat_template(), "plain");
  EXPECT_EQ((*tokenizer)->chat_template("tool_use"), "tools");
}

TEST(OpenTokenizerTest, WordsOfRwkvLieBesideTheWeights) {
  const TempFolder folder;
  ASSERT_TRUE(
      WriteSafetensors(folder / "model.safetensors",
                       std::vector<NamedTensor>{{"a", Tensor::Zeros({1})}})
          .ok());
  WriteFile(folder / "config.json", "{}");
  WriteFile(folder / "rwkv_vocab_v20230424.txt", "1 'a' 1\n2 'ab' 2\n");
  const auto checkpoint = Checkpoint::Open(folder.path());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
  const auto tokenizer = OpenTokenizer(**checkpoint);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().message();
  ASSERT_NE(*tokenizer, nullptr);
  EXPECT_EQ((*tokenizer)->Decode(std::vector<int32_t>{2, 1}), "aba");
}

}  // namespace
}  // namespace intarsia
