#include "intarsia/tokenizer/tokenizer_config.h"

#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>
#include <utility>

#include "intarsia/tokenizer/json_fields.h"

namespace intarsia {
namespace {

using Json = nlohmann::json;

Status ReadChatTemplates(const Json& spec, TokenizerBuilder* builder) {
  if (spec.is_null()) return Status::Ok();
  if (spec.is_string()) {
    builder->AddChatTemplate("default", spec.get<std::string>());
    return Status::Ok();
  }
  if (!spec.is_array()) {
    return InvalidArgument("chat_template: must be text or a list");
  }
  for (const Json& entry : spec) {
    ASSIGN_OR_RETURN(std::string name,
                     StringField(entry, "name", "chat_template"));
    ASSIGN_OR_RETURN(std::string text,
                     StringField(entry, "template", "chat_template"));
    builder->AddChatTemplate(std::move(name), std::move(text));
  }
  return Status::Ok();
}

// The id of a token that the configuration names; -1 if it names none.
Result<int32_t> NamedToken(const Json& config, const char* name,
                           const TokenizerBuilder& builder) {
  ASSIGN_OR_RETURN(const std::optional<std::string> text,
                   TokenText(config, name, "the file"));
  if (!text) return -1;
  const int32_t id = builder.Find(*text);
  if (id < 0) {
    return InvalidArgument(std::string(name) + " \"" + *text +
                           "\" is not in the vocabulary");
  }
  return id;
}

}  // namespace

Status ReadTokenizerConfig(const Json& config, bool add_bos, bool add_eos,
                           TokenizerBuilder* builder) {
  RETURN_IF_ERROR(CheckObject(config, "the file"));
  ASSIGN_OR_RETURN(const int32_t bos,
                   NamedToken(config, "bos_token", *builder));
  ASSIGN_OR_RETURN(const int32_t eos,
                   NamedToken(config, "eos_token", *builder));
  builder->set_bos(bos);
  builder->set_eos(eos);
  // The flags matter where the tokenizer's file does not say it itself.
  ASSIGN_OR_RETURN(add_bos,
                   BoolField(config, "add_bos_token", add_bos, "the file"));
  ASSIGN_OR_RETURN(add_eos,
                   BoolField(config, "add_eos_token", add_eos, "the file"));
  if (add_bos && bos >= 0 && !builder->has_prefix()) builder->set_prefix({bos});
  if (add_eos && eos >= 0 && !builder->has_suffix()) builder->set_suffix({eos});
  const auto chat = config.find("chat_template");
  return chat == config.end() ? Status::Ok()
                              : ReadChatTemplates(*chat, builder);
}

Result<Json> ParseTokenizerJson(std::string_view text) {
  Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded()) return DataLoss("is not valid JSON");
  return json;
}

Result<std::string> ReadWholeFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return NotFound("cannot be opened");
  std::ostringstream text;
  text << file.rdbuf();
  if (file.bad() || text.bad()) return DataLoss("cannot be read");
  return std::move(text).str();
}

Result<std::string> ConfigWithTemplates(std::string config,
                                        const std::string& tokenizer_path) {
  namespace fs = std::filesystem;
  const fs::path here = fs::path(tokenizer_path).parent_path();
  // A name of a template to its text; what comes first stays.
  std::map<std::string, std::string> found;
  std::error_code ignored;
  const auto add = [&](const std::string& name, const fs::path& path) {
    if (!fs::is_regular_file(path, ignored)) return Status::Ok();
    Result<std::string> text = ReadWholeFile(path.string());
    if (!text.ok()) return TokenizerError(path.string(), text.status());
    found.emplace(name, *std::move(text));
    return Status::Ok();
  };
  RETURN_IF_ERROR(add("default", here / "chat_template.jinja"));
  for (const auto& entry :
       fs::directory_iterator(here / "additional_chat_templates", ignored)) {
    if (entry.path().extension() != ".jinja") continue;
    RETURN_IF_ERROR(add(entry.path().stem().string(), entry.path()));
  }
  Json json = Json::parse(config.empty() ? "{}" : config, nullptr,
                          /*allow_exceptions=*/false);
  if (!json.is_object()) return config;  // refused by whoever reads it
  const Json written = json.value("chat_template", Json());
  const fs::path processor = here / "chat_template.json";
  if (found.count("default") == 0 && written.is_null() &&
      fs::is_regular_file(processor, ignored)) {
    RETURN_IF_ERROR(add("default", processor));
    const Json other = Json::parse(found["default"], nullptr,
                                   /*allow_exceptions=*/false);
    found.erase("default");
    const auto text =
        other.is_object() ? other.find("chat_template") : other.end();
    if (text == other.end() || !text->is_string()) {
      return TokenizerError(processor.string(),
                            DataLoss("has no text chat_template"));
    }
    found.emplace("default", text->get<std::string>());
  }
  if (found.empty()) return config;
  Json list = Json::array();
  for (const auto& [name, text] : found) {
    list.push_back({{"name", name}, {"template", text}});
  }
  if (written.is_string()) {
    list.push_back({{"name", "default"}, {"template", written}});
  } else if (written.is_array()) {
    list.insert(list.end(), written.begin(), written.end());
  }
  json["chat_template"] = std::move(list);
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Status TokenizerError(const std::string& source, const Status& status) {
  return {status.code(), "[tokenizer] " + source + ": " + status.message()};
}

}  // namespace intarsia
