#include "intarsia/tokenizer/tokenizer.h"

#include <deque>
#include <limits>

#include "intarsia/tokenizer/nfc.h"
#include "intarsia/tokenizer/utf8.h"

namespace intarsia {

void Tokenizer::EncodeSegment(std::string_view text,
                              std::vector<int32_t>* ids) const {
  std::vector<std::string_view> pieces;
  std::deque<std::string> storage;
  pre_tokenizer_.Split(text, &pieces, &storage);
  for (const std::string_view piece : pieces) bpe_->Encode(piece, ids);
}

std::vector<int32_t> Tokenizer::Encode(std::string_view text,
                                       EncodeOptions options) const {
  CHECK_LT(text.size(), static_cast<size_t>(std::numeric_limits<int>::max()));
  std::string repaired;
  if (!IsValidUtf8(text)) {
    repaired = ReplaceInvalidUtf8(text);
    text = repaired;
  }
  std::vector<int32_t> ids;
  if (options.add_special) ids = prefix_;
  std::vector<AddedTokenMatcher::Span> raw, spans;
  raw_added_.Split(text, options.parse_special, &raw);
  for (const AddedTokenMatcher::Span& span : raw) {
    if (span.id >= 0) {
      ids.push_back(span.id);
      continue;
    }
    spans.clear();
    const std::string normalized = nfc_ ? NormalizeNfc(span.text) : "";
    normalized_added_.Split(nfc_ ? normalized : span.text,
                            options.parse_special, &spans);
    for (const AddedTokenMatcher::Span& inner : spans) {
      if (inner.id >= 0) {
        ids.push_back(inner.id);
      } else {
        EncodeSegment(inner.text, &ids);
      }
    }
  }
  if (options.add_special) {
    ids.insert(ids.end(), suffix_.begin(), suffix_.end());
  }
  return ids;
}

std::string Tokenizer::Decode(std::span<const int32_t> ids,
                              bool skip_special) const {
  std::string bytes;
  for (const int32_t id : ids) {
    if (!(skip_special && is_special(id))) bytes += TokenBytes(id);
  }
  return IsValidUtf8(bytes) ? bytes : ReplaceInvalidUtf8(bytes);
}

std::string_view Tokenizer::TokenBytes(int32_t id) const {
  return id >= 0 && id < vocab_size() ? tokens_[id].bytes : std::string_view();
}

std::string_view Tokenizer::Token(int32_t id) const {
  return id >= 0 && id < vocab_size() ? tokens_[id].text : std::string_view();
}

int32_t Tokenizer::Find(std::string_view token) const {
  const auto it = ids_.find(std::string(token));
  return it == ids_.end() ? -1 : it->second;
}

bool Tokenizer::is_special(int32_t id) const {
  return id >= 0 && id < vocab_size() && tokens_[id].special;
}

bool Tokenizer::is_end_of_generation(int32_t id) const {
  return id >= 0 && id < vocab_size() && tokens_[id].end_of_generation;
}

const std::string& Tokenizer::chat_template(std::string_view name) const {
  static const std::string none;
  auto it = chat_templates_.find(name);
  if (it == chat_templates_.end()) it = chat_templates_.find("default");
  return it == chat_templates_.end() ? none : it->second;
}

Tokenizer::Stream::Stream(const Tokenizer& tokenizer, bool skip_special)
    : tokenizer_(&tokenizer), skip_special_(skip_special) {}

std::string Tokenizer::Stream::Push(int32_t id) {
  std::string text;
  if (skip_special_ && tokenizer_->is_special(id)) return text;
  pending_ += tokenizer_->TokenBytes(id);
  DrainUtf8(&pending_, &text);
  return text;
}

std::string Tokenizer::Stream::Finish() {
  const std::string text = ReplaceInvalidUtf8(pending_);
  pending_.clear();
  return text;
}

}  // namespace intarsia
