// The targets of targets.def.
#include <iterator>
#include <nlohmann/json.hpp>
#include <string_view>

#include "intarsia/checkpoint/checked.h"
#include "intarsia/checkpoint/json_input.h"
#include "intarsia/core/fuzz/memory_file.h"
#include "intarsia/families/fuzz/sound_configs.h"
#include "intarsia/families/open.h"

namespace intarsia {
namespace {

constexpr size_t kMaxBlocks = 8;  // that are built: more are alike and slow

void CheckMessage(const Status& status) {
  CHECK(status.message().starts_with("[")) << status.message();
  CHECK(IsUtf8(status.message()));
}

ByteReader BytesOf(std::string_view input) {
  return ByteReader(std::as_bytes(std::span<const char>(input)));
}

// Goes down from `json` and changes what is there.
void EditOnce(Json* json, ByteReader* in) {
  for (int depth = 0; depth < 8 && json->is_structured(); ++depth) {
    const size_t way = in->Read<uint8_t>() % (json->size() + 1);
    if (way == json->size()) break;
    json = &*std::next(json->begin(), static_cast<ptrdiff_t>(way));
  }
  const auto what = in->Read<uint8_t>();
  const Json value = Json::parse(
      kConfigValues[in->Read<uint8_t>() % std::size(kConfigValues)]);
  if (json->is_object() && what < 200) {
    (*json)[kConfigFields[what % std::size(kConfigFields)]] = value;
  } else if (json->is_array() && what < 200) {
    json->push_back(what < 100 || json->empty() ? value : Json(json->front()));
  } else {
    *json = value;
  }
}

// What is read is written as it was read.
void CheckNative(const ModelConfig& config) {
  const Json written = ToJson(config);
  const auto again = ParseModelConfig(written);
  CHECK(again.ok()) << again.status().message() << written.dump();
  CHECK(ToJson(*again) == written);
}

bool Build(FamilyModel translated) {
  CHECK(translated.config.blocks.size() <= 4096);
  const bool whole = translated.config.blocks.size() <= kMaxBlocks;
  if (!whole) translated.config.blocks.resize(kMaxBlocks);
  const ModelConfig config = translated.config;
  const auto model = Model::Create(std::move(translated.config));
  if (!model.ok()) {
    CheckMessage(model.status());
    return false;
  }
  for (const std::string& path : (*model)->paths()) {
    CHECK((*model)->Find(path)->shape().numel() >= 0) << path;
  }
  if (!whole) return true;
  translated.other_layouts.push_back(std::move(translated.tensors));
  for (const auto& layout : translated.other_layouts) {
    for (const TensorMap& map : layout) {
      CHECK((*model)->Find(map.native) != nullptr) << map.native;
    }
  }
  if (config.vocab_size > 0) CheckNative(config);
  return true;
}

bool Translate(const Json& config) {
  if (!config.is_object()) return false;
  if (config.contains("intarsia")) {
    auto native = ParseModelConfig(config);
    if (!native.ok()) {
      CheckMessage(native.status());
      return false;
    }
    return Build(
        {.config = std::move(native).value(), .tensors = {}, .warnings = {}});
  }
  const Json type = config.value("model_type", Json());
  const Family* family =
      type.is_string() ? FindFamily(type.get<std::string>()) : nullptr;
  if (family == nullptr) return false;
  auto translated = family->from_config(config);
  if (!translated.ok()) {
    CheckMessage(translated.status());
    return false;
  }
  return Build(std::move(translated).value());
}

bool Load(const std::string& path) {
  const auto checkpoint = Checkpoint::Open(path);
  if (!checkpoint.ok()) return false;
  const auto tokenizer = OpenTokenizer(**checkpoint);
  if (!tokenizer.ok()) {
    CheckMessage(tokenizer.status());
  } else if (*tokenizer != nullptr) {
    const auto encoded = (*tokenizer)->Encode("a b1");
    if (!encoded.ok()) return true;
    const std::vector<int32_t>& ids = *encoded;
    (void)(*tokenizer)->Decode(ids);
  }
  const auto loaded = LoadModel(**checkpoint);
  if (!loaded.ok()) {
    CheckMessage(loaded.status());
    return false;
  }
  return true;
}

}  // namespace

bool FuzzModelConfig(std::string_view input) {
  if (input.empty()) return false;
  if (input[0] == '{') {
    const auto json = ParseJson(input, "[fuzz]", {.non_finite = true});
    return json.ok() && Translate(*json);
  }
  ByteReader in = BytesOf(input);
  const char* sound =
      kSoundConfigs[in.Read<uint8_t>() % std::size(kSoundConfigs)];
  Json json = ParseJson(sound, "[fuzz]", {.non_finite = true}).value();
  for (int i = 0; i < 16 && in.remaining() > 0; ++i) EditOnce(&json, &in);
  return Translate(json);
}

bool FuzzGgufModel(std::string_view input) {
  static auto* file = new FuzzFile;
  if (!input.starts_with("GGUF")) return false;
  file->Set(input);
  return Load(file->path());
}

bool FuzzModelFolder(std::string_view input) {
  static const FuzzFolder owned;  // removed at exit
  static const FuzzFolder* const folder = &owned;
  ByteReader in = BytesOf(input);
  const auto length = in.Read<uint16_t>();
  const auto config = in.Take(length);
  if (!in.ok()) return false;
  folder->Put("config.json", AsText(config));
  folder->Put("model.safetensors", AsText(in.Take(in.remaining())));
  return Load(folder->path());
}

}  // namespace intarsia
