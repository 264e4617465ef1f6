// Tokenizer::FromVocab: what GGUF metadata says, read as llama.cpp reads it.
#include <utility>

#include "intarsia/tokenizer/builder.h"
#include "intarsia/tokenizer/tokenizer.h"
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
  if (vocab.model != "gpt2") {
    return Unsupported("tokenizer.ggml.model \"" + vocab.model +
                       "\" (known: gpt2, the byte-level BPE)");
  }
  constexpr size_t kMaxTokens = 1 << 26;
  if (vocab.tokens.size() > kMaxTokens) {
    return InvalidArgument("tokenizer.ggml.tokens: too many");
  }
  if (!vocab.token_types.empty() &&
      vocab.token_types.size() != vocab.tokens.size()) {
    return InvalidArgument("tokenizer.ggml.token_type has " +
                           std::to_string(vocab.token_types.size()) +
                           " entries for " +
                           std::to_string(vocab.tokens.size()) + " tokens");
  }
  return Status::Ok();
}

Status AddTokens(const TokenizerVocab& vocab, TokenizerBuilder* builder) {
  for (size_t i = 0; i < vocab.tokens.size(); ++i) {
    if (!IsValidUtf8(vocab.tokens[i])) {
      return InvalidArgument("token " + std::to_string(i) +
                             " is not valid UTF-8");
    }
    RETURN_IF_ERROR(
        builder->AddToken(static_cast<int32_t>(i), vocab.tokens[i]));
  }
  for (const std::string& merge : vocab.merges) {
    // Neither part is empty, so a token may start with the space.
    const size_t space = merge.find(' ', 1);
    if (space == std::string::npos) {
      return InvalidArgument("tokenizer.ggml.merges: \"" + merge +
                             "\" is not two tokens");
    }
    RETURN_IF_ERROR(
        builder->AddMerge(std::string_view(merge).substr(0, space),
                          std::string_view(merge).substr(space + 1)));
  }
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
      RETURN_IF_ERROR(builder->AddAddedToken(std::move(token)));
    }
  }
  return Status::Ok();
}

Status AddSpecial(const TokenizerVocab& vocab, TokenizerBuilder* builder) {
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
  builder->set_bos(static_cast<int32_t>(vocab.bos_id));
  builder->set_eos(static_cast<int32_t>(vocab.eos_id));
  for (const int64_t id : vocab.more_eog_ids) {
    RETURN_IF_ERROR(check(id, "eot or eom token id"));
    if (id >= 0) builder->AddEndOfGeneration(static_cast<int32_t>(id));
  }
  // Llama 3's files of old leave the flag out.
  const bool usual_bos = vocab.pre == "llama-bpe" || vocab.pre == "llama3" ||
                         vocab.pre == "llama-v3";
  if (vocab.add_bos.value_or(usual_bos) && vocab.bos_id >= 0) {
    builder->set_prefix({static_cast<int32_t>(vocab.bos_id)});
  }
  if (vocab.add_eos.value_or(false) && vocab.eos_id >= 0) {
    builder->set_suffix({static_cast<int32_t>(vocab.eos_id)});
  }
  return Status::Ok();
}

Result<std::unique_ptr<Tokenizer>> Build(TokenizerVocab vocab) {
  RETURN_IF_ERROR(CheckShape(vocab));
  TokenizerBuilder builder;
  bool ignore_merges = false;
  ASSIGN_OR_RETURN(
      PreTokenizer pre,
      PreTokenizer::FromName(vocab.pre.empty() ? "default" : vocab.pre,
                             &ignore_merges));
  builder.set_pre_tokenizer(std::move(pre));
  builder.set_ignore_merges(ignore_merges);
  builder.set_missing_byte(MissingByte::kSeparateNeighbours);
  RETURN_IF_ERROR(AddTokens(vocab, &builder));
  RETURN_IF_ERROR(AddSpecial(vocab, &builder));
  if (!vocab.chat_template.empty()) {
    builder.AddChatTemplate("default", std::move(vocab.chat_template));
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
