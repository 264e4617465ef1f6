#include "intarsia/tokenizer/decoder.h"

#include <algorithm>
#include <utility>

#include "intarsia/tokenizer/byte_level.h"
#include "intarsia/tokenizer/normalizer.h"
#include "intarsia/tokenizer/utf8.h"

namespace intarsia {
namespace {

bool StartsWith(std::string_view text, std::string_view part) {
  return text.substr(0, part.size()) == part;
}

bool EndsWith(std::string_view text, std::string_view part) {
  return text.size() >= part.size() &&
         text.substr(text.size() - part.size()) == part;
}

void ReplaceAll(std::string_view from, std::string_view to, std::string* text) {
  for (size_t at = text->find(from); at != std::string::npos;
       at = text->find(from, at + to.size())) {
    text->replace(at, from.size(), to);
  }
}

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

// The byte that "<0x41>" stands for, or -1.
int FallbackByte(std::string_view token) {
  if (token.size() != 6 || !StartsWith(token, "<0x") || token[5] != '>') {
    return -1;
  }
  const int high = HexDigit(token[3]), low = HexDigit(token[4]);
  return high < 0 || low < 0 ? -1 : high * 16 + low;
}

}  // namespace

void Decoder::AddByteLevel() { steps_.push_back({Kind::kByteLevel}); }
void Decoder::AddByteFallback() { steps_.push_back({Kind::kByteFallback}); }

void Decoder::AddReplace(std::string text, std::string replacement) {
  if (text.empty()) return;  // nothing to find
  growth_ *= std::max(1.0, static_cast<double>(replacement.size()) /
                               static_cast<double>(text.size()));
  steps_.push_back({Kind::kReplace, std::move(text), std::move(replacement)});
}

void Decoder::AddMetaspace(std::string mark, bool drop_first) {
  steps_.push_back({Kind::kMetaspace, std::move(mark), " ", drop_first});
  position_matters_ = position_matters_ || drop_first;
}

void Decoder::AddSeparator() {
  steps_.push_back({Kind::kSeparator});
  position_matters_ = true;
}

Status Decoder::AddStrip(char32_t character, int start, int stop, bool whole) {
  std::string text;
  AppendUtf8(character, &text);
  if (!whole) {
    steps_.push_back({Kind::kStrip, text, "", false, start, stop});
    return Status::Ok();
  }
  if (!strip_.empty()) return Unsupported("decoder: two Strip after a Fuse");
  strip_ = text;
  strip_start_ = start;
  strip_stop_ = stop;
  return Status::Ok();
}

void Decoder::AddDropLeadingSpace(bool once) {
  drop_leading_ = true;
  drop_once_ = once;
}

std::string Decoder::Apply(std::string_view token, bool first) const {
  std::string text(token);
  for (const Step& step : steps_) {
    switch (step.kind) {
      case Kind::kByteLevel:
        if (auto bytes = ByteLevelDecode(text)) text = *std::move(bytes);
        break;
      case Kind::kByteFallback: {
        const int byte = FallbackByte(text);
        if (byte >= 0) return std::string(1, static_cast<char>(byte));
        break;
      }
      case Kind::kReplace:
        ReplaceAll(step.text, step.replacement, &text);
        break;
      case Kind::kMetaspace:
        ReplaceAll(step.text, first && step.drop_first ? "" : " ", &text);
        break;
      case Kind::kSeparator:
        if (!first) text.insert(0, 1, ' ');
        break;
      case Kind::kStrip:
        for (int i = 0; i < step.start && StartsWith(text, step.text); ++i) {
          text.erase(0, step.text.size());
        }
        for (int i = 0; i < step.stop && EndsWith(text, step.text); ++i) {
          text.resize(text.size() - step.text.size());
        }
        break;
    }
  }
  return text;
}

void Decoder::State::Push(std::string_view text, std::string_view bytes,
                          bool plain, std::string* out) {
  const bool first = std::exchange(first_, false);
  std::string own;
  if (decoder_->drop_leading_ && !plain && !any_text_ &&
      !(dropped_ && decoder_->drop_once_) && StartsWith(text, kVisibleSpace)) {
    dropped_ = true;
    own = decoder_->Apply(text.substr(kVisibleSpace.size()), first);
    bytes = own;
  } else if (first && decoder_->position_matters_ && !plain) {
    own = decoder_->Apply(text, true);
    bytes = own;
  }
  any_text_ = any_text_ || !bytes.empty();
  Emit(bytes, out);
}

void Decoder::State::Emit(std::string_view bytes, std::string* out) {
  const std::string& strip = decoder_->strip_;
  if (strip.empty()) {
    out->append(bytes);
    return;
  }
  // A character cut by tokens would not be found; single bytes are the rule.
  while (!start_done_ && !bytes.empty()) {
    if (stripped_ < decoder_->strip_start_ && StartsWith(bytes, strip)) {
      bytes.remove_prefix(strip.size());
      ++stripped_;
    } else {
      start_done_ = true;
    }
  }
  if (decoder_->strip_stop_ == 0) {
    out->append(bytes);
    return;
  }
  held_ += bytes;
  size_t keep = held_.size();
  for (int i = 0; i < decoder_->strip_stop_ &&
                  EndsWith(std::string_view(held_).substr(0, keep), strip);
       ++i) {
    keep -= strip.size();
  }
  out->append(held_, 0, keep);
  held_.erase(0, keep);
}

void Decoder::State::Finish() { *this = State(*decoder_); }

}  // namespace intarsia
