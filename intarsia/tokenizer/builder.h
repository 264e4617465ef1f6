// Assembles a Tokenizer from the parts that a file gives, and checks that they
// agree. Errors name the part; the readers prefix the file.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "intarsia/core/status.h"
#include "intarsia/tokenizer/tokenizer.h"

namespace intarsia {

class TokenizerBuilder {
 public:
  TokenizerBuilder();

  // What becomes of an id or a text that was seen before.
  enum class Repeats {
    kRefused,
    kTaken,  // two texts of an id both stand for it, the last id of a text
             // counts: the `tokenizers` library, and published GGUF files
  };
  // One token of the model's vocabulary.
  Status AddToken(int32_t id, std::string text,
                  Repeats repeats = Repeats::kRefused);

  // A token that is found in the text; after the vocabulary, and after what is
  // made of the vocabulary alone. As in the `tokenizers` library, its id is the
  // vocabulary's or else the next one, whatever `token.id` says (a warning); a
  // token added before takes the new flags, but stays special; one without
  // content is passed over.
  Status AddAddedToken(AddedToken token);
  // Whether a token was added; one of the vocabulary alone was not.
  bool IsAdded(std::string_view content) const {
    return added_index_.count(std::string(content)) != 0;
  }
  // Added tokens are looked for in the text as it is, whatever they say.
  void set_raw_added(bool raw) { raw_added_ = raw; }

  // Tokens that decode to `bytes` whatever the decoder says.
  void SetBytes(int32_t id, std::string bytes);

  // A token that is special under an id which is not the one of its text.
  void SetSpecial(int32_t id) { Place(id)->special = true; }

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
  // `source`: the file, or a GGUF key, that it comes from.
  void AddChatTemplate(std::string name, std::string text,
                       const std::string& source);
  // A special token under the name that chat templates know it by.
  void SetNamedToken(const std::string& name, std::string text);
  void Warn(std::string text);

  bool has_prefix() const { return !prefix_.empty(); }
  bool has_suffix() const { return !suffix_.empty(); }
  int32_t Find(std::string_view token) const { return tokenizer_->Find(token); }
  int32_t size() const { return tokenizer_->vocab_size(); }
  // Every text with the id that stands for it, in no order.
  const auto& texts() const { return tokenizer_->ids_; }
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
  bool raw_added_ = false;
  int32_t model_size_ = 0;  // tokens of the vocabulary
  int32_t last_added_ = -1;
  int repeated_ = 0, disagreeing_ = 0;  // ids; the first is a warning
  std::vector<AddedToken> added_;
  std::unordered_map<std::string, size_t> added_index_;
  std::vector<int32_t> prefix_, suffix_, eog_ids_;
  int32_t bos_id_ = -1;
  int32_t eos_id_ = -1;
};

}  // namespace intarsia
