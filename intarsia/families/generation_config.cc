#include "intarsia/families/generation_config.h"

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

namespace intarsia {

using Json = nlohmann::json;

Status AddGenerationEnds(std::string_view text, const std::string& path,
                         ModelConfig* config,
                         std::vector<std::string>* warnings) {
  const std::string where = "[load] " + path + ": ";
  const Json file = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (file.is_discarded()) return DataLoss(where + "is not valid JSON");
  if (!file.is_object()) return InvalidArgument(where + "is not an object");
  const auto field = file.find("eos_token_id");
  if (field == file.end() || field->is_null()) return Status::Ok();
  const Json ids = field->is_array() ? *field : Json::array({*field});
  for (const Json& id : ids) {
    if (!id.is_number_integer()) {
      return InvalidArgument(
          where +
          "eos_token_id: must be a token id or a list of "
          "them, is " +
          id.dump(-1, ' ', true, Json::error_handler_t::replace).substr(0, 40));
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
  return Status::Ok();
}

Status ReadGenerationConfig(const std::string& path, ModelConfig* config,
                            std::vector<std::string>* warnings) {
  if (path.empty()) return Status::Ok();
  std::ifstream file(path, std::ios::binary);
  if (!file) return NotFound("[load] " + path + ": cannot be opened");
  std::ostringstream text;
  text << file.rdbuf();
  if (file.bad()) return DataLoss("[load] " + path + ": cannot be read");
  return AddGenerationEnds(text.str(), path, config, warnings);
}

}  // namespace intarsia
