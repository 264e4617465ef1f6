// What the fuzzers and the replay test do with an input: read it, and if it is
// accepted, encode and decode with it. A stream must give what Decode gives.
#pragma once

#include <string_view>

namespace intarsia {

// Each throws or crashes only on a bug; true: the input was accepted.

// A whole tokenizer.json.
bool FuzzTokenizerJson(std::string_view input);

// An object with any of "normalizer", "pre_tokenizer", "decoder",
// "post_processor" and "added_tokens", which are put around a small BPE or
// Unigram model; behind a zero byte, the text to encode.
bool FuzzTokenizerParts(std::string_view input);

// A tokenizer.model.
bool FuzzSentencePiece(std::string_view input);

// RWKV's list of words, and its escapes.
bool FuzzRwkvWords(std::string_view input);

// A vocabulary as GGUF has it: a line of the model's name, the pre-tokenizer's
// and flags, then lines of a token, its score and its type, an empty line, and
// lines of merges.
bool FuzzTokenizerVocab(std::string_view input);

// A tokenizer_config.json beside a small tokenizer; behind zero bytes, a
// special_tokens_map.json and an added_tokens.json.
bool FuzzTokenizerConfig(std::string_view input);

// A vocab.json; behind zero bytes, a merges.txt and a tokenizer_config.json.
bool FuzzVocabMerges(std::string_view input);

// A chat template, with limits that keep a run short.
bool FuzzChatTemplate(std::string_view input);

}  // namespace intarsia
