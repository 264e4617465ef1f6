// Text to tokens and back, for the tokenizers of Hugging Face (tokenizer.json),
// SentencePiece (tokenizer.model), GGUF metadata and RWKV's word lists. A
// tokenizer is data: components, each in a file of its own, composed as the
// file says.
//
//   text → added_tokens → normalizer → pre_tokenizer → model → special tokens
//   tokens → decoder → bytes → text (utf8), at once or as a stream
//
// Models: bpe (bytes or characters), unigram, longest_match. The tokens are
// those of the `tokenizers` library for a tokenizer.json, of `sentencepiece`
// for a tokenizer.model, and of llama.cpp for GGUF metadata. Every file is
// untrusted: what is malformed, contradictory or not supported gives a Status
// that names the file and the field.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "intarsia/core/status.h"
#include "intarsia/tokenizer/added_tokens.h"
#include "intarsia/tokenizer/decoder.h"
#include "intarsia/tokenizer/model.h"
#include "intarsia/tokenizer/normalizer.h"
#include "intarsia/tokenizer/pre_tokenizer.h"

namespace intarsia {

// A vocabulary as GGUF metadata carries it. Ids are indices of `tokens`; -1
// means that the file names none.
struct TokenizerVocab {
  std::string source;  // the file's name, for errors
  std::string model;   // tokenizer.ggml.model: "gpt2", "llama", "t5", "rwkv"
  std::string pre;     // tokenizer.ggml.pre; empty: "default"
  std::vector<std::string> tokens;
  std::vector<int32_t> token_types;      // GGUF's numbers; empty: all normal
  std::vector<std::string> merges;       // "left right"
  std::vector<float> scores;             // of "llama" and "t5"; empty: all 0
  std::string precompiled_charsmap;      // of "t5", see charsmap.h
  std::optional<bool> add_space_prefix;  // unset: as is usual for `model`
  std::optional<bool> remove_extra_whitespaces;
  int64_t bos_id = -1;
  int64_t eos_id = -1;
  int64_t unk_id = -1;                // byte-level BPE does not use it
  std::vector<int64_t> more_eog_ids;  // eot, eom: end a generation as eos does
  std::map<std::string, int64_t> named_ids;  // pad_token …: see named_tokens()
  std::optional<bool> add_bos;               // unset: as is usual for `pre`
  std::optional<bool> add_eos;
  std::string chat_template;
  std::map<std::string, std::string> named_chat_templates;
};

struct SideFiles;  // side_files.h

struct EncodeOptions {
  bool add_special = true;     // begin and end as the model was trained
  bool parse_special = false;  // "<|im_start|>" in the text is that token
};

// Immutable: threads may share one.
class Tokenizer {
 public:
  // Reads a tokenizer.json and, if its path is not empty, the
  // tokenizer_config.json that goes with it (bos, eos, chat template).
  // `model_type`: of the model's config.json, where it is known.
  static Result<std::unique_ptr<Tokenizer>> FromJsonFile(
      const std::string& tokenizer_path, const std::string& config_path = "",
      const std::string& model_type = "");

  // The same from text; `source` is the name that errors give.
  static Result<std::unique_ptr<Tokenizer>> FromJson(
      std::string_view tokenizer_json, std::string_view config_json = "",
      const std::string& source = "tokenizer.json");

  static Result<std::unique_ptr<Tokenizer>> FromVocab(TokenizerVocab vocab);

  // Reads SentencePiece's tokenizer.model, a protobuf. `config_json`, if not
  // empty, is the tokenizer_config.json beside it; without it a BPE model
  // begins texts with its bos, and a Unigram model ends them with its eos.
  static Result<std::unique_ptr<Tokenizer>> FromSentencePiece(
      std::string_view model, std::string_view config_json = "",
      const std::string& source = "tokenizer.model");

  // Reads RWKV's list of words: lines of an id, a Python literal ('…' or b'…')
  // and its length in bytes. Id 0 ends a text.
  static Result<std::unique_ptr<Tokenizer>> FromRwkvVocab(
      std::string_view text, const std::string& source = "rwkv_vocab");

  // Reads one of the above, told apart by the contents.
  static Result<std::unique_ptr<Tokenizer>> FromText(std::string_view text,
                                                     const SideFiles& sides,
                                                     const std::string& source);
  static Result<std::unique_ptr<Tokenizer>> FromFile(
      const std::string& path, const std::string& config_path = "",
      const std::string& model_type = "");

  // Malformed UTF-8 is read as U+FFFD. `text` must be shorter than 2 GiB. Fails
  // where the file's patterns take too long for the text, and where an added
  // token has an id that the model has no row for (SetModelRows).
  Result<std::vector<int32_t>> Encode(std::string_view text,
                                      EncodeOptions options = {}) const;

  // Always valid UTF-8: bytes that form no character become U+FFFD. Unknown
  // ids (models pad their vocabularies) give nothing.
  std::string Decode(std::span<const int32_t> ids,
                     bool skip_special = true) const;

  // The bytes of one token; empty for an unknown id.
  std::string_view TokenBytes(int32_t id) const;

  // As the vocabulary writes it ("Ġthe"); empty for an unknown id.
  std::string_view Token(int32_t id) const;

  // The id of a token as the vocabulary writes it, or -1.
  int32_t Find(std::string_view token) const;

  bool is_special(int32_t id) const;

  // A token that is found in the text before the model cuts it.
  bool is_added(int32_t id) const;

  // True for eos and for the special tokens that end a turn in the formats in
  // use, such as <|im_end|>.
  bool is_end_of_generation(int32_t id) const;

  // How many tokens the model's table has rows for. Fails if the vocabulary has
  // more; added tokens past the end are a warning, and an error where a text
  // has one.
  Status SetModelRows(int64_t rows);

  int32_t vocab_size() const { return static_cast<int32_t>(tokens_.size()); }
  int32_t bos_id() const { return bos_id_; }  // -1: none
  int32_t eos_id() const { return eos_id_; }

  // Special tokens under the names that the files give them (bos_token,
  // pad_token, boi_token …), as chat templates see them.
  const std::map<std::string, std::string>& named_tokens() const {
    return named_tokens_;
  }

  // What in the files is contradictory or did not count, a sentence each.
  const std::vector<std::string>& warnings() const { return warnings_; }

  // The Jinja text; empty if the files have none. A model may have more than
  // one ("tool_use", "rag"); an unknown name gives the default.
  const std::string& chat_template(std::string_view name = "default") const;
  // The file, or a GGUF key, that it comes from, for errors.
  const std::string& template_source(std::string_view name = "default") const;

  // All of them by name.
  const std::map<std::string, std::string, std::less<>>& chat_templates()
      const {
    return chat_templates_;
  }

  // What add_special puts before a text and after it.
  const std::vector<int32_t>& prefix() const { return prefix_; }
  const std::vector<int32_t>& suffix() const { return suffix_; }

  // Decoding one token at a time. What Push and Finish return, end to end, is
  // what Decode returns for all of it, and each piece is whole characters.
  class Stream {
   public:
    // The tokenizer must outlive the stream.
    explicit Stream(const Tokenizer& tokenizer, bool skip_special = true);
    std::string Push(int32_t id);
    // What was held back, an unfinished character as U+FFFD; then starts
    // afresh.
    std::string Finish();

   private:
    const Tokenizer* tokenizer_;
    bool skip_special_;
    Decoder::State state_;
    std::string pending_;  // at most 3 bytes of a character
  };

 private:
  friend class TokenizerBuilder;  // fills the members from a file

  using Texts = std::map<std::string, std::string, std::less<>>;
  static const std::string& Named(const Texts& texts, std::string_view name);

  struct Entry {
    std::string text;    // as the vocabulary writes it
    std::string bytes;   // what it decodes to
    bool plain = false;  // `bytes` is not what the decoder gives
    bool present = false;
    bool added = false;
    bool special = false;
    bool end_of_generation = false;
  };

  Tokenizer() = default;
  void EncodeSegment(std::string_view text, bool at_start, MatchBudget* budget,
                     std::vector<int32_t>* ids) const;

  // Lets a map be asked with a string_view.
  struct TextHash {
    using is_transparent = void;
    size_t operator()(std::string_view text) const {
      return std::hash<std::string_view>()(text);
    }
  };

  std::vector<Entry> tokens_;
  std::unordered_map<std::string, int32_t, TextHash, std::equal_to<>> ids_;
  AddedTokenMatcher raw_added_;         // looked for in the text as it is
  AddedTokenMatcher normalized_added_;  // and in the normalised text
  Normalizer normalizer_;
  PreTokenizer pre_tokenizer_;
  std::unique_ptr<TokenModel> model_;
  Decoder decoder_;
  std::vector<int32_t> prefix_, suffix_;  // what add_special adds
  int32_t bos_id_ = -1;
  int32_t eos_id_ = -1;
  int64_t rows_ = std::numeric_limits<int64_t>::max();  // of the model's table
  Texts chat_templates_, template_sources_;
  std::map<std::string, std::string> named_tokens_;
  std::vector<std::string> warnings_;
};

}  // namespace intarsia
