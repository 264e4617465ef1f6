// Assembles a Tokenizer from the parts that a file gives, and checks that they
// agree. Errors name the part; the readers prefix the file.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>
#include <vector>

#include "intarsia/core/status.h"
#include "intarsia/tokenizer/tokenizer.h"

namespace intarsia {

class TokenizerBuilder {
 public:
  TokenizerBuilder();

  // One token of the model's vocabulary. Fails on an id or text seen before.
  Status AddToken(int32_t id, std::string text);

  // A token that is found in the text; after the vocabulary and the merges. It
  // may repeat one of the vocabulary, with the same id.
  Status AddAddedToken(AddedToken token);

  // The next merge in order of rank. Fails unless left, right and both
  // together are tokens.
  Status AddMerge(std::string_view left, std::string_view right);

  void set_pre_tokenizer(PreTokenizer pre) { pre_tokenizer_ = std::move(pre); }
  void set_nfc(bool nfc) { nfc_ = nfc; }
  // Pieces that are tokens are taken whole.
  void set_ignore_merges(bool on) { ignore_merges_ = on; }
  void set_missing_byte(MissingByte missing) { bpe_.missing = missing; }
  void set_fuse_unk(bool fuse) { bpe_.fuse_unk = fuse; }
  Status SetUnk(const std::string& text);

  void set_prefix(std::vector<int32_t> ids) { prefix_ = std::move(ids); }
  void set_suffix(std::vector<int32_t> ids) { suffix_ = std::move(ids); }
  void set_bos(int32_t id) { bos_id_ = id; }
  void set_eos(int32_t id) { eos_id_ = id; }
  void AddEndOfGeneration(int32_t id) { eog_ids_.push_back(id); }
  void AddChatTemplate(std::string name, std::string text);

  bool has_prefix() const { return !prefix_.empty(); }
  bool has_suffix() const { return !suffix_.empty(); }
  int32_t Find(std::string_view token) const { return tokenizer_->Find(token); }

  // Ends the building. Every id given must name a token.
  Result<std::unique_ptr<Tokenizer>> Build();

 private:
  Tokenizer::Entry* Place(int32_t id);

  std::unique_ptr<Tokenizer> tokenizer_;
  BpeConfig bpe_;
  PreTokenizer pre_tokenizer_;
  bool nfc_ = false;
  bool ignore_merges_ = false;
  std::vector<AddedToken> added_;
  std::unordered_set<int32_t> only_added_;  // not in the model's vocabulary
  std::vector<int32_t> prefix_, suffix_, eog_ids_;
  int32_t bos_id_ = -1;
  int32_t eos_id_ = -1;
};

}  // namespace intarsia
