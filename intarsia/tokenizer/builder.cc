#include "intarsia/tokenizer/builder.h"

#include <algorithm>
#include <utility>

#include "intarsia/tokenizer/bpe_builder.h"

namespace intarsia {
namespace {

// Special tokens that end an answer in the chat formats in use.
constexpr std::string_view kEndOfGeneration[] = {"<|endoftext|>",
                                                 "<|im_end|>",
                                                 "<|eot_id|>",
                                                 "<|eom_id|>",
                                                 "<|end_of_text|>",
                                                 "</s>",
                                                 "<|end|>",
                                                 "<end_of_turn>",
                                                 "<|EOT|>",
                                                 "<EOT>",
                                                 "_<EOT>",
                                                 "[EOT]",
                                                 "<|end_of_turn|>",
                                                 "<turn|>",
                                                 "<|END_OF_TURN_TOKEN|>",
                                                 "<|end_of_role|>",
                                                 "<end_of_utterance>",
                                                 "<eos>",
                                                 "<｜end▁of▁sentence｜>"};

}  // namespace

TokenizerBuilder::TokenizerBuilder() : tokenizer_(new Tokenizer) {}

Tokenizer::Entry* TokenizerBuilder::Place(int32_t id) {
  auto& tokens = tokenizer_->tokens_;
  if (static_cast<size_t>(id) >= tokens.size()) tokens.resize(id + 1);
  return &tokens[id];
}

Status TokenizerBuilder::AddToken(int32_t id, std::string text,
                                  Repeats repeats) {
  Tokenizer::Entry* entry = Place(id);
  const auto [place, is_new] = tokenizer_->ids_.try_emplace(text, id);
  const bool taken = repeats == Repeats::kTaken;
  if (entry->present && !taken) {
    return InvalidArgument("id " + std::to_string(id) + " names both " +
                           QuoteToken(entry->text) + " and " +
                           QuoteToken(text));
  }
  if (!is_new && !taken) {
    return InvalidArgument("token " + QuoteToken(text) + " has two ids, " +
                           std::to_string(place->second) + " and " +
                           std::to_string(id));
  }
  if (!is_new && !text.empty() && repeated_++ == 0) {
    Warn("token " + QuoteToken(text) + " has the ids " +
         std::to_string(place->second) + " and " + std::to_string(id) +
         "; a text gets the last");
  }
  place->second = id;
  ++model_size_;
  if (entry->present) {
    if (repeated_++ == 0) {
      Warn("id " + std::to_string(id) + " names both " +
           QuoteToken(entry->text) + " and " + QuoteToken(text) +
           "; it is decoded to the first");
    }
    return Status::Ok();
  }
  entry->present = true;
  entry->text = std::move(text);
  return Status::Ok();
}

Status TokenizerBuilder::AddAddedToken(AddedToken token) {
  if (token.content.empty()) return Status::Ok();
  if (token.content.size() > AddedTokenMatcher::kLongest) {
    return InvalidArgument(
        "added token " + QuoteToken(token.content) + " has more than " +
        std::to_string(AddedTokenMatcher::kLongest) + " bytes");
  }
  const int32_t said = token.id;
  token.id = Find(token.content);
  const auto [index, is_new] =
      added_index_.try_emplace(token.content, added_.size());
  if (token.id < 0) {
    token.id = std::max(model_size_, last_added_ + 1);
    tokenizer_->ids_.emplace(token.content, token.id);
    Tokenizer::Entry* entry = Place(token.id);
    if (entry->present) {
      Warn("id " + std::to_string(token.id) + " names both " +
           QuoteToken(entry->text) + " and the added token " +
           QuoteToken(token.content));
    }
    entry->present = true;
    entry->text = token.content;
  }
  if (said >= 0 && said != token.id && disagreeing_++ == 0) {
    Warn("added token " + QuoteToken(token.content) + " has id " +
         std::to_string(token.id) + ", not " + std::to_string(said) +
         " as its list says");
  }
  last_added_ = std::max(last_added_, token.id);
  Tokenizer::Entry* entry = Place(token.id);
  entry->added = true;
  entry->special = entry->special || token.special;
  token.special = entry->special;
  if (raw_added_) token.normalized = false;
  if (plain_added_) SetBytes(token.id, token.content);
  if (is_new) {
    added_.push_back(std::move(token));
  } else {
    added_[index->second] = std::move(token);
  }
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

void TokenizerBuilder::AddChatTemplate(std::string name, std::string text,
                                       const std::string& source) {
  tokenizer_->template_sources_.try_emplace(name, source);
  tokenizer_->chat_templates_.emplace(std::move(name), std::move(text));
}

void TokenizerBuilder::SetNamedToken(const std::string& name,
                                     std::string text) {
  tokenizer_->named_tokens_[name] = std::move(text);
}

void TokenizerBuilder::Warn(std::string text) {
  tokenizer_->warnings_.push_back(std::move(text));
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
  const auto added = [&](std::string_view name) {
    return IsAdded(name) ? Find(name) : -1;
  };
  for (const std::string_view name : kEndOfGeneration) {
    const int32_t id = added(name);
    if (id >= 0) eog_ids_.push_back(id);
  }
  // Where <|return|> and <|call|> end a message, <|end|> is between its parts.
  const int32_t returned = added("<|return|>"), called = added("<|call|>");
  if (returned >= 0 && called >= 0) {
    if (added("<|end|>") != eos_id_) std::erase(eog_ids_, added("<|end|>"));
    eog_ids_.insert(eog_ids_.end(), {returned, called});
  }
  for (const int32_t id : eog_ids_) t.tokens_[id].end_of_generation = true;
  // What all tokens together may cost, as one text.
  size_t bytes = 0;
  for (const Tokenizer::Entry& entry : t.tokens_) bytes += entry.text.size();
  MatchBudget budget(bytes);
  std::vector<AddedToken> raw, normalized;
  for (AddedToken& token : added_) {
    if (token.normalized) {
      // As the `tokenizers` library does, it is also decoded so.
      token.content = normalizer_.Apply(token.content, &budget);
      if (token.content.size() > AddedTokenMatcher::kLongest) {
        return InvalidArgument("added token " + QuoteToken(token.content) +
                               " is too long when normalized");
      }
      Tokenizer::Entry& entry = t.tokens_[token.id];
      entry.text = token.content;
      // Decoding leaves out what has the text of a special token.
      const auto known = added_index_.find(token.content);
      entry.special =
          known != added_index_.end() && t.tokens_[Find(token.content)].special;
    }
    (token.normalized ? normalized : raw).push_back(std::move(token));
  }
  CHECK(t.model_ != nullptr);
  for (Tokenizer::Entry& entry : t.tokens_) {
    if (entry.plain) continue;
    entry.bytes = t.decoder_.TokenBytes(entry.text, &budget);
  }
  if (budget.spent()) {
    return InvalidArgument("its patterns take too long for its own tokens");
  }
  t.raw_added_ = AddedTokenMatcher(std::move(raw));
  t.normalized_added_ = AddedTokenMatcher(std::move(normalized));
  t.normalizer_ = std::move(normalizer_);
  t.pre_tokenizer_ = std::move(pre_tokenizer_);
  t.prefix_ = std::move(prefix_);
  t.suffix_ = std::move(suffix_);
  t.bos_id_ = bos_id_;
  t.eos_id_ = eos_id_;
  if (bos_id_ >= 0) {
    t.named_tokens_.emplace("bos_token", t.tokens_[bos_id_].text);
  }
  if (eos_id_ >= 0) {
    t.named_tokens_.emplace("eos_token", t.tokens_[eos_id_].text);
  }
  return std::move(tokenizer_);
}

}  // namespace intarsia
