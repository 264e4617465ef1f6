// Tokenizer::FromJson: tokenizer.json and tokenizer_config.json, read as the
// `tokenizers` library reads them.
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <utility>

#include "intarsia/tokenizer/builder.h"
#include "intarsia/tokenizer/json_fields.h"
#include "intarsia/tokenizer/tokenizer.h"

namespace intarsia {
namespace {

using Json = nlohmann::json;

const Json& FieldOrNull(const Json& object, const char* name) {
  static const Json kNull;
  if (!object.is_object()) return kNull;
  const auto it = object.find(name);
  return it == object.end() ? kNull : *it;
}

// Refuses a text field that would change the tokens in a way we don't know.
Status RefuseText(const Json& model, const char* name) {
  const Json& field = FieldOrNull(model, name);
  if (field.is_null() || (field.is_string() && field.empty()) || field == "") {
    return Status::Ok();
  }
  return Unsupported(std::string("model.") + name + " is not supported");
}

// Vocabularies have gaps, but an id far past the number of tokens is a fault,
// and tables are as long as the largest id.
int64_t IdLimit(const Json& root, const Json& vocab) {
  const Json& added = FieldOrNull(root, "added_tokens");
  const auto entries = static_cast<int64_t>(vocab.size() + added.size());
  return std::min<int64_t>(entries * 8 + 65536, int64_t{1} << 28);
}

Status ReadMerge(const Json& merge, const std::string& where,
                 TokenizerBuilder* builder) {
  std::string_view left, right;
  if (merge.is_string()) {
    const std::string_view text = merge.get_ref<const std::string&>();
    const size_t space = text.find(' ');
    if (space == std::string_view::npos ||
        text.find(' ', space + 1) != std::string_view::npos) {
      return InvalidArgument(where + ": is not two tokens and a space");
    }
    left = text.substr(0, space);
    right = text.substr(space + 1);
  } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() &&
             merge[1].is_string()) {
    left = merge[0].get_ref<const std::string&>();
    right = merge[1].get_ref<const std::string&>();
  } else {
    return InvalidArgument(where + ": must be \"left right\" or a pair");
  }
  return builder->AddMerge(left, right);
}

Status ReadModel(const Json& root, TokenizerBuilder* builder) {
  const Json& model = FieldOrNull(root, "model");
  RETURN_IF_ERROR(CheckObject(model, "model"));
  if (model.contains("type")) {
    ASSIGN_OR_RETURN(const std::string type,
                     StringField(model, "type", "model"));
    if (type != "BPE") {
      return Unsupported("model.type \"" + type + "\" (known: BPE)");
    }
  }
  RETURN_IF_ERROR(RefuseText(model, "continuing_subword_prefix"));
  RETURN_IF_ERROR(RefuseText(model, "end_of_word_suffix"));
  const Json& dropout = FieldOrNull(model, "dropout");
  if (!dropout.is_null() && dropout != 0) {
    return Unsupported("model.dropout: encoding would be random");
  }
  ASSIGN_OR_RETURN(const bool byte_fallback,
                   BoolField(model, "byte_fallback", false, "model"));
  if (byte_fallback) {
    return Unsupported("model.byte_fallback: only byte-level BPE is known");
  }
  const Json& vocab = FieldOrNull(model, "vocab");
  RETURN_IF_ERROR(CheckObject(vocab, "model.vocab"));
  const int64_t limit = IdLimit(root, vocab);
  for (const auto& [text, value] : vocab.items()) {
    ASSIGN_OR_RETURN(const int32_t id, TokenId(value, limit, "model.vocab"));
    RETURN_IF_ERROR(builder->AddToken(id, text));
  }
  ASSIGN_OR_RETURN(const Json* merges, ArrayField(model, "merges", "model"));
  for (size_t i = 0; i < merges->size(); ++i) {
    const std::string where = "model.merges[" + std::to_string(i) + "]";
    RETURN_IF_ERROR(ReadMerge((*merges)[i], where, builder));
  }
  ASSIGN_OR_RETURN(const bool ignore_merges,
                   BoolField(model, "ignore_merges", false, "model"));
  builder->set_ignore_merges(ignore_merges);
  ASSIGN_OR_RETURN(const bool fuse_unk,
                   BoolField(model, "fuse_unk", false, "model"));
  builder->set_fuse_unk(fuse_unk);
  ASSIGN_OR_RETURN(const std::optional<std::string> unk,
                   TokenText(model, "unk_token", "model"));
  if (unk) RETURN_IF_ERROR(builder->SetUnk(*unk));
  return Status::Ok();
}

Status ReadAddedTokens(const Json& root, TokenizerBuilder* builder) {
  const Json& list = FieldOrNull(root, "added_tokens");
  if (list.is_null()) return Status::Ok();
  if (!list.is_array()) return InvalidArgument("added_tokens: not an array");
  const int64_t limit = IdLimit(root, root["model"]["vocab"]);
  for (size_t i = 0; i < list.size(); ++i) {
    const Json& spec = list[i];
    const std::string where = "added_tokens[" + std::to_string(i) + "]";
    RETURN_IF_ERROR(CheckObject(spec, where));
    AddedToken token;
    ASSIGN_OR_RETURN(token.id,
                     TokenId(FieldOrNull(spec, "id"), limit, where + ".id"));
    ASSIGN_OR_RETURN(token.content, StringField(spec, "content", where));
    ASSIGN_OR_RETURN(token.special, BoolField(spec, "special", false, where));
    ASSIGN_OR_RETURN(token.single_word,
                     BoolField(spec, "single_word", false, where));
    ASSIGN_OR_RETURN(token.lstrip, BoolField(spec, "lstrip", false, where));
    ASSIGN_OR_RETURN(token.rstrip, BoolField(spec, "rstrip", false, where));
    ASSIGN_OR_RETURN(token.normalized,
                     BoolField(spec, "normalized", !token.special, where));
    RETURN_IF_ERROR(builder->AddAddedToken(std::move(token)));
  }
  return Status::Ok();
}

constexpr int kMaxNesting = 8;

// Normalizers: NFC, or a Sequence of it.
Status ReadNormalizer(const Json& spec, int depth, TokenizerBuilder* builder) {
  if (spec.is_null()) return Status::Ok();
  RETURN_IF_ERROR(CheckObject(spec, "normalizer"));
  ASSIGN_OR_RETURN(const std::string type,
                   StringField(spec, "type", "normalizer"));
  if (type == "NFC") {
    builder->set_nfc(true);
    return Status::Ok();
  }
  if (type != "Sequence" || depth > kMaxNesting) {
    return Unsupported("normalizer: type \"" + type + "\" (known: NFC)");
  }
  ASSIGN_OR_RETURN(const Json* parts,
                   ArrayField(spec, "normalizers", "normalizer"));
  for (const Json& part : *parts) {
    RETURN_IF_ERROR(ReadNormalizer(part, depth + 1, builder));
  }
  return Status::Ok();
}

// Decoders: ByteLevel, alone or in a Sequence with Fuse, which joins what is
// joined anyway.
Status CheckDecoder(const Json& spec, int depth) {
  if (spec.is_null()) return Status::Ok();
  RETURN_IF_ERROR(CheckObject(spec, "decoder"));
  ASSIGN_OR_RETURN(const std::string type,
                   StringField(spec, "type", "decoder"));
  if (type == "ByteLevel" || type == "Fuse") return Status::Ok();
  if (type != "Sequence" || depth > kMaxNesting) {
    return Unsupported("decoder: type \"" + type + "\" (known: ByteLevel)");
  }
  ASSIGN_OR_RETURN(const Json* parts, ArrayField(spec, "decoders", "decoder"));
  for (const Json& part : *parts)
    RETURN_IF_ERROR(CheckDecoder(part, depth + 1));
  return Status::Ok();
}

// What post-processors put around a text.
struct Frame {
  std::vector<int32_t> prefix, suffix;
};

// Appends the ids that a TemplateProcessing gives for one of its names.
Status AppendTemplateIds(const Json& spec, const std::string& name,
                         std::vector<int32_t>* out) {
  const std::string where = "post_processor.special_tokens";
  const Json& tokens = FieldOrNull(spec, "special_tokens");
  RETURN_IF_ERROR(CheckObject(tokens, where));
  const Json& token = FieldOrNull(tokens, name.c_str());
  RETURN_IF_ERROR(CheckObject(token, where + "[\"" + name + "\"]"));
  ASSIGN_OR_RETURN(const Json* ids, ArrayField(token, "ids", where));
  for (const Json& value : *ids) {
    ASSIGN_OR_RETURN(const int32_t id, TokenId(value, 1 << 28, where));
    out->push_back(id);
  }
  return Status::Ok();
}

Status ReadTemplateProcessing(const Json& spec, Frame* frame) {
  const std::string where = "post_processor.single";
  ASSIGN_OR_RETURN(const Json* parts,
                   ArrayField(spec, "single", "post_processor"));
  std::vector<int32_t> before, after;
  bool seen_text = false;
  for (const Json& part : *parts) {
    RETURN_IF_ERROR(CheckObject(part, where));
    if (part.contains("Sequence")) {
      if (seen_text) return Unsupported(where + ": the text twice");
      seen_text = true;
      continue;
    }
    ASSIGN_OR_RETURN(const std::string name,
                     StringField(FieldOrNull(part, "SpecialToken"), "id",
                                 where + ".SpecialToken"));
    RETURN_IF_ERROR(
        AppendTemplateIds(spec, name, seen_text ? &after : &before));
  }
  if (!seen_text) return InvalidArgument(where + ": the text is missing");
  frame->prefix.insert(frame->prefix.begin(), before.begin(), before.end());
  frame->suffix.insert(frame->suffix.end(), after.begin(), after.end());
  return Status::Ok();
}

Status ReadPostProcessor(const Json& spec, int depth, Frame* frame) {
  const std::string where = "post_processor";
  if (spec.is_null()) return Status::Ok();
  RETURN_IF_ERROR(CheckObject(spec, where));
  ASSIGN_OR_RETURN(const std::string type, StringField(spec, "type", where));
  if (type == "ByteLevel") return Status::Ok();  // trims offsets only
  if (type == "TemplateProcessing") return ReadTemplateProcessing(spec, frame);
  if (type == "RobertaProcessing" || type == "BertProcessing") {
    const auto read = [&](const char* name) -> Result<int32_t> {
      ASSIGN_OR_RETURN(const Json* pair, ArrayField(spec, name, where));
      const std::string at = where + "." + name;
      if (pair->size() != 2) return InvalidArgument(at + ": not a pair");
      return TokenId((*pair)[1], 1 << 28, at);
    };
    ASSIGN_OR_RETURN(const int32_t cls, read("cls"));
    ASSIGN_OR_RETURN(const int32_t sep, read("sep"));
    frame->prefix.insert(frame->prefix.begin(), cls);
    frame->suffix.push_back(sep);
    return Status::Ok();
  }
  if (type != "Sequence" || depth > kMaxNesting) {
    return Unsupported(where + ": type \"" + type + "\"");
  }
  ASSIGN_OR_RETURN(const Json* parts, ArrayField(spec, "processors", where));
  for (const Json& part : *parts) {
    RETURN_IF_ERROR(ReadPostProcessor(part, depth + 1, frame));
  }
  return Status::Ok();
}

Status ReadTokenizer(const Json& root, TokenizerBuilder* builder) {
  RETURN_IF_ERROR(CheckObject(root, "the file"));
  RETURN_IF_ERROR(ReadModel(root, builder));
  RETURN_IF_ERROR(ReadAddedTokens(root, builder));
  RETURN_IF_ERROR(ReadNormalizer(FieldOrNull(root, "normalizer"), 0, builder));
  RETURN_IF_ERROR(CheckDecoder(FieldOrNull(root, "decoder"), 0));
  ASSIGN_OR_RETURN(PreTokenizer pre,
                   PreTokenizer::FromJson(FieldOrNull(root, "pre_tokenizer")));
  builder->set_pre_tokenizer(std::move(pre));
  Frame frame;
  RETURN_IF_ERROR(
      ReadPostProcessor(FieldOrNull(root, "post_processor"), 0, &frame));
  builder->set_prefix(std::move(frame.prefix));
  builder->set_suffix(std::move(frame.suffix));
  return Status::Ok();
}

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

Status ReadConfig(const Json& config, TokenizerBuilder* builder) {
  RETURN_IF_ERROR(CheckObject(config, "the file"));
  ASSIGN_OR_RETURN(const int32_t bos,
                   NamedToken(config, "bos_token", *builder));
  ASSIGN_OR_RETURN(const int32_t eos,
                   NamedToken(config, "eos_token", *builder));
  builder->set_bos(bos);
  builder->set_eos(eos);
  // The flags matter where tokenizer.json does not say it itself.
  ASSIGN_OR_RETURN(const bool add_bos,
                   BoolField(config, "add_bos_token", false, "the file"));
  ASSIGN_OR_RETURN(const bool add_eos,
                   BoolField(config, "add_eos_token", false, "the file"));
  if (add_bos && bos >= 0 && !builder->has_prefix()) builder->set_prefix({bos});
  if (add_eos && eos >= 0 && !builder->has_suffix()) builder->set_suffix({eos});
  return ReadChatTemplates(FieldOrNull(config, "chat_template"), builder);
}

Status Prefixed(const std::string& source, const Status& status) {
  return {status.code(), "[tokenizer] " + source + ": " + status.message()};
}

Result<Json> ParseJson(std::string_view text) {
  Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded()) return DataLoss("is not valid JSON");
  return json;
}

Result<std::string> ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return NotFound("cannot be opened");
  std::ostringstream text;
  text << file.rdbuf();
  if (file.bad() || text.bad()) return DataLoss("cannot be read");
  return std::move(text).str();
}

}  // namespace

Result<std::unique_ptr<Tokenizer>> Tokenizer::FromJson(
    std::string_view tokenizer_json, std::string_view config_json,
    const std::string& source) {
  TokenizerBuilder builder;
  {
    const Result<Json> root = ParseJson(tokenizer_json);
    if (!root.ok()) return Prefixed(source, root.status());
    const Status status = ReadTokenizer(*root, &builder);
    if (!status.ok()) return Prefixed(source, status);
  }
  if (!config_json.empty()) {
    const std::string config_source = source + " (its tokenizer_config.json)";
    const Result<Json> config = ParseJson(config_json);
    if (!config.ok()) return Prefixed(config_source, config.status());
    const Status status = ReadConfig(*config, &builder);
    if (!status.ok()) return Prefixed(config_source, status);
  }
  Result<std::unique_ptr<Tokenizer>> result = builder.Build();
  if (!result.ok()) return Prefixed(source, result.status());
  return result;
}

Result<std::unique_ptr<Tokenizer>> Tokenizer::FromJsonFile(
    const std::string& tokenizer_path, const std::string& config_path) {
  const Result<std::string> tokenizer = ReadFile(tokenizer_path);
  if (!tokenizer.ok()) return Prefixed(tokenizer_path, tokenizer.status());
  std::string config;
  if (!config_path.empty()) {
    Result<std::string> text = ReadFile(config_path);
    if (!text.ok()) return Prefixed(config_path, text.status());
    config = *std::move(text);
  }
  return FromJson(*tokenizer, config, tokenizer_path);
}

}  // namespace intarsia
