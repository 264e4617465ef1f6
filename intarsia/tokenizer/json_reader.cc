// Tokenizer::FromJson: tokenizer.json and tokenizer_config.json, read as the
// `tokenizers` library reads them.
#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

#include "intarsia/tokenizer/bpe_builder.h"
#include "intarsia/tokenizer/builder.h"
#include "intarsia/tokenizer/class_steps.h"
#include "intarsia/tokenizer/json_components.h"
#include "intarsia/tokenizer/json_fields.h"
#include "intarsia/tokenizer/side_files.h"
#include "intarsia/tokenizer/special_tokens.h"
#include "intarsia/tokenizer/tokenizer.h"
#include "intarsia/tokenizer/unigram.h"

namespace intarsia {
namespace {

using Json = nlohmann::json;

// An id past all others, which Encode refuses: of a text that would need an
// unknown token where the file has none.
constexpr int32_t kNoUnknown = std::numeric_limits<int32_t>::max() - 1;

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

// The parts of a model that are too large for a tree, as text; empty where they
// are neither objects nor arrays.
struct ModelText {
  std::string_view vocab, merges;
};

// Vocabularies have gaps, but tables are as long as the largest id: it is
// bounded by the tokens that a text of this length can hold.
int64_t IdLimit(std::string_view vocab) {
  constexpr size_t kShortest = 6;  // "a":0,
  const size_t entries = vocab.size() / kShortest;
  return std::min<int64_t>(static_cast<int64_t>(entries) + 65536,
                           int64_t{1} << 28);
}

Status ReadMerge(const Json& merge, const std::string& where,
                 BpeBuilder* builder) {
  std::string_view left, right;
  if (merge.is_string()) {
    const std::string_view text = merge.get_ref<const std::string&>();
    // The first line of the merges.txt that a list was made from.
    if (text.starts_with("#version")) return Status::Ok();
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

Status ReadBpe(const Json& model, const ModelText& text, bool byte_level,
               TokenizerBuilder* builder) {
  RETURN_IF_ERROR(RefuseText(model, "continuing_subword_prefix"));
  RETURN_IF_ERROR(RefuseText(model, "end_of_word_suffix"));
  const Json& dropout = FieldOrNull(model, "dropout");
  if (!dropout.is_null() && dropout != 0) {
    return Unsupported("model.dropout: encoding would be random");
  }
  if (!text.vocab.starts_with('{')) {
    if (text.vocab.empty()) {
      RETURN_IF_ERROR(CheckObject(FieldOrNull(model, "vocab"), "model.vocab"));
    }
    return InvalidArgument("model.vocab: must be an object, is array");
  }
  const int64_t limit = IdLimit(text.vocab);
  RETURN_IF_ERROR(
      VisitJson(text.vocab, "model.vocab", {},
                [&](std::string* token, Json* value) -> Status {
                  ASSIGN_OR_RETURN(const int32_t id,
                                   TokenId(*value, limit, "model.vocab"));
                  return builder->AddToken(id, std::move(*token),
                                           TokenizerBuilder::Repeats::kTaken);
                }));
  BpeBuilder bpe(*builder, byte_level);
  bpe.set_repeated(BpeConfig::Repeated::kLast);
  if (!text.merges.starts_with('[')) {
    if (text.merges.empty()) {
      RETURN_IF_ERROR(ArrayField(model, "merges", "model").status());
    }
    return InvalidArgument("model.merges: must be an array, is object");
  }
  size_t count = 0;
  RETURN_IF_ERROR(VisitJson(text.merges, "model.merges", {},
                            [&](std::string*, Json* merge) -> Status {
                              const std::string where =
                                  "model.merges[" + std::to_string(count++) +
                                  "]";
                              return ReadMerge(*merge, where, &bpe);
                            }));
  ASSIGN_OR_RETURN(const bool ignore_merges,
                   BoolField(model, "ignore_merges", false, "model"));
  bpe.set_ignore_merges(ignore_merges);
  ASSIGN_OR_RETURN(const bool byte_fallback,
                   BoolField(model, "byte_fallback", false, "model"));
  bpe.set_byte_fallback(byte_fallback && !byte_level);
  ASSIGN_OR_RETURN(const bool fuse_unk,
                   BoolField(model, "fuse_unk", false, "model"));
  ASSIGN_OR_RETURN(const std::optional<std::string> unk,
                   TokenText(model, "unk_token", "model"));
  if (unk) {
    const int32_t id = builder->Find(*unk);
    if (id < 0) {
      builder->Warn("the unknown token \"" + *unk +
                    "\" is not in the vocabulary; a text that needs it is "
                    "refused");
    }
    bpe.set_unk(id < 0 ? kNoUnknown : id, fuse_unk);
  }
  ASSIGN_OR_RETURN(std::unique_ptr<TokenModel> built, bpe.Build());
  builder->set_model(std::move(built));
  return Status::Ok();
}

Status ReadUnigram(const Json& model, const ModelText& text,
                   TokenizerBuilder* builder) {
  constexpr double kUnknownPenalty = 10.0;  // below the lowest score
  if (!text.vocab.starts_with('[')) {
    if (text.vocab.empty()) {
      RETURN_IF_ERROR(ArrayField(model, "vocab", "model").status());
    }
    return InvalidArgument("model.vocab: must be an array, is object");
  }
  UnigramConfig config;
  config.unk_id = kNoUnknown;
  double lowest = 0;
  const auto read = [&](std::string*, Json* value) -> Status {
    Json& entry = *value;
    const size_t i = config.tokens.size();
    if (!entry.is_array() || entry.size() != 2 || !entry[0].is_string() ||
        !entry[1].is_number()) {
      return InvalidArgument("model.vocab[" + std::to_string(i) +
                             "]: must be a token and its score");
    }
    UnigramConfig::Token token;
    token.text = entry[0].get<std::string>();
    token.score = entry[1].get<double>();
    token.id = static_cast<int32_t>(i);
    if (!std::isfinite(token.score)) {
      return InvalidArgument("model.vocab[" + std::to_string(i) +
                             "]: its score is no finite number");
    }
    RETURN_IF_ERROR(CheckPieceLength(token.text));
    lowest = i == 0 ? token.score : std::min(lowest, token.score);
    RETURN_IF_ERROR(builder->AddToken(token.id, token.text,
                                      TokenizerBuilder::Repeats::kTaken));
    config.tokens.push_back(std::move(token));
    return Status::Ok();
  };
  RETURN_IF_ERROR(VisitJson(text.vocab, "model.vocab", {}, read));
  config.unk_score = lowest - kUnknownPenalty;
  const Json& unk = FieldOrNull(model, "unk_id");
  if (!unk.is_null()) {
    ASSIGN_OR_RETURN(config.unk_id,
                     TokenId(unk, static_cast<int64_t>(config.tokens.size()),
                             "model.unk_id"));
  }
  ASSIGN_OR_RETURN(config.byte_fallback,
                   BoolField(model, "byte_fallback", false, "model"));
  config.byte_ids = ByteTokens(*builder);
  builder->set_model(std::make_unique<Unigram>(std::move(config)));
  return Status::Ok();
}

Status ReadModel(const Json& root, const ModelText& text, bool byte_level,
                 TokenizerBuilder* builder) {
  const Json& model = FieldOrNull(root, "model");
  RETURN_IF_ERROR(CheckObject(model, "model"));
  // Files of old leave the type out.
  std::string type = text.vocab.starts_with('[') ? "Unigram" : "BPE";
  if (model.contains("type")) {
    ASSIGN_OR_RETURN(type, StringField(model, "type", "model"));
  }
  if (type == "BPE") return ReadBpe(model, text, byte_level, builder);
  if (type != "Unigram") {
    return Unsupported("model.type \"" + type + "\" (known: BPE, Unigram)");
  }
  if (byte_level) {
    return Unsupported("model.type \"Unigram\" with a ByteLevel pre_tokenizer");
  }
  return ReadUnigram(model, text, builder);
}

Status ReadAddedTokens(const Json& root, TokenizerBuilder* builder) {
  const Json& list = FieldOrNull(root, "added_tokens");
  if (list.is_null()) return Status::Ok();
  if (!list.is_array()) return InvalidArgument("added_tokens: not an array");
  constexpr int64_t kLimit = int64_t{1} << 31;
  for (size_t i = 0; i < list.size(); ++i) {
    const Json& spec = list[i];
    const std::string where = "added_tokens[" + std::to_string(i) + "]";
    RETURN_IF_ERROR(CheckObject(spec, where));
    ASSIGN_OR_RETURN(AddedToken token, ReadAddedToken(spec, false, where));
    ASSIGN_OR_RETURN(token.id,
                     TokenId(FieldOrNull(spec, "id"), kLimit, where + ".id"));
    RETURN_IF_ERROR(builder->AddAddedToken(std::move(token)));
  }
  return Status::Ok();
}

Status ReadTokenizer(const Json& root, const ModelText& text,
                     TokenizerBuilder* builder) {
  RETURN_IF_ERROR(CheckObject(root, "the file"));
  ASSIGN_OR_RETURN(PreTokenizer pre,
                   PreTokenizer::FromJson(FieldOrNull(root, "pre_tokenizer")));
  const bool byte_level = pre.byte_level();
  builder->set_pre_tokenizer(std::move(pre));
  RETURN_IF_ERROR(ReadModel(root, text, byte_level, builder));
  RETURN_IF_ERROR(ReadAddedTokens(root, builder));
  ASSIGN_OR_RETURN(Normalizer normalizer,
                   ReadNormalizer(FieldOrNull(root, "normalizer")));
  builder->set_normalizer(std::move(normalizer));
  ASSIGN_OR_RETURN(Decoder decoder,
                   ReadDecoder(FieldOrNull(root, "decoder"), byte_level));
  builder->set_decoder(std::move(decoder));
  ASSIGN_OR_RETURN(TokenFrame frame,
                   ReadPostProcessor(FieldOrNull(root, "post_processor")));
  builder->set_prefix(std::move(frame.prefix));
  builder->set_suffix(std::move(frame.suffix));
  return Status::Ok();
}

}  // namespace

Result<std::unique_ptr<Tokenizer>> BuildJson(std::string_view text,
                                             const SideFiles& sides,
                                             const std::string& source,
                                             bool composed) {
  TokenizerBuilder builder;
  {
    JsonPart parts[] = {{{"model", "vocab"}}, {{"model", "merges"}}};
    const Result<Json> root = ParseTokenizerJson(text, parts);
    if (!root.ok()) return TokenizerError(source, root.status());
    const Status status =
        ReadTokenizer(*root, {parts[0].text, parts[1].text}, &builder);
    if (!status.ok()) return TokenizerError(source, status);
    UsualSpecialTokens usual;
    usual.flags_count = composed;
    if (sides.in_folder && !composed) {
      const bool has_byte_level = text.find("\"ByteLevel\"") != text.npos;
      std::string why = ClassDisagrees(*root, has_byte_level, sides.config.json,
                                       sides.model_type);
      if (!why.empty()) builder.Warn(std::move(why));
    }
    const Json& pad = FieldOrNull(FieldOrNull(*root, "padding"), "pad_token");
    if (pad.is_string()) usual.names["pad_token"] = pad.get<std::string>();
    RETURN_IF_ERROR(ReadSpecialTokens(sides, FieldOrNull(*root, "added_tokens"),
                                      usual, &builder));
  }
  Result<std::unique_ptr<Tokenizer>> result = builder.Build();
  if (!result.ok()) return TokenizerError(source, result.status());
  return result;
}

Result<std::unique_ptr<Tokenizer>> Tokenizer::FromJson(
    std::string_view tokenizer_json, std::string_view config_json,
    const std::string& source) {
  ASSIGN_OR_RETURN(const SideFiles sides,
                   SideFilesFromConfig(config_json, source));
  return BuildJson(tokenizer_json, sides, source);
}

Result<std::unique_ptr<Tokenizer>> Tokenizer::FromJsonFile(
    const std::string& tokenizer_path, const std::string& config_path,
    const std::string& model_type) {
  const Result<std::string> tokenizer = ReadWholeFile(tokenizer_path);
  if (!tokenizer.ok()) {
    return TokenizerError(tokenizer_path, tokenizer.status());
  }
  ASSIGN_OR_RETURN(SideFiles sides, ReadSideFiles(tokenizer_path, config_path));
  sides.model_type = model_type;
  return BuildJson(*tokenizer, sides, tokenizer_path);
}

}  // namespace intarsia
