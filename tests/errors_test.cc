// Faulty files: every error names the file, and the field or the tensor at
// fault; none is an internal one. Sound models of each family are made faulty
// in one place: a field of another type or out of range, a key or a tensor that
// is missing or has another shape.
#include <gtest/gtest.h>

#include <cmath>

#include "intarsia/checkpoint/gguf.h"
#include "intarsia/convert/gguf_model.h"
#include "intarsia/engine/model_runner.h"
#include "intarsia/families/fuzz/sound_configs.h"
#include "intarsia/families/open.h"
#include "tests/small_models.h"

namespace intarsia {
namespace {

using Json = nlohmann::json;

// Opens, and computes where it could be opened; the error's text, or "".
std::string Fault(const std::string& path) {
  auto opened = OpenModel(path);
  if (!opened.ok()) return opened.status().message();
  const int vocab = opened->model().config().vocab_size;
  const std::vector<int32_t> tokens = {0, 1 % vocab, 2 % vocab};
  try {
    ModelRunner runner(opened->model(),
                       {.threads = 1, .context = 8, .device = Cpu()});
    const int slot = runner.Open();
    auto logits = runner.Run({{slot, tokens}});
    if (logits.ok()) logits = runner.Run({{slot, std::span(tokens).first(1)}});
    return logits.ok() ? "" : logits.status().message();
  } catch (const EngineError& error) {
    return error.what();
  }
}

struct Tally {
  int cases = 0, refused = 0;
};

// `names`: one of them must stand in an error, or the names of what the file
// lacks.
void ExpectNamed(const std::string& path, const std::vector<std::string>& names,
                 const std::string& what, Tally* tally) {
  ++tally->cases;
  std::string message;
  try {
    message = Fault(path);
  } catch (const std::exception& error) {
    ADD_FAILURE() << what << ": internal: " << error.what();
    return;
  }
  if (message.empty()) return;
  ++tally->refused;
  const size_t at = message.find(path);
  EXPECT_NE(at, std::string::npos) << what << ": " << message;
  EXPECT_EQ(message.find(path, at + 1), std::string::npos)
      << what << " names the file twice: " << message;
  for (const std::string& name : names) {
    if (message.find(name) != std::string::npos) return;
  }
  if (message.find("the checkpoint lacks ") != std::string::npos) return;
  ADD_FAILURE() << what << " names neither field nor tensor: " << message;
}

const Json& WrongValues() {
  static const auto* values = new Json(Json::parse(
      R"([null, true, "x", "", [], {}, [1], -1, 0, 1, 3, 7, 1.5, 1e30, -1e30,
          65537, 16777217, 2147483648, 9223372036854775807,
          18446744073709551615, {"type": 5}, [[]], "\u001b[31m"])"));
  return *values;
}

SmallModel ModelOf(const Json& config) {
  SmallModel model(config);
  model.tokenizer = LetterTokenizer(config.value("vocab_size", 10));
  return model;
}

// Sound configurations that are read as folders of Hugging Face.
std::vector<Json> SoundConfigs() {
  std::vector<Json> configs;
  for (const char* text : kSoundConfigs) {
    Json config = Json::parse(text);
    if (!config.contains("model_type")) continue;
    // What the families' libraries take for a missing number is for large
    // models, and does not divide a few heads.
    const Json heads = config.value("num_key_value_heads", Json());
    if (heads.is_null() && config.contains("num_attention_heads")) {
      config["num_key_value_heads"] = config["num_attention_heads"];
    }
    configs.push_back(config);
  }
  return configs;
}

std::vector<std::string> TensorNames(const SmallModel& model) {
  std::vector<std::string> names;
  for (const NamedTensor& tensor : model.tensors) names.push_back(tensor.name);
  return names;
}

TEST(ErrorsTest, FieldsOfConfigurations) {
  Tally tally;
  for (const Json& sound : SoundConfigs()) {
    const TempFolder folder;
    const SmallModel model = ModelOf(sound);
    model.Write(folder.path());
    ASSERT_EQ(Fault(folder.path()), "") << sound.dump();
    // A changed size shows in a tensor that does not fit.
    const std::vector<std::string> tensors = TensorNames(model);
    const auto expect = [&](const Json& config, const std::string& key) {
      WriteFile(folder / "config.json", config.dump());
      std::vector<std::string> names = tensors;
      names.push_back(key);
      names.push_back("rotary scaling of type");
      // Of fields that contradict each other any may be named.
      for (const auto& [other, value] : config.items()) {
        names.push_back("\"" + other + "\"");
        names.push_back("\"" + other + ".");
      }
      ExpectNamed(folder.path(), names, config.dump(), &tally);
    };
    for (const auto& [key, value] : sound.items()) {
      for (const Json& wrong : WrongValues()) {
        Json config = sound;
        config[key] = wrong;
        expect(config, key);
      }
      Json config = sound;
      config.erase(key);
      expect(config, key);
      if (!value.is_object()) continue;
      for (const auto& [inner, unused] : value.items()) {
        for (const Json& wrong : WrongValues()) {
          config = sound;
          config[key][inner] = wrong;
          expect(config, inner);
        }
        config = sound;
        config[key].erase(inner);
        expect(config, inner);
      }
    }
  }
  EXPECT_GT(tally.cases, 2000);
  EXPECT_GT(tally.refused, 800);
}

// Every place of a value inside, as a JSON pointer, and its last name.
void Places(const Json& json, const std::string& at, const std::string& name,
            std::vector<std::pair<std::string, std::string>>* out) {
  if (!at.empty()) out->emplace_back(at, name);
  if (json.is_object()) {
    for (const auto& [key, value] : json.items()) {
      Places(value, at + "/" + key, key, out);
    }
  } else if (json.is_array()) {
    for (size_t i = 0; i < json.size(); ++i) {
      Places(json[i], at + "/" + std::to_string(i), name, out);
    }
  }
}

// A model of this program's own format.
void WriteNative(const Json& config, const std::string& folder) {
  const auto model = Model::Create(ParseModelConfig(config).value());
  ASSERT_TRUE(model.ok()) << model.status().message();
  (*model)->InitWeights(1);
  std::vector<NamedTensor> tensors;
  for (const std::string& path : (*model)->paths()) {
    tensors.push_back({path, (*model)->Find(path)->values()});
  }
  ASSERT_TRUE(WriteSafetensors(folder + "/model.safetensors", tensors).ok());
  WriteFile(folder + "/intarsia.json", config.dump());
}

TEST(ErrorsTest, FieldsOfNativeConfigurations) {
  Tally tally;
  for (const char* text : kSoundConfigs) {
    const Json sound = Json::parse(text);
    if (!sound.contains("intarsia")) continue;
    const TempFolder folder;
    WriteNative(sound, folder.path());
    ASSERT_EQ(Fault(folder.path()), "") << sound.dump();
    std::vector<std::pair<std::string, std::string>> places;
    Places(sound, "", "", &places);
    for (const auto& [at, name] : places) {
      const Json::json_pointer place(at);
      std::vector<Json> edited;
      for (const Json& wrong : WrongValues()) {
        edited.push_back(sound);
        edited.back()[place] = wrong;
      }
      edited.push_back(sound);
      Json& parent = edited.back()[place.parent_pointer()];
      if (parent.is_object()) parent.erase(place.back());
      for (const Json& config : edited) {
        WriteFile(folder / "intarsia.json", config.dump());
        // A changed size shows in a weight that does not fit, a field that
        // contradicts others in any of them.
        ExpectNamed(folder.path(),
                    {name, "\"norm", "blocks", "embedding", "head",
                     "final_norm", "positions"},
                    at + " " + config.at(place.parent_pointer()).dump(),
                    &tally);
      }
    }
  }
  EXPECT_GT(tally.refused, 500);
}

// Shapes that `tensor` may be given in a file.
std::vector<Tensor> OtherShapes(const Tensor& tensor) {
  std::vector<Tensor> others;
  const Shape& shape = tensor.shape();
  others.push_back(Tensor::Zeros({tensor.numel() + 1}));
  others.push_back(Tensor::Zeros(Shape()));
  others.push_back(Tensor::Zeros({0}));
  others.push_back(Tensor::Zeros({1, tensor.numel(), 1, 1}));
  others.push_back(Tensor::Zeros(shape.With(0, shape[0] + 1)));
  others.push_back(Tensor::Zeros(shape.With(0, 0)));
  others.push_back(Tensor::Zeros(shape.With(shape.rank() - 1, 0)));
  if (shape.rank() == 2) others.push_back(Tensor::Zeros({shape[1], shape[0]}));
  others.push_back(Tensor::Zeros(shape, DType::kI32));
  return others;
}

TEST(ErrorsTest, TensorsOfFolders) {
  Tally tally;
  for (const Json& sound : SoundConfigs()) {
    const SmallModel model = ModelOf(sound);
    const TempFolder folder;
    model.Write(folder.path());
    for (size_t i = 0; i < model.tensors.size(); ++i) {
      const std::string& name = model.tensors[i].name;
      const std::string what =
          sound["model_type"].get<std::string>() + " " + name;
      const auto expect = [&](const SmallModel& other) {
        ASSERT_TRUE(
            WriteSafetensors(folder / "model.safetensors", other.tensors).ok());
        ExpectNamed(folder.path(), {name}, what, &tally);
      };
      SmallModel other = model;
      other.tensors.erase(other.tensors.begin() + static_cast<long>(i));
      expect(other);
      for (const Tensor& shape : OtherShapes(model.tensors[i].tensor)) {
        other = model;
        other.tensors[i].tensor = shape;
        expect(other);
      }
    }
  }
  EXPECT_GT(tally.refused, 500);
}

// The same model as GGUF.
struct SmallGguf {
  GgufEntries entries;
  std::vector<NamedTensor> tensors;
};

SmallGguf GgufOf(const Json& config) {
  const TempFolder folder;
  ModelOf(config).Write(folder.path());
  const auto checkpoint = Checkpoint::Open(folder.path());
  CHECK(checkpoint.ok()) << checkpoint.status().message();
  const auto model = ToGgufModel(**checkpoint);
  CHECK(model.ok()) << model.status().message();
  SmallGguf gguf{model->metadata, {}};
  for (const LazyTensor& lazy : model->tensors) {
    CHECK(lazy.encoding == "f32") << lazy.name << " is " << lazy.encoding;
    gguf.tensors.push_back({lazy.name, lazy.values()->Clone().Reinterpret(
                                           lazy.shape, DType::kF32)});
  }
  return gguf;
}

std::vector<GgufValue> WrongEntries() {
  return {std::string("x"),
          std::string(),
          true,
          uint32_t{0},
          uint32_t{1},
          uint32_t{3},
          int32_t{-1},
          uint64_t{1} << 24,
          uint64_t{1} << 31,
          ~uint64_t{0},
          1.5f,
          NAN,
          INFINITY,
          -1e30,
          std::vector<uint32_t>{1, 2},
          std::vector<std::string>{"a"}};
}

std::vector<Json> GgufConfigs() {
  std::vector<Json> configs;
  for (const char* type : {"llama", "qwen2", "qwen3", "gpt2"}) {
    configs.push_back(SmallConfig(type));
  }
  return configs;
}

TEST(ErrorsTest, KeysOfGguf) {
  Tally tally;
  for (const Json& config : GgufConfigs()) {
    const SmallGguf sound = GgufOf(config);
    const TempFolder folder;
    const std::string path = folder / "m.gguf";
    std::vector<std::string> tensors;
    for (const NamedTensor& t : sound.tensors) tensors.push_back(t.name);
    const auto expect = [&](const SmallGguf& gguf, const std::string& key,
                            const std::string& what) {
      ASSERT_TRUE(WriteGguf(path, gguf.entries, gguf.tensors).ok());
      std::vector<std::string> names = tensors;
      names.push_back(key);
      // Of keys that contradict each other any may be named, with the
      // architecture or without.
      for (const auto& [other, value] : gguf.entries) {
        names.push_back("\"" + other + "\"");
        names.push_back("\"" + other.substr(other.find('.') + 1) + "\"");
      }
      if (key.starts_with("tokenizer.")) names.push_back("[tokenizer]");
      if (key.starts_with("tokenizer.ggml.")) names.push_back("token");
      ExpectNamed(path, names, key + what, &tally);
    };
    ASSERT_TRUE(WriteGguf(path, sound.entries, sound.tensors).ok());
    ASSERT_EQ(Fault(path), "");
    for (size_t i = 0; i < sound.entries.size(); ++i) {
      const std::string key = sound.entries[i].first;
      if (key == "general.alignment") continue;
      SmallGguf other = sound;
      other.entries.erase(other.entries.begin() + static_cast<long>(i));
      expect(other, key, " removed");
      for (size_t w = 0; const GgufValue& wrong : WrongEntries()) {
        other = sound;
        other.entries[i].second = wrong;
        expect(other, key, " wrong " + std::to_string(w++));
      }
    }
  }
  EXPECT_GT(tally.refused, 300);
}

TEST(ErrorsTest, TensorsOfGguf) {
  Tally tally;
  for (const Json& config : GgufConfigs()) {
    const SmallGguf sound = GgufOf(config);
    const TempFolder folder;
    const std::string path = folder / "m.gguf";
    for (size_t i = 0; i < sound.tensors.size(); ++i) {
      const std::string& name = sound.tensors[i].name;
      // Without its own head a file is tied.
      if (name == "output.weight") continue;
      SmallGguf other = sound;
      other.tensors.erase(other.tensors.begin() + static_cast<long>(i));
      ASSERT_TRUE(WriteGguf(path, other.entries, other.tensors).ok());
      ExpectNamed(path, {name}, name + " removed", &tally);
      for (const Tensor& shape : OtherShapes(sound.tensors[i].tensor)) {
        other = sound;
        other.tensors[i].tensor = shape;
        if (!WriteGguf(path, other.entries, other.tensors).ok()) continue;
        ExpectNamed(path, {name, "output.weight"},
                    name + " " + shape.shape().ToString(), &tally);
      }
    }
  }
  EXPECT_GT(tally.refused, 300);
}

// Tokenizers are read by one folder and copied by another.
// A quarter of the cases, so that no test is long.
void CheckValuesOfTokenizers(int part) {
  const TempFolder folder;
  SmallModel sound(SmallConfig("llama"));
  sound.tokenizer["normalizer"] = Json::parse(
      R"({"type":"Sequence","normalizers":[{"type":"Replace",
          "pattern":{"String":"x"},"content":"y"}]})");
  sound.tokenizer["pre_tokenizer"] = Json::parse(
      R"({"type":"Sequence","pretokenizers":[{"type":"Split","pattern":
          {"Regex":"a"},"behavior":"Isolated","invert":false},
          {"type":"ByteLevel","add_prefix_space":false,"use_regex":false}]})");
  sound.tokenizer["post_processor"] = Json::parse(
      R"({"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<s>",
          "type_id":0}},{"Sequence":{"id":"A","type_id":0}}],"pair":[],
          "special_tokens":{"<s>":{"id":"<s>","ids":[0],"tokens":["<s>"]}}})");
  sound.Write(folder.path());
  ASSERT_EQ(Fault(folder.path()), "");
  int cases = 0;
  for (const char* file : {"tokenizer.json", "tokenizer_config.json"}) {
    const Json whole = Json::parse(ReadFile(folder / file));
    std::vector<std::pair<std::string, std::string>> places;
    Places(whole, "", "", &places);
    for (const auto& [at, name] : places) {
      if (at.starts_with("/model/vocab/") && name != "a" && name != "<s>") {
        continue;
      }
      for (const Json& wrong : WrongValues()) {
        if (cases++ % 4 != part) continue;
        Json json = whole;
        json[Json::json_pointer(at)] = wrong;
        WriteFile(folder / file, json.dump());
        const std::string what = at + ": " + wrong.dump();
        try {
          const std::string fault = Fault(folder.path());
          EXPECT_TRUE(fault.empty() ||
                      fault.find(folder.path()) != std::string::npos)
              << what << ": " << fault;
          const auto checkpoint = Checkpoint::Open(folder.path());
          ASSERT_TRUE(checkpoint.ok());
          const auto model = ToGgufModel(**checkpoint);
          EXPECT_TRUE(model.ok() || model.status().message().find(
                                        folder.path()) != std::string::npos)
              << what << ": " << model.status().message();
        } catch (const std::exception& error) {
          ADD_FAILURE() << what << ": internal: " << error.what();
        }
      }
    }
    WriteFile(folder / file, whole.dump());
  }
  EXPECT_GT(cases, 1000);
}

TEST(ErrorsTest, ValuesOfTokenizersFirst) { CheckValuesOfTokenizers(0); }
TEST(ErrorsTest, ValuesOfTokenizersSecond) { CheckValuesOfTokenizers(1); }
TEST(ErrorsTest, ValuesOfTokenizersThird) { CheckValuesOfTokenizers(2); }
TEST(ErrorsTest, ValuesOfTokenizersFourth) { CheckValuesOfTokenizers(3); }

}  // namespace
}  // namespace intarsia
