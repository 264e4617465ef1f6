#include "intarsia/tokenizer/tokenizer_config.h"

#include <fstream>
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

Status TokenizerError(const std::string& source, const Status& status) {
  return {status.code(), "[tokenizer] " + source + ": " + status.message()};
}

}  // namespace intarsia
