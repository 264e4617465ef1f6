// Assembles a Tokenizer from the parts that a file gives, and checks that they
// agree. Errors name the part; the readers prefix the file.
#pragma once

#include <memory>
#include <string>
#include <string_view>
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

  // A token that is found in the text; after the vocabulary, and after what is
  // made of the vocabulary alone. It may repeat one of it, with the same id.
  Status AddAddedToken(AddedToken token);

  // Tokens that decode to `bytes` whatever the decoder says.
  void SetBytes(int32_t id, std::string bytes);

  void set_model(std::unique_ptr<TokenModel> model);
  void set_normalizer(Normalizer n) { normalizer_ = std::move(n); }
  void set_pre_tokenizer(PreTokenizer pre) { pre_tokenizer_ = std::move(pre); }
  void set_decoder(Decoder decoder);
  // Added tokens decode to their text, whatever the decoder says.
  void set_plain_added(bool plain) { plain_added_ = plain; }

  void set_prefix(std::vector<int32_t> ids) { prefix_ = std::move(ids); }
  void set_suffix(std::vector<int32_t> ids) { suffix_ = std::move(ids); }
  void set_bos(int32_t id) { bos_id_ = id; }
  void set_eos(int32_t id) { eos_id_ = id; }
  void AddEndOfGeneration(int32_t id) { eog_ids_.push_back(id); }
  void AddChatTemplate(std::string name, std::string text);

  bool has_prefix() const { return !prefix_.empty(); }
  bool has_suffix() const { return !suffix_.empty(); }
  int32_t Find(std::string_view token) const { return tokenizer_->Find(token); }
  int32_t size() const { return tokenizer_->vocab_size(); }
  // As the vocabulary writes it; empty where no token has the id.
  std::string_view Text(int32_t id) const { return tokenizer_->Token(id); }

  // Ends the building. Every id given must name a token.
  Result<std::unique_ptr<Tokenizer>> Build();

 private:
  Tokenizer::Entry* Place(int32_t id);

  std::unique_ptr<Tokenizer> tokenizer_;
  Normalizer normalizer_;
  PreTokenizer pre_tokenizer_;
  bool plain_added_ = false;
  std::vector<AddedToken> added_;
  std::vector<int32_t> prefix_, suffix_, eog_ids_;
  int32_t bos_id_ = -1;
  int32_t eos_id_ = -1;
};

}  // namespace intarsia
