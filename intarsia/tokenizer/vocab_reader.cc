// Tokenizer::FromVocab: what GGUF metadata says, read as llama.cpp reads it.
#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "intarsia/core/counted.h"
#include "intarsia/tokenizer/bpe_builder.h"
#include "intarsia/tokenizer/builder.h"
#include "intarsia/tokenizer/longest_match.h"
#include "intarsia/tokenizer/rwkv_words.h"
#include "intarsia/tokenizer/tokenizer.h"
#include "intarsia/tokenizer/unigram.h"
#include "intarsia/tokenizer/utf8.h"

namespace intarsia {
namespace {

// tokenizer.ggml.token_type.
enum TokenType {
  kNormal = 1,
  kUnknown,
  kControl,
  kUserDefined,
  kUnused,
  kByte
};

Status CheckShape(const TokenizerVocab& vocab) {
  constexpr size_t kMaxTokens = 1 << 26;
  const auto counted = [](size_t count, const char* noun) {
    return Counted(static_cast<int64_t>(count), noun);
  };
  if (vocab.tokens.size() > kMaxTokens) {
    return InvalidArgument("tokenizer.ggml.tokens: too many");
  }
  if (!vocab.token_types.empty() &&
      vocab.token_types.size() != vocab.tokens.size()) {
    return InvalidArgument("tokenizer.ggml.token_type has " +
                           counted(vocab.token_types.size(), "type") + " for " +
                           counted(vocab.tokens.size(), "token"));
  }
  if (!vocab.scores.empty() && vocab.scores.size() != vocab.tokens.size()) {
    return InvalidArgument("tokenizer.ggml.scores has " +
                           counted(vocab.scores.size(), "score") + " for " +
                           counted(vocab.tokens.size(), "token"));
  }
  for (size_t i = 0; i < vocab.scores.size(); ++i) {
    if (std::isfinite(vocab.scores[i])) continue;
    return InvalidArgument("tokenizer.ggml.scores[" + std::to_string(i) +
                           "] is no finite number");
  }
  return Status::Ok();
}

Status AddTokens(const TokenizerVocab& vocab, TokenizerBuilder* builder) {
  for (size_t i = 0; i < vocab.tokens.size(); ++i) {
    if (!IsValidUtf8(vocab.tokens[i])) {
      return InvalidArgument("token " + std::to_string(i) +
                             " is not valid UTF-8");
    }
    RETURN_IF_ERROR(builder->AddToken(static_cast<int32_t>(i), vocab.tokens[i],
                                      TokenizerBuilder::Repeats::kTaken));
  }
  return Status::Ok();
}

Status AddAdded(const TokenizerVocab& vocab, TokenizerBuilder* builder) {
  for (size_t i = 0; i < vocab.token_types.size(); ++i) {
    const int32_t type = vocab.token_types[i];
    if (type < kNormal || type > kByte) {
      return InvalidArgument("tokenizer.ggml.token_type: unknown type " +
                             std::to_string(type));
    }
    if (type == kControl || type == kUserDefined || type == kUnknown) {
      AddedToken token;
      token.id = static_cast<int32_t>(i);
      token.content = vocab.tokens[i];
      token.special = type != kUserDefined;
      token.normalized = false;
      // Where a text has several ids, each of them is special.
      if (token.special) builder->SetSpecial(token.id);
      builder->SetBytes(token.id, token.content);
      if (builder->Find(token.content) != token.id) continue;
      RETURN_IF_ERROR(builder->AddAddedToken(std::move(token)));
    }
  }
  return Status::Ok();
}

Status CheckIds(const TokenizerVocab& vocab) {
  const auto size = static_cast<int64_t>(vocab.tokens.size());
  const auto check = [&](int64_t id, const char* name) {
    if (id >= -1 && id < size) return Status::Ok();
    return InvalidArgument(std::string(name) + " " + std::to_string(id) +
                           " is outside the vocabulary of " +
                           std::to_string(size));
  };
  RETURN_IF_ERROR(check(vocab.bos_id, "bos_token_id"));
  RETURN_IF_ERROR(check(vocab.eos_id, "eos_token_id"));
  RETURN_IF_ERROR(check(vocab.unk_id, "unknown_token_id"));
  for (const int64_t id : vocab.more_eog_ids) {
    RETURN_IF_ERROR(check(id, "eot or eom token id"));
  }
  return Status::Ok();
}

// What a file that doesn't say so adds to a text.
struct UsualFrame {
  bool bos = false, eos = false;
};

void AddSpecial(const TokenizerVocab& vocab, UsualFrame usual,
                TokenizerBuilder* builder) {
  builder->set_bos(static_cast<int32_t>(vocab.bos_id));
  builder->set_eos(static_cast<int32_t>(vocab.eos_id));
  for (const int64_t id : vocab.more_eog_ids) {
    if (id >= 0) builder->AddEndOfGeneration(static_cast<int32_t>(id));
  }
  for (const auto& [name, id] : vocab.named_ids) {
    if (id < 0 || id >= static_cast<int64_t>(vocab.tokens.size())) {
      builder->Warn(name + " " + std::to_string(id) +
                    " is outside the vocabulary and does not count");
      continue;
    }
    builder->SetNamedToken(name, vocab.tokens[static_cast<size_t>(id)]);
  }
  if (vocab.add_bos.value_or(usual.bos) && vocab.bos_id >= 0) {
    builder->set_prefix({static_cast<int32_t>(vocab.bos_id)});
  }
  if (vocab.add_eos.value_or(usual.eos) && vocab.eos_id >= 0) {
    builder->set_suffix({static_cast<int32_t>(vocab.eos_id)});
  }
}

int32_t TypeOf(const TokenizerVocab& vocab, size_t id) {
  return vocab.token_types.empty() ? kNormal : vocab.token_types[id];
}

std::vector<float> Scores(const TokenizerVocab& vocab) {
  std::vector<float> scores(vocab.scores);
  scores.resize(vocab.tokens.size());
  return scores;
}

// Without merges, only tokens of one character are ever made.
Status CheckMerges(const TokenizerVocab& vocab) {
  if (!vocab.merges.empty()) return Status::Ok();
  for (size_t i = 0; i < vocab.tokens.size(); ++i) {
    const std::string& text = vocab.tokens[i];
    if (TypeOf(vocab, i) != kNormal || text.empty() ||
        NextUtf8(text).length == text.size()) {
      continue;
    }
    return InvalidArgument(
        "tokenizer.ggml.merges is missing or empty, and a \"gpt2\" vocabulary "
        "cannot make " +
        QuoteToken(text) +
        " without; convert the model again from a folder with its "
        "tokenizer.json or merges.txt");
  }
  return Status::Ok();
}

// "gpt2": BPE by merges, over bytes.
Status BuildGpt2(const TokenizerVocab& vocab, UsualFrame* usual,
                 TokenizerBuilder* builder) {
  RETURN_IF_ERROR(CheckMerges(vocab));
  if (vocab.pre.empty()) {
    builder->Warn(
        "tokenizer.ggml.pre is missing: \"default\" is taken for it, as "
        "llama.cpp does, and a text may be cut otherwise than in training; "
        "convert the model again, or set the key");
  }
  NamedPreTokenizer named;
  ASSIGN_OR_RETURN(PreTokenizer pre,
                   PreTokenizer::FromName(
                       vocab.pre.empty() ? "default" : vocab.pre, &named));
  builder->set_pre_tokenizer(std::move(pre));
  usual->bos = named.add_bos;
  BpeBuilder bpe(*builder, named.bytes);
  bpe.set_ignore_merges(named.ignore_merges);
  bpe.set_repeated(BpeConfig::Repeated::kFirst);
  bpe.set_missing(MissingByte::kSeparateNeighbours);
  for (const std::string& merge : vocab.merges) {
    // Neither part is empty, so a token may start with the space.
    const size_t space = merge.find(' ', 1);
    if (space == std::string::npos) {
      return InvalidArgument("tokenizer.ggml.merges: \"" + merge +
                             "\" is not two tokens");
    }
    RETURN_IF_ERROR(bpe.AddMerge(std::string_view(merge).substr(0, space),
                                 std::string_view(merge).substr(space + 1)));
  }
  ASSIGN_OR_RETURN(std::unique_ptr<TokenModel> model, bpe.Build());
  builder->set_model(std::move(model));
  Decoder decoder;
  decoder.AddByteLevel();
  builder->set_decoder(std::move(decoder));
  return Status::Ok();
}

void SetVisibleSpaceDecoder(bool drop_first, TokenizerBuilder* builder) {
  Decoder decoder;
  decoder.AddByteFallback();
  decoder.AddReplace(std::string(kVisibleSpace), " ");
  if (drop_first) decoder.AddDropLeadingSpace(/*once=*/true);
  builder->set_decoder(std::move(decoder));
}

// "llama": SentencePiece's BPE, by scores, bytes as a last resort.
Status BuildLlama(const TokenizerVocab& vocab, UsualFrame* usual,
                  TokenizerBuilder* builder) {
  usual->bos = true;
  const bool prefix = vocab.add_space_prefix.value_or(true);
  Normalizer normalizer;
  if (prefix) normalizer.AddPrepend(" ");
  normalizer.AddReplaceText(" ", std::string(kVisibleSpace));
  builder->set_normalizer(std::move(normalizer));
  std::vector<int32_t> ids;
  for (size_t i = 0; i < vocab.tokens.size(); ++i) {
    if (!vocab.tokens[i].empty()) ids.push_back(static_cast<int32_t>(i));
  }
  BpeBuilder bpe(*builder, /*bytes=*/false);
  RETURN_IF_ERROR(bpe.AddMergesByScore(ids, Scores(vocab)));
  bpe.set_byte_fallback(true);
  bpe.set_missing(MissingByte::kSeparateNeighbours);
  ASSIGN_OR_RETURN(std::unique_ptr<TokenModel> model, bpe.Build());
  builder->set_model(std::move(model));
  SetVisibleSpaceDecoder(prefix, builder);
  return Status::Ok();
}

// "t5": SentencePiece's Unigram.
Status BuildT5(const TokenizerVocab& vocab, UsualFrame* usual,
               TokenizerBuilder* builder) {
  usual->eos = true;
  constexpr float kUnknownPenalty = 10.0F;  // below the lowest score
  const std::vector<float> scores = Scores(vocab);
  UnigramConfig config;
  std::vector<std::pair<std::string, int32_t>> kept;
  float lowest = std::numeric_limits<float>::max();
  for (size_t i = 0; i < vocab.tokens.size(); ++i) {
    RETURN_IF_ERROR(CheckPieceLength(vocab.tokens[i]));
    const int32_t type = TypeOf(vocab, i);
    const auto id = static_cast<int32_t>(i);
    if (type == kNormal) lowest = std::min(lowest, scores[i]);
    if (type == kUserDefined) kept.emplace_back(vocab.tokens[i], id);
    if (type == kNormal || type == kUserDefined || type == kUnused) {
      config.tokens.push_back(
          {vocab.tokens[i], type == kUserDefined ? 0.0 : scores[i], id});
    }
  }
  config.unk_score = lowest - kUnknownPenalty;
  config.unk_id = static_cast<int32_t>(vocab.unk_id);
  config.byte_ids.fill(-1);
  builder->set_model(std::make_unique<Unigram>(std::move(config)));
  SentencePieceSpaces spaces;
  ASSIGN_OR_RETURN(spaces.charsmap,
                   Charsmap::Parse(vocab.precompiled_charsmap));
  spaces.kept = PrefixTrie(std::move(kept));
  spaces.add_dummy_prefix = vocab.add_space_prefix.value_or(true);
  spaces.remove_extra = vocab.remove_extra_whitespaces.value_or(false);
  Normalizer normalizer;
  normalizer.AddSentencePiece(std::move(spaces));
  builder->set_normalizer(std::move(normalizer));
  SetVisibleSpaceDecoder(true, builder);
  return Status::Ok();
}

// "rwkv": the longest token at each byte. Tokens are written with escapes.
Status BuildRwkv(const TokenizerVocab& vocab, TokenizerBuilder* builder) {
  std::vector<std::pair<std::string, int32_t>> tokens;
  for (size_t i = 0; i < vocab.tokens.size(); ++i) {
    const int32_t type = TypeOf(vocab, i);
    const auto id = static_cast<int32_t>(i);
    std::string bytes = UnescapeRwkv(vocab.tokens[i]);
    RETURN_IF_ERROR(CheckPieceLength(bytes));
    if (type == kNormal) tokens.emplace_back(bytes, id);
    if (type != kControl) builder->SetBytes(id, std::move(bytes));
  }
  builder->set_model(std::make_unique<LongestMatch>(
      std::move(tokens),
      vocab.unk_id < 0 ? -1 : static_cast<int32_t>(vocab.unk_id)));
  return Status::Ok();
}

Status BuildModel(const TokenizerVocab& vocab, UsualFrame* usual,
                  TokenizerBuilder* builder) {
  if (vocab.model == "gpt2") return BuildGpt2(vocab, usual, builder);
  if (vocab.model == "llama") return BuildLlama(vocab, usual, builder);
  if (vocab.model == "t5") return BuildT5(vocab, usual, builder);
  if (vocab.model == "rwkv") return BuildRwkv(vocab, builder);
  return Unsupported("tokenizer.ggml.model \"" + vocab.model +
                     "\" (known: gpt2, llama, rwkv, t5)");
}

Result<std::unique_ptr<Tokenizer>> Build(TokenizerVocab vocab) {
  RETURN_IF_ERROR(CheckShape(vocab));
  TokenizerBuilder builder;
  builder.set_plain_added(true);
  RETURN_IF_ERROR(AddTokens(vocab, &builder));
  RETURN_IF_ERROR(CheckIds(vocab));
  UsualFrame usual;
  RETURN_IF_ERROR(BuildModel(vocab, &usual, &builder));
  RETURN_IF_ERROR(AddAdded(vocab, &builder));
  AddSpecial(vocab, usual, &builder);
  if (!vocab.chat_template.empty()) {
    builder.AddChatTemplate("default", std::move(vocab.chat_template),
                            "tokenizer.chat_template");
  }
  for (auto& [name, text] : vocab.named_chat_templates) {
    builder.AddChatTemplate(name, std::move(text),
                            "tokenizer.chat_template." + name);
  }
  return builder.Build();
}

}  // namespace

Result<std::unique_ptr<Tokenizer>> Tokenizer::FromVocab(TokenizerVocab vocab) {
  const std::string source = vocab.source.empty() ? "GGUF" : vocab.source;
  Result<std::unique_ptr<Tokenizer>> result = Build(std::move(vocab));
  if (result.ok()) return result;
  return Status(result.status().code(),
                "[tokenizer] " + source + ": " + result.status().message());
}

}  // namespace intarsia
