#include "intarsia/tokenizer/side_files.h"

#include <filesystem>
#include <nlohmann/json.hpp>
#include <utility>

#include "intarsia/checkpoint/foreign.h"
#include "intarsia/checkpoint/mapped_file.h"
#include "intarsia/tokenizer/json_fields.h"

namespace intarsia {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

// Keeps the order of the names of special tokens, which objects lose.
class NameOrder : public nlohmann::json_sax<Json> {
 public:
  explicit NameOrder(SideFile* file) : file_(file) {}

  bool key(std::string& name) override {
    if (depth_ == 1) {
      extra_ = name == "extra_special_tokens" ||
               name == "model_specific_special_tokens";
      if (name.ends_with("_token")) file_->names.push_back(name);
    } else if (depth_ == 2 && extra_) {
      file_->extra_names.push_back(name);
    }
    return true;
  }
  bool start_object(size_t) override { return Enter(1); }
  bool end_object() override { return Enter(-1); }
  bool start_array(size_t) override { return Enter(1); }
  bool end_array() override { return Enter(-1); }
  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(Json::number_integer_t) override { return true; }
  bool number_unsigned(Json::number_unsigned_t) override { return true; }
  bool number_float(Json::number_float_t, const std::string&) override {
    return true;
  }
  bool string(std::string&) override { return true; }
  bool binary(Json::binary_t&) override { return true; }
  bool parse_error(size_t, const std::string&,
                   const nlohmann::detail::exception&) override {
    return false;
  }

 private:
  bool Enter(int step) {
    depth_ += step;
    return true;
  }

  SideFile* file_;
  int depth_ = 0;
  bool extra_ = false;
};

// The object that a text is; errors name the file.
Result<SideFile> ParseSide(std::string_view text, const std::string& source) {
  SideFile file;
  file.source = source;
  Result<Json> json = ParseTokenizerJson(text);
  if (!json.ok()) return TokenizerError(source, json.status());
  const Status object = CheckObject(*json, "the file");
  if (!object.ok()) return TokenizerError(source, object);
  file.json = *std::move(json);
  NameOrder order(&file);
  Json::sax_parse(text, &order);
  return file;
}

Result<SideFile> ReadSide(const fs::path& path, bool must_be_there) {
  std::error_code ignored;
  if (!must_be_there && !fs::is_regular_file(path, ignored)) return SideFile();
  const Result<std::string> text = ReadWholeFile(path.string());
  if (!text.ok()) return TokenizerError(path.string(), text.status());
  return ParseSide(*text, path.string());
}

Status ReadTemplateFiles(const fs::path& folder, SideFiles* files) {
  std::error_code ignored;
  bool has_default = false;
  const auto add = [&](const std::string& name, const fs::path& path) {
    if (!fs::is_regular_file(path, ignored)) return Status::Ok();
    Result<std::string> text = ReadWholeFile(path.string());
    if (!text.ok()) return TokenizerError(path.string(), text.status());
    files->templates.push_back({name, *std::move(text), path.string()});
    has_default = has_default || name == "default";
    return Status::Ok();
  };
  RETURN_IF_ERROR(add("default", folder / "chat_template.jinja"));
  for (const auto& entry :
       fs::directory_iterator(folder / "additional_chat_templates", ignored)) {
    if (entry.path().extension() != ".jinja") continue;
    RETURN_IF_ERROR(add(entry.path().stem().string(), entry.path()));
  }
  const Json& config = files->config.json;
  const bool written =
      config.is_object() && !config.value("chat_template", Json()).is_null();
  const fs::path processor = folder / "chat_template.json";
  if (has_default || written || !fs::is_regular_file(processor, ignored)) {
    return Status::Ok();
  }
  ASSIGN_OR_RETURN(const SideFile other, ReadSide(processor, true));
  const Result<std::string> text =
      StringField(other.json, "chat_template", "the file");
  if (!text.ok()) return TokenizerError(other.source, text.status());
  files->templates.push_back({"default", *text, other.source});
  return Status::Ok();
}

}  // namespace

Result<SideFiles> ReadSideFiles(const std::string& tokenizer_path,
                                const std::string& config_path) {
  const fs::path folder = fs::path(tokenizer_path).parent_path();
  SideFiles files;
  files.in_folder = true;
  if (!config_path.empty()) {
    ASSIGN_OR_RETURN(files.config, ReadSide(config_path, true));
  }
  // A configuration that lists the added tokens is of a library that reads
  // neither of the others.
  if (!files.config.json.contains("added_tokens_decoder")) {
    ASSIGN_OR_RETURN(files.special_tokens_map,
                     ReadSide(folder / "special_tokens_map.json", false));
    ASSIGN_OR_RETURN(files.added_tokens,
                     ReadSide(folder / "added_tokens.json", false));
  }
  RETURN_IF_ERROR(ReadTemplateFiles(folder, &files));
  return files;
}

Result<SideFiles> SideFilesFromConfig(std::string_view config_json,
                                      const std::string& source) {
  return SideFilesFromTexts(config_json, "", "", source);
}

Result<SideFiles> SideFilesFromTexts(std::string_view config,
                                     std::string_view special_tokens_map,
                                     std::string_view added_tokens,
                                     const std::string& source) {
  SideFiles files;
  const auto parse = [&](std::string_view text, const char* name,
                         SideFile* file) -> Status {
    if (text.empty()) return Status::Ok();
    ASSIGN_OR_RETURN(*file, ParseSide(text, source + " (its " + name + ")"));
    return Status::Ok();
  };
  RETURN_IF_ERROR(parse(config, "tokenizer_config.json", &files.config));
  if (files.config.json.contains("added_tokens_decoder")) return files;
  RETURN_IF_ERROR(parse(special_tokens_map, "special_tokens_map.json",
                        &files.special_tokens_map));
  RETURN_IF_ERROR(
      parse(added_tokens, "added_tokens.json", &files.added_tokens));
  return files;
}

Status AddChatTemplates(const SideFiles& files, TokenizerBuilder* builder) {
  for (const SideFiles::Template& file : files.templates) {
    builder->AddChatTemplate(file.name, file.text, file.source);
  }
  const std::string& source = files.config.source;
  const Json& config = files.config.json;
  if (!config.is_object()) return Status::Ok();
  const auto spec = config.find("chat_template");
  if (spec == config.end() || spec->is_null()) return Status::Ok();
  if (spec->is_string()) {
    builder->AddChatTemplate("default", spec->get<std::string>(), source);
    return Status::Ok();
  }
  if (!spec->is_array()) {
    return InvalidArgument("chat_template: must be text or a list");
  }
  for (const Json& entry : *spec) {
    ASSIGN_OR_RETURN(std::string name,
                     StringField(entry, "name", "chat_template"));
    ASSIGN_OR_RETURN(std::string text,
                     StringField(entry, "template", "chat_template"));
    builder->AddChatTemplate(std::move(name), std::move(text), source);
  }
  return Status::Ok();
}

Result<Json> ParseTokenizerJson(std::string_view text,
                                std::span<JsonPart> parts) {
  return ParseJson(text, "the file", {.repeats = true}, parts);
}

Result<std::string> ReadWholeFile(const std::string& path) {
  const auto file = MappedFile::Open(path);
  if (!file.ok()) {
    // Without the other folder's start; the callers name the file.
    std::string_view why = file.status().message();
    const std::string start = "[checkpoint] " + path + ": ";
    if (why.starts_with(start)) why.remove_prefix(start.size());
    return Status(file.status().code(), std::string(why));
  }
  const std::string_view text = (*file)->text();
  if (std::string kind = ForeignFile(text); !kind.empty()) {
    return InvalidArgument(std::move(kind));
  }
  return std::string(text);
}

Status TokenizerError(const std::string& source, const Status& status) {
  // What names its file already is left as it is.
  if (status.message().starts_with("[tokenizer] ")) return status;
  return {status.code(), "[tokenizer] " + source + ": " + status.message()};
}

}  // namespace intarsia
