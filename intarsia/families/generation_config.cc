#include "intarsia/families/generation_config.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "intarsia/tokenizer/side_files.h"

namespace intarsia {
namespace {

using Json = nlohmann::json;

// A field's values: one or a list of them; null and none give nothing.
Json ValuesOf(const Json& file, const char* name) {
  const auto field = file.find(name);
  if (field == file.end() || field->is_null()) return Json::array();
  return field->is_array() ? *field : Json::array({*field});
}

std::string Shown(const Json& value) {
  return value.dump(-1, ' ', true, Json::error_handler_t::replace)
      .substr(0, 40);
}

Result<Json> Parse(std::string_view text, const std::string& where) {
  Json file = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (file.is_discarded()) return DataLoss(where + "is not valid JSON");
  if (!file.is_object()) return InvalidArgument(where + "is not an object");
  return file;
}

Status AddStopTexts(const Json& file, const std::string& where,
                    ModelConfig* config) {
  for (const Json& text : ValuesOf(file, "stop_strings")) {
    if (!text.is_string() || text.get_ref<const std::string&>().empty()) {
      return InvalidArgument(where +
                             "stop_strings: must be a text or a list of them, "
                             "none empty, is " +
                             Shown(text));
    }
    config->stop_texts.push_back(text.get<std::string>());
  }
  return Status::Ok();
}

}  // namespace

Status AddGenerationEnds(std::string_view text, const std::string& path,
                         ModelConfig* config,
                         std::vector<std::string>* warnings) {
  const std::string where = "[load] " + path + ": ";
  ASSIGN_OR_RETURN(const Json file, Parse(text, where));
  for (const Json& id : ValuesOf(file, "eos_token_id")) {
    if (!id.is_number_integer()) {
      return InvalidArgument(
          where + "eos_token_id: must be a token id or a list of them, is " +
          Shown(id));
    }
    const bool outside =
        id.is_number_unsigned()
            ? id.get<uint64_t>() >= static_cast<uint64_t>(config->vocab_size)
            : true;
    if (outside) {
      warnings->push_back(path + ": eos_token_id " + id.dump() +
                          " is outside the vocabulary of " +
                          std::to_string(config->vocab_size) +
                          " and ends nothing");
      continue;
    }
    const int value = id.get<int>();
    if (std::ranges::find(config->eos_ids, value) == config->eos_ids.end()) {
      config->eos_ids.push_back(value);
    }
  }
  return AddStopTexts(file, where, config);
}

Status ReadGenerationConfig(const std::string& path, ModelConfig* config,
                            std::vector<std::string>* warnings) {
  if (path.empty()) return Status::Ok();
  const Result<std::string> text = ReadWholeFile(path);
  if (!text.ok()) {
    return Status(text.status().code(),
                  "[load] " + path + ": " + text.status().message());
  }
  return AddGenerationEnds(*text, path, config, warnings);
}

Status ReadStopTexts(const GgufMetadata& metadata, const std::string& path,
                     ModelConfig* config) {
  if (!metadata.Has(kGenerationConfig)) return Status::Ok();
  const std::string where = "[load] " + path + ": " + kGenerationConfig + ": ";
  ASSIGN_OR_RETURN(const std::string text, metadata.String(kGenerationConfig));
  ASSIGN_OR_RETURN(const Json file, Parse(text, where));
  return AddStopTexts(file, where, config);
}

}  // namespace intarsia
