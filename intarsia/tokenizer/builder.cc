#include "intarsia/tokenizer/builder.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "intarsia/tokenizer/byte_level.h"
#include "intarsia/tokenizer/nfc.h"

namespace intarsia {
namespace {

// Special tokens that end an answer in the chat formats in use.
constexpr std::string_view kEndOfGeneration[] = {
    "<|endoftext|>",   "<|im_end|>",           "<|eot_id|>",
    "<|eom_id|>",      "<|end_of_text|>",      "</s>",
    "<|end|>",         "<end_of_turn>",        "<|EOT|>",
    "<EOT>",           "<|end_of_turn|>",      "<|END_OF_TURN_TOKEN|>",
    "<|end_of_role|>", "<｜end▁of▁sentence｜>"};

std::string Quoted(std::string_view text) {
  constexpr size_t kShown = 40;
  std::string out;
  out.append(1, '"').append(text.substr(0, kShown));
  return out.append(text.size() > kShown ? "…\"" : "\"");
}

}  // namespace

TokenizerBuilder::TokenizerBuilder() : tokenizer_(new Tokenizer) {
  bpe_.byte_ids.fill(-1);
}

Tokenizer::Entry* TokenizerBuilder::Place(int32_t id) {
  auto& tokens = tokenizer_->tokens_;
  if (static_cast<size_t>(id) >= tokens.size()) tokens.resize(id + 1);
  return &tokens[id];
}

Status TokenizerBuilder::AddToken(int32_t id, std::string text) {
  Tokenizer::Entry* entry = Place(id);
  if (entry->present) {
    return InvalidArgument("id " + std::to_string(id) + " names both " +
                           Quoted(entry->text) + " and " + Quoted(text));
  }
  if (!tokenizer_->ids_.emplace(text, id).second) {
    return InvalidArgument("token " + Quoted(text) + " has two ids, " +
                           std::to_string(Find(text)) + " and " +
                           std::to_string(id));
  }
  entry->present = true;
  std::optional<std::string> bytes = ByteLevelDecode(text);
  entry->bytes = bytes ? *std::move(bytes) : text;
  entry->text = std::move(text);
  return Status::Ok();
}

Status TokenizerBuilder::AddAddedToken(AddedToken token) {
  const int32_t known = Find(token.content);
  if (known >= 0 && known != token.id) {
    return InvalidArgument("added token " + Quoted(token.content) + " has id " +
                           std::to_string(token.id) +
                           ", but the vocabulary gives it " +
                           std::to_string(known));
  }
  if (known < 0) {
    RETURN_IF_ERROR(AddToken(token.id, token.content));
    only_added_.insert(token.id);
  }
  Tokenizer::Entry* entry = Place(token.id);
  if (entry->added) return Status::Ok();
  entry->added = true;
  entry->special = token.special;
  entry->bytes = token.content;
  added_.push_back(std::move(token));
  return Status::Ok();
}

Status TokenizerBuilder::AddMerge(std::string_view left,
                                  std::string_view right) {
  const std::string where = "merge " + std::to_string(bpe_.merges.size());
  BpeConfig::Merge merge;
  const std::string whole = std::string(left) + std::string(right);
  const std::pair<std::string_view, int32_t*> parts[] = {
      {left, &merge.left}, {right, &merge.right}, {whole, &merge.result}};
  for (const auto& [text, id] : parts) {
    *id = Find(text);
    if (*id < 0) {
      return InvalidArgument(where + " names " + Quoted(text) +
                             ", which is not in the vocabulary");
    }
  }
  bpe_.merges.push_back(merge);
  return Status::Ok();
}

Status TokenizerBuilder::SetUnk(const std::string& text) {
  bpe_.unk_id = Find(text);
  if (bpe_.unk_id < 0) {
    return InvalidArgument("the unknown token " + Quoted(text) +
                           " is not in the vocabulary");
  }
  return Status::Ok();
}

void TokenizerBuilder::AddChatTemplate(std::string name, std::string text) {
  tokenizer_->chat_templates_.emplace(std::move(name), std::move(text));
}

Result<std::unique_ptr<Tokenizer>> TokenizerBuilder::Build() {
  Tokenizer& t = *tokenizer_;
  if (t.ids_.empty()) return InvalidArgument("the vocabulary is empty");
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
  for (int b = 0; b < 256; ++b) {
    const char byte = static_cast<char>(b);
    const int32_t id = Find(ByteLevelEncode({&byte, 1}));
    if (only_added_.count(id) == 0) bpe_.byte_ids[b] = id;
  }
  if (ignore_merges_) {
    for (const auto& [text, id] : t.ids_) {
      if (only_added_.count(id) != 0) continue;
      if (std::optional<std::string> bytes = ByteLevelDecode(text)) {
        bpe_.whole.emplace(*std::move(bytes), id);
      }
    }
  }
  ASSIGN_OR_RETURN(t.bpe_, Bpe::Create(std::move(bpe_)));
  if (eos_id_ >= 0) eog_ids_.push_back(eos_id_);
  for (const std::string_view name : kEndOfGeneration) {
    const int32_t id = Find(name);
    if (id >= 0 && t.tokens_[id].added) eog_ids_.push_back(id);
  }
  for (const int32_t id : eog_ids_) t.tokens_[id].end_of_generation = true;
  std::vector<AddedToken> raw, normalized;
  for (AddedToken& token : added_) {
    if (nfc_ && token.normalized) token.content = NormalizeNfc(token.content);
    (token.normalized ? normalized : raw).push_back(std::move(token));
  }
  t.raw_added_ = AddedTokenMatcher(std::move(raw));
  t.normalized_added_ = AddedTokenMatcher(std::move(normalized));
  t.nfc_ = nfc_;
  t.pre_tokenizer_ = std::move(pre_tokenizer_);
  t.prefix_ = std::move(prefix_);
  t.suffix_ = std::move(suffix_);
  t.bos_id_ = bos_id_;
  t.eos_id_ = eos_id_;
  return std::move(tokenizer_);
}

}  // namespace intarsia
