// The tokenizer that a GGUF file carries: tokenizer.ggml.*, or, in files of
// ours, the tokenizer's own file, which says what GGUF has no place for.
#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "intarsia/checkpoint/checkpoint.h"
#include "intarsia/core/status.h"
#include "intarsia/tokenizer/tokenizer.h"

namespace intarsia {

// Where files of ours keep the tokenizer's files: tokenizer.json (a key of
// GGUF's own), tokenizer.model or a list of words (bytes),
// tokenizer_config.json without its templates, special_tokens_map.json and
// added_tokens.json.
inline constexpr char kHfTokenizer[] = "tokenizer.huggingface.json";
inline constexpr char kTokenizerModel[] = "intarsia.tokenizer_model";
inline constexpr char kTokenizerConfig[] = "intarsia.tokenizer_config";
inline constexpr char kSpecialTokensMap[] = "intarsia.special_tokens_map";
inline constexpr char kAddedTokens[] = "intarsia.added_tokens";
// VocabDigest as the file was written.
inline constexpr char kVocabDigest[] = "intarsia.tokenizer_digest";
// All ids that end an answer; keys of their own name three of them.
inline constexpr char kEndIds[] = "tokenizer.ggml.eos_token_ids";

// tokenizer.ggml.* and the templates. Without tokens: the ids, flags and
// templates alone.
Result<TokenizerVocab> ReadGgufVocab(const GgufMetadata& metadata,
                                     const std::string& source);

// "chat_template" of a tokenizer_config.json: a text, a list of named ones, or
// null.
nlohmann::ordered_json ChatTemplates(const TokenizerVocab& vocab);

// The text of the tokenizer's own file; empty: there is none.
Result<std::string> OwnTokenizerFile(const GgufMetadata& metadata);

// SHA-256 of what tells how a text is cut: the vocabulary and the tokenizer's
// own file. Where it differs from kVocabDigest, one of the two was changed
// after the file was written.
std::string VocabDigest(const TokenizerVocab& vocab, const std::string& own);

// The tokenizer's own file counts: there is no other, or neither has changed.
// A change is said in `warnings`, which may be null.
Result<bool> OwnTokenizerCounts(const GgufMetadata& metadata,
                                const TokenizerVocab& vocab,
                                const std::string& own,
                                std::vector<std::string>* warnings);

// The ids and flags by which GGUF says what begins and ends a text.
struct GgufFrame {
  int64_t bos = -1, eos = -1;
  bool add_bos = false, add_eos = false;
  bool operator==(const GgufFrame&) const = default;
};
// What they are for a tokenizer. `whole`: they say all that it adds to a text.
GgufFrame FrameOf(const Tokenizer& tokenizer, bool* whole);

// The tokenizer by its own file, its ids, flags and templates as the metadata
// has them, and the files that say so.
struct OwnTokenizer {
  std::string file;
  nlohmann::ordered_json config;  // tokenizer_config.json
  std::unique_ptr<Tokenizer> tokenizer;
  bool changed = false;  // ids or flags are not those of the own file
};
Result<OwnTokenizer> OpenOwnTokenizer(const GgufMetadata& metadata,
                                      const TokenizerVocab& vocab,
                                      std::string own,
                                      const std::string& source);

// Null: the file has none. What does not count is said in `warnings`, which
// may be null.
Result<std::unique_ptr<Tokenizer>> OpenGgufTokenizer(
    const Checkpoint& checkpoint, std::vector<std::string>* warnings);

}  // namespace intarsia
