#include "intarsia/convert/gguf_model.h"

#include <algorithm>
#include <filesystem>
#include <type_traits>

#include "intarsia/convert/hf_model.h"
#include "intarsia/convert/json_faults.h"
#include "intarsia/families/generation_config.h"
#include "intarsia/families/gguf_tokenizer.h"

namespace intarsia {
namespace {

const GgufValue* Find(const GgufEntries& entries, const std::string& key) {
  const auto found = std::ranges::find_if(
      entries, [&](const auto& entry) { return entry.first == key; });
  return found == entries.end() ? nullptr : &found->second;
}

// Texts of files of ours, without what would run code of others; a source
// configuration that no longer describes the model stays behind.
Status CheckSource(const Checkpoint& gguf, GgufModel* model) {
  for (const char* key : {kSourceConfig, kTokenizerConfig, kGenerationConfig}) {
    const std::string text = model->Text(key);
    nlohmann::ordered_json json = nlohmann::ordered_json::parse(
        text, nullptr, /*allow_exceptions=*/false);
    if (json.is_object() && Scrub(&json)) model->Set(key, json.dump());
  }
  const std::string source = model->Text(kSourceConfig);
  if (source.empty()) return Status::Ok();
  const StoredTensor* table = gguf.Find("token_embd.weight");
  const std::string disagrees =
      SourceDisagrees(JsonOrNull(source), gguf.config(),
                      table == nullptr ? 0 : table->shape[0]);
  if (disagrees.empty()) return Status::Ok();
  model->warnings.push_back(std::string(kSourceConfig) +
                            " is left out: " + disagrees);
  std::erase_if(model->metadata,
                [](const auto& entry) { return entry.first == kSourceConfig; });
  return Status::Ok();
}

}  // namespace

std::string GgufModel::Text(const std::string& key) const {
  const GgufValue* value = Find(metadata, key);
  const auto* text =
      value == nullptr ? nullptr : std::get_if<std::string>(value);
  return text == nullptr ? std::string() : *text;
}

int64_t GgufModel::Integer(const std::string& key, int64_t fallback) const {
  const GgufValue* value = Find(metadata, key);
  if (value == nullptr) return fallback;
  return std::visit(
      [&](const auto& v) -> int64_t {
        using T = std::decay_t<decltype(v)>;
        if constexpr (std::is_integral_v<T> && !std::is_same_v<T, bool>) {
          return static_cast<int64_t>(v);
        }
        if constexpr (std::is_same_v<T, std::vector<int32_t>> ||
                      std::is_same_v<T, std::vector<uint32_t>>) {
          if (!v.empty()) return static_cast<int64_t>(v[0]);
        }
        return fallback;
      },
      *value);
}

void GgufModel::Set(const std::string& key, GgufValue value) {
  for (auto& [name, old] : metadata) {
    if (name != key) continue;
    old = std::move(value);
    return;
  }
  metadata.emplace_back(key, std::move(value));
}

Result<GgufModel> ToGgufModel(const Checkpoint& gguf) {
  if (gguf.gguf() == nullptr) {
    ASSIGN_OR_RETURN(const HfModel model, ReadHfModel(gguf));
    const std::filesystem::path path(gguf.path());
    return InFile(
        NamingJsonFaults(
            gguf.path(),
            [&] { return ToGgufModel(model, path.filename().string()); }),
        gguf.path());
  }
  GgufModel model;
  model.metadata = gguf.gguf()->ToEntries();
  RETURN_IF_ERROR(CheckSource(gguf, &model));
  for (const StoredTensor& stored : gguf.tensors()) {
    model.tensors.push_back(
        {.name = stored.name,
         .encoding = stored.encoding,
         .shape = stored.shape,
         .values = [&stored]() -> Result<Tensor> { return stored.bytes; }});
  }
  return model;
}

}  // namespace intarsia
