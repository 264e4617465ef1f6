#include "intarsia/tokenizer/builder.h"

#include <algorithm>
#include <utility>

#include "intarsia/tokenizer/bpe_builder.h"

namespace intarsia {
namespace {

// Special tokens that end an answer in the chat formats in use.
constexpr std::string_view kEndOfGeneration[] = {
    "<|endoftext|>",   "<|im_end|>",           "<|eot_id|>",
    "<|eom_id|>",      "<|end_of_text|>",      "</s>",
    "<|end|>",         "<end_of_turn>",        "<|EOT|>",
    "<EOT>",           "<|end_of_turn|>",      "<|END_OF_TURN_TOKEN|>",
    "<|end_of_role|>", "<｜end▁of▁sentence｜>"};

}  // namespace

TokenizerBuilder::TokenizerBuilder() : tokenizer_(new Tokenizer) {}

Tokenizer::Entry* TokenizerBuilder::Place(int32_t id) {
  auto& tokens = tokenizer_->tokens_;
  if (static_cast<size_t>(id) >= tokens.size()) tokens.resize(id + 1);
  return &tokens[id];
}

Status TokenizerBuilder::AddToken(int32_t id, std::string text) {
  Tokenizer::Entry* entry = Place(id);
  if (entry->present) {
    return InvalidArgument("id " + std::to_string(id) + " names both " +
                           QuoteToken(entry->text) + " and " +
                           QuoteToken(text));
  }
  if (!tokenizer_->ids_.emplace(text, id).second) {
    return InvalidArgument("token " + QuoteToken(text) + " has two ids, " +
                           std::to_string(Find(text)) + " and " +
                           std::to_string(id));
  }
  entry->present = true;
  entry->text = std::move(text);
  return Status::Ok();
}

Status TokenizerBuilder::AddAddedToken(AddedToken token) {
  const int32_t known = Find(token.content);
  if (known >= 0 && known != token.id) {
    return InvalidArgument("added token " + QuoteToken(token.content) +
                           " has id " + std::to_string(token.id) +
                           ", but the vocabulary gives it " +
                           std::to_string(known));
  }
  if (known < 0) {
    RETURN_IF_ERROR(AddToken(token.id, token.content));
  }
  Tokenizer::Entry* entry = Place(token.id);
  if (entry->added) return Status::Ok();
  entry->added = true;
  entry->special = token.special;
  if (plain_added_) SetBytes(token.id, token.content);
  added_.push_back(std::move(token));
  return Status::Ok();
}

void TokenizerBuilder::SetBytes(int32_t id, std::string bytes) {
  Tokenizer::Entry* entry = Place(id);
  entry->bytes = std::move(bytes);
  entry->plain = true;
}

void TokenizerBuilder::set_model(std::unique_ptr<TokenModel> model) {
  tokenizer_->model_ = std::move(model);
}

void TokenizerBuilder::set_decoder(Decoder decoder) {
  tokenizer_->decoder_ = std::move(decoder);
}

void TokenizerBuilder::AddChatTemplate(std::string name, std::string text) {
  tokenizer_->chat_templates_.emplace(std::move(name), std::move(text));
}

Result<std::unique_ptr<Tokenizer>> TokenizerBuilder::Build() {
  Tokenizer& t = *tokenizer_;
  if (t.ids_.empty()) return InvalidArgument("the vocabulary is empty");
  if (normalizer_.growth() > Normalizer::kMaxGrowth) {
    return InvalidArgument("normalizer: a text could grow more than 4096-fold");
  }
  if (t.decoder_.growth() > Decoder::kMaxGrowth) {
    return InvalidArgument("decoder: tokens could grow more than 64-fold");
  }
  const auto known = [&](int32_t id) {
    return id >= 0 && id < t.vocab_size() && t.tokens_[id].present;
  };
  std::vector<int32_t> named(prefix_);
  named.insert(named.end(), suffix_.begin(), suffix_.end());
  named.insert(named.end(), eog_ids_.begin(), eog_ids_.end());
  for (const int32_t id : {bos_id_, eos_id_}) {
    if (id != -1) named.push_back(id);
  }
  for (const int32_t id : named) {
    if (!known(id)) {
      return InvalidArgument("special token id " + std::to_string(id) +
                             " is not in the vocabulary");
    }
  }
  if (eos_id_ >= 0) eog_ids_.push_back(eos_id_);
  for (const std::string_view name : kEndOfGeneration) {
    const int32_t id = Find(name);
    if (id >= 0 && t.tokens_[id].added) eog_ids_.push_back(id);
  }
  for (const int32_t id : eog_ids_) t.tokens_[id].end_of_generation = true;
  std::vector<AddedToken> raw, normalized;
  for (AddedToken& token : added_) {
    if (token.normalized) {
      // As the `tokenizers` library does, it is also decoded so.
      token.content = normalizer_.Apply(token.content);
      t.tokens_[token.id].text = token.content;
    }
    (token.normalized ? normalized : raw).push_back(std::move(token));
  }
  CHECK(t.model_ != nullptr);
  for (Tokenizer::Entry& entry : t.tokens_) {
    if (!entry.plain) entry.bytes = t.decoder_.TokenBytes(entry.text);
  }
  t.raw_added_ = AddedTokenMatcher(std::move(raw));
  t.normalized_added_ = AddedTokenMatcher(std::move(normalized));
  t.normalizer_ = std::move(normalizer_);
  t.pre_tokenizer_ = std::move(pre_tokenizer_);
  t.prefix_ = std::move(prefix_);
  t.suffix_ = std::move(suffix_);
  t.bos_id_ = bos_id_;
  t.eos_id_ = eos_id_;
  return std::move(tokenizer_);
}

}  // namespace intarsia
