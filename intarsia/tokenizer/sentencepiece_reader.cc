// Tokenizer::FromSentencePiece: a tokenizer.model, read as the sentencepiece
// library reads it; and Tokenizer::FromFile.
#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

#include "intarsia/tokenizer/bpe_builder.h"
#include "intarsia/tokenizer/builder.h"
#include "intarsia/tokenizer/class_steps.h"
#include "intarsia/tokenizer/json_fields.h"
#include "intarsia/tokenizer/sentencepiece_proto.h"
#include "intarsia/tokenizer/side_files.h"
#include "intarsia/tokenizer/special_tokens.h"
#include "intarsia/tokenizer/tokenizer.h"
#include "intarsia/tokenizer/unigram.h"
#include "intarsia/tokenizer/user_defined.h"

namespace intarsia {
namespace {

using Type = SentencePieceModel::PieceType;
using Entries = std::vector<std::pair<std::string, int32_t>>;

Status AddPieces(const SentencePieceModel& model, TokenizerBuilder* builder,
                 int32_t* unk_id) {
  *unk_id = -1;
  for (size_t i = 0; i < model.pieces.size(); ++i) {
    const SentencePieceModel::Piece& piece = model.pieces[i];
    const auto id = static_cast<int32_t>(i);
    if (piece.text.empty()) {
      return InvalidArgument("piece " + std::to_string(i) + " is empty");
    }
    if (!std::isfinite(piece.score)) {
      return InvalidArgument("the score of piece " + std::to_string(i) +
                             " is no finite number");
    }
    RETURN_IF_ERROR(CheckPieceLength(piece.text));
    RETURN_IF_ERROR(builder->AddToken(id, piece.text));
    if (piece.type == Type::kUnknown) {
      if (*unk_id >= 0) return InvalidArgument("two unknown pieces");
      *unk_id = id;
      builder->SetBytes(id, model.unk_surface);
    }
  }
  if (*unk_id < 0) return InvalidArgument("no piece is the unknown one");
  return Status::Ok();
}

Entries UserDefined(const SentencePieceModel& model) {
  Entries entries;
  for (size_t i = 0; i < model.pieces.size(); ++i) {
    if (model.pieces[i].type == Type::kUserDefined) {
      entries.emplace_back(model.pieces[i].text, static_cast<int32_t>(i));
    }
  }
  return entries;
}

bool IsPlain(Type type) {
  return type == Type::kNormal || type == Type::kUserDefined ||
         type == Type::kUnused;
}

Result<std::unique_ptr<TokenModel>> BuildBpe(const SentencePieceModel& model,
                                             const TokenizerBuilder& builder,
                                             int32_t unk_id) {
  std::vector<int32_t> ids;
  std::vector<float> scores;
  std::unordered_set<int32_t> unused;
  for (size_t i = 0; i < model.pieces.size(); ++i) {
    const auto id = static_cast<int32_t>(i);
    scores.push_back(model.pieces[i].score);
    if (IsPlain(model.pieces[i].type)) ids.push_back(id);
    if (model.pieces[i].type == Type::kUnused) unused.insert(id);
  }
  BpeBuilder bpe(builder, /*bytes=*/false);
  RETURN_IF_ERROR(bpe.AddMergesByScore(ids, scores));
  bpe.set_unused(std::move(unused));
  bpe.set_unk(unk_id, /*fuse=*/true);
  bpe.set_byte_fallback(model.byte_fallback);
  ASSIGN_OR_RETURN(std::unique_ptr<TokenModel> built, bpe.Build());
  Entries symbols = UserDefined(model);
  if (symbols.empty()) return built;
  return std::unique_ptr<TokenModel>(std::make_unique<UserDefinedFirst>(
      PrefixTrie(std::move(symbols)), std::move(built)));
}

std::unique_ptr<TokenModel> BuildUnigram(const SentencePieceModel& model,
                                         const TokenizerBuilder& builder,
                                         int32_t unk_id) {
  constexpr float kUnknownPenalty = 10.0F;  // below the lowest score
  float lowest = std::numeric_limits<float>::max();
  float highest = std::numeric_limits<float>::lowest();
  for (const SentencePieceModel::Piece& piece : model.pieces) {
    if (piece.type != Type::kNormal) continue;
    lowest = std::min(lowest, piece.score);
    highest = std::max(highest, piece.score);
  }
  UnigramConfig config;
  for (size_t i = 0; i < model.pieces.size(); ++i) {
    const SentencePieceModel::Piece& piece = model.pieces[i];
    double score = piece.score;
    if (piece.type == Type::kUserDefined) {
      // Better than any tokens that would take its place.
      score = static_cast<float>(piece.text.size() * highest) - 0.1;
    } else if (piece.type != Type::kNormal) {
      continue;
    }
    config.tokens.push_back({piece.text, score, static_cast<int32_t>(i)});
  }
  config.unk_id = unk_id;
  config.unk_score = lowest - kUnknownPenalty;
  config.single_precision = true;
  config.byte_fallback = model.byte_fallback;
  config.byte_ids = ByteTokens(builder);
  return std::make_unique<Unigram>(std::move(config));
}

// Whether only the first stretch of a text gets the dummy prefix, and not each
// one behind an added token: what transformers calls not legacy.
Result<bool> PrefixFirstOnly(const nlohmann::json& config) {
  const bool llama = TokenizerClass(config, "") == kLlamaClass;
  ASSIGN_OR_RETURN(const bool legacy,
                   BoolField(config, "legacy", !llama, "the file"));
  return !legacy;
}

Status SetNormalizer(const SentencePieceModel& model, bool first_only,
                     TokenizerBuilder* builder) {
  SentencePieceSpaces spaces;
  ASSIGN_OR_RETURN(spaces.charsmap, Charsmap::Parse(model.charsmap));
  spaces.kept = PrefixTrie(UserDefined(model));
  spaces.add_dummy_prefix = model.add_dummy_prefix;
  spaces.first_only = first_only;
  spaces.remove_extra = model.remove_extra_whitespaces;
  spaces.escape = model.escape_whitespaces;
  spaces.suffix = model.whitespace_as_suffix;
  Normalizer normalizer;
  normalizer.AddSentencePiece(std::move(spaces));
  builder->set_normalizer(std::move(normalizer));
  return Status::Ok();
}

// What LlamaTokenizer of transformers 5.24 leaves out.
void WarnOfClass(const SentencePieceModel& model, const SideFiles& sides,
                 TokenizerBuilder* builder) {
  if (!sides.in_folder || ReadsTokenizerWhole(sides.model_type) ||
      TokenizerClass(sides.config.json, "") != kLlamaClass) {
    return;
  }
  std::string what;
  const auto add = [&](bool there, const char* name) {
    if (there) what += (what.empty() ? "" : ", ") + std::string(name);
  };
  add(model.model_type == SentencePieceModel::ModelType::kUnigram, "Unigram");
  add(!UserDefined(model).empty(), "user-defined pieces");
  add(!model.charsmap.empty(), "its map of characters");
  add(model.remove_extra_whitespaces, "remove_extra_whitespaces");
  const auto prefix = sides.config.json.find("add_prefix_space");
  add(!model.add_dummy_prefix &&
          (prefix == sides.config.json.end() || !prefix->is_boolean()),
      "add_dummy_prefix of false");
  if (what.empty()) return;
  builder->Warn(
      "LlamaTokenizer of transformers 5.24 leaves out what this file says (" +
      what +
      ") and cuts a text otherwise; here it counts, as in sentencepiece");
}

void SetDecoder(const SentencePieceModel& model, TokenizerBuilder* builder) {
  Decoder decoder;
  decoder.AddByteFallback();
  decoder.AddReplace(std::string(kVisibleSpace), " ");
  if (model.add_dummy_prefix || model.remove_extra_whitespaces) {
    decoder.AddDropLeadingSpace(/*once=*/!model.remove_extra_whitespaces);
  }
  builder->set_decoder(std::move(decoder));
}

// Control pieces are found in a text only where special tokens are looked for.
Status AddControls(const SentencePieceModel& model, TokenizerBuilder* builder) {
  for (size_t i = 0; i < model.pieces.size(); ++i) {
    if (model.pieces[i].type != Type::kControl) continue;
    AddedToken token;
    token.id = static_cast<int32_t>(i);
    token.content = model.pieces[i].text;
    token.special = true;
    token.normalized = false;
    RETURN_IF_ERROR(builder->AddAddedToken(std::move(token)));
  }
  return Status::Ok();
}

// The names of special tokens, further added tokens, and the frame.
Status AddSpecial(const SentencePieceModel& model, int32_t unk_id,
                  const SideFiles& sides, TokenizerBuilder* builder) {
  const bool bpe = model.model_type == SentencePieceModel::ModelType::kBpe;
  UsualSpecialTokens usual;
  usual.add_bos = bpe;
  const std::string kind = TokenizerClass(sides.config.json, "");
  usual.add_eos = kind == "T5Tokenizer" || kind == "MT5Tokenizer";
  const auto name = [&](const char* key, const std::string& piece) {
    if (builder->Find(piece) >= 0) usual.names[key] = piece;
  };
  name("bos_token", model.bos_piece);
  name("eos_token", model.eos_piece);
  if (sides.config.json.is_object()) {
    name("unk_token", std::string(builder->Text(unk_id)));
  }
  return ReadSpecialTokens(sides, nullptr, usual, builder);
}

Status Read(std::string_view bytes, const SideFiles& sides,
            TokenizerBuilder* builder) {
  ASSIGN_OR_RETURN(SentencePieceModel model, ParseSentencePieceModel(bytes));
  const nlohmann::json& config = sides.config.json;
  ASSIGN_OR_RETURN(model.add_dummy_prefix,
                   DummyPrefix(model.add_dummy_prefix, config));
  using ModelType = SentencePieceModel::ModelType;
  if (model.model_type != ModelType::kBpe &&
      model.model_type != ModelType::kUnigram) {
    return Unsupported("model_type WORD or CHAR (known: BPE, UNIGRAM)");
  }
  if (!model.denormalizer_charsmap.empty()) {
    return Unsupported("denormalizer_spec: a map for decoded text");
  }
  builder->set_plain_added(true);
  builder->set_raw_added(true);
  int32_t unk_id = -1;
  RETURN_IF_ERROR(AddPieces(model, builder, &unk_id));
  if (model.model_type == ModelType::kBpe) {
    ASSIGN_OR_RETURN(std::unique_ptr<TokenModel> built,
                     BuildBpe(model, *builder, unk_id));
    builder->set_model(std::move(built));
  } else {
    builder->set_model(BuildUnigram(model, *builder, unk_id));
  }
  ASSIGN_OR_RETURN(const bool first_only, PrefixFirstOnly(config));
  WarnOfClass(model, sides, builder);
  RETURN_IF_ERROR(SetNormalizer(model, first_only, builder));
  SetDecoder(model, builder);
  RETURN_IF_ERROR(AddControls(model, builder));
  return AddSpecial(model, unk_id, sides, builder);
}

Result<std::unique_ptr<Tokenizer>> Build(std::string_view bytes,
                                         const SideFiles& sides,
                                         const std::string& source) {
  TokenizerBuilder builder;
  const Status status = Read(bytes, sides, &builder);
  if (!status.ok()) return TokenizerError(source, status);
  Result<std::unique_ptr<Tokenizer>> result = builder.Build();
  if (result.ok()) return result;
  return TokenizerError(source, result.status());
}

}  // namespace

Result<std::unique_ptr<Tokenizer>> Tokenizer::FromSentencePiece(
    std::string_view model, std::string_view config_json,
    const std::string& source) {
  ASSIGN_OR_RETURN(const SideFiles sides,
                   SideFilesFromConfig(config_json, source));
  return Build(model, sides, source);
}

Result<std::unique_ptr<Tokenizer>> Tokenizer::FromText(
    std::string_view text, const SideFiles& sides, const std::string& source) {
  const size_t start = text.find_first_not_of(" \t\r\n");
  if (start != std::string_view::npos && text[start] == '{') {
    return BuildJson(text, sides, source);
  }
  // A protobuf begins with the key of its first piece, 0x0A; the list of words
  // with an id.
  if (!text.empty() && text.front() >= '0' && text.front() <= '9') {
    return BuildRwkv(text, sides, source);
  }
  return Build(text, sides, source);
}

Result<std::unique_ptr<Tokenizer>> Tokenizer::FromFile(
    const std::string& path, const std::string& config_path,
    const std::string& model_type) {
  const Result<std::string> text = ReadWholeFile(path);
  if (!text.ok()) return TokenizerError(path, text.status());
  ASSIGN_OR_RETURN(SideFiles sides, ReadSideFiles(path, config_path));
  sides.model_type = model_type;
  return FromText(*text, sides, path);
}

}  // namespace intarsia
