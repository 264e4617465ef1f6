#include "intarsia/tokenizer/tokenizer.h"

#include <deque>
#include <limits>

#include "intarsia/tokenizer/utf8.h"

namespace intarsia {
namespace {

// Models take pieces below this many bytes; a longer one gives an id that
// Encode refuses.
constexpr size_t kPieceEnd = std::numeric_limits<int>::max();
constexpr int32_t kTooLong = -1;

}  // namespace

void Tokenizer::EncodeSegment(std::string_view text, bool at_start,
                              MatchBudget* budget,
                              std::vector<int32_t>* ids) const {
  std::vector<std::string_view> pieces;
  std::deque<std::string> storage;
  pre_tokenizer_.Split(text, at_start, budget, &pieces, &storage);
  if (budget->spent()) return;
  for (const std::string_view piece : pieces) {
    if (piece.size() >= kPieceEnd) return ids->push_back(kTooLong);
  }
  model_->Encode(pieces, ids);
}

Result<std::vector<int32_t>> Tokenizer::Encode(std::string_view text,
                                               EncodeOptions options) const {
  if (text.size() >= kPieceEnd) {
    return InvalidArgument("[tokenizer] a text must be shorter than 2 GiB");
  }
  MatchBudget budget(text.size());
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
    bool lost_start = false;
    std::string normalized;
    std::string_view own = span.text;
    if (!normalizer_.empty()) {
      normalized = normalizer_.Apply(span.text, &budget, &lost_start,
                                     span.text.data() == text.data());
      own = normalized;
    }
    const bool first = span.text.data() == text.data() && !lost_start;
    normalized_added_.Split(own, options.parse_special, &spans);
    for (const AddedTokenMatcher::Span& inner : spans) {
      if (inner.id >= 0) {
        ids.push_back(inner.id);
      } else {
        EncodeSegment(inner.text, first && inner.text.data() == own.data(),
                      &budget, &ids);
      }
    }
  }
  if (options.add_special) {
    ids.insert(ids.end(), suffix_.begin(), suffix_.end());
  }
  RETURN_IF_ERROR(budget.status());
  for (const int32_t id : ids) {
    if (id == kTooLong) {
      return InvalidArgument(
          "[tokenizer] a piece of the text has 2 GiB or more once it is "
          "normalized; give it in parts");
    }
    if (id >= vocab_size()) {
      return InvalidArgument(
          "[tokenizer] the text has characters that no token stands for, and "
          "the tokenizer's file has no token for unknown ones");
    }
    if (id >= rows_) {
      return InvalidArgument("[tokenizer] the text has the added token \"" +
                             tokens_[static_cast<size_t>(id)].text +
                             "\", whose id " + std::to_string(id) +
                             " the model has no row for (it has " +
                             std::to_string(rows_) + ")");
    }
  }
  return ids;
}

Status Tokenizer::SetModelRows(int64_t rows) {
  rows_ = rows;
  for (int64_t id = vocab_size() - 1; id >= rows; --id) {
    const Entry& entry = tokens_[static_cast<size_t>(id)];
    if (!entry.present || entry.added) continue;
    return InvalidArgument("[tokenizer] the vocabulary has the id " +
                           std::to_string(id) + ", but the model's table has " +
                           std::to_string(rows) +
                           " rows; the files are of two models");
  }
  if (vocab_size() > rows) {
    warnings_.push_back("the tokenizer has " + std::to_string(vocab_size()) +
                        " tokens, the model's table " + std::to_string(rows) +
                        " rows; a text with an added token past the end is "
                        "refused");
  }
  return Status::Ok();
}

std::string Tokenizer::Decode(std::span<const int32_t> ids,
                              bool skip_special) const {
  std::string bytes;
  Decoder::State state(decoder_);
  for (const int32_t id : ids) {
    if (id < 0 || id >= vocab_size()) continue;
    const Entry& entry = tokens_[id];
    if (!entry.present || (skip_special && entry.special)) continue;
    state.Push(entry.text, entry.bytes, entry.plain, &bytes);
  }
  state.Finish(&bytes);
  return IsValidUtf8(bytes) ? bytes : ReplaceInvalidUtf8(bytes);
}

std::string_view Tokenizer::TokenBytes(int32_t id) const {
  return id >= 0 && id < vocab_size() ? tokens_[id].bytes : std::string_view();
}

std::string_view Tokenizer::Token(int32_t id) const {
  return id >= 0 && id < vocab_size() ? tokens_[id].text : std::string_view();
}

int32_t Tokenizer::Find(std::string_view token) const {
  const auto it = ids_.find(token);
  return it == ids_.end() ? -1 : it->second;
}

bool Tokenizer::is_special(int32_t id) const {
  return id >= 0 && id < vocab_size() && tokens_[id].special;
}

bool Tokenizer::is_added(int32_t id) const {
  return id >= 0 && id < vocab_size() && tokens_[id].added;
}

bool Tokenizer::is_end_of_generation(int32_t id) const {
  return id >= 0 && id < vocab_size() && tokens_[id].end_of_generation;
}

// By its name, else the default one.
const std::string& Tokenizer::Named(const Texts& texts, std::string_view name) {
  static const std::string none;
  auto it = texts.find(name);
  if (it == texts.end()) it = texts.find("default");
  return it == texts.end() ? none : it->second;
}

const std::string& Tokenizer::chat_template(std::string_view name) const {
  return Named(chat_templates_, name);
}

const std::string& Tokenizer::template_source(std::string_view name) const {
  return Named(template_sources_, name);
}

Tokenizer::Stream::Stream(const Tokenizer& tokenizer, bool skip_special)
    : tokenizer_(&tokenizer),
      skip_special_(skip_special),
      state_(tokenizer.decoder_) {}

std::string Tokenizer::Stream::Push(int32_t id) {
  std::string text;
  if (id < 0 || id >= tokenizer_->vocab_size()) return text;
  const Entry& entry = tokenizer_->tokens_[id];
  if (!entry.present || (skip_special_ && entry.special)) return text;
  state_.Push(entry.text, entry.bytes, entry.plain, &pending_);
  DrainUtf8(&pending_, &text);
  return text;
}

std::string Tokenizer::Stream::Finish() {
  state_.Finish(&pending_);
  const std::string text = ReplaceInvalidUtf8(pending_);
  pending_.clear();
  return text;
}

}  // namespace intarsia
