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
  size_t at = text->find(from);
  if (at == std::string::npos) return;
  std::string out;
  size_t done = 0;
  for (; at != std::string::npos; at = text->find(from, done)) {
    out.append(*text, done, at - done).append(to);
    done = at + from.size();
  }
  *text = out.append(*text, done);
}

std::string ReplacePattern(const Regex& pattern, const std::string& to,
                           std::string_view text, MatchBudget* budget) {
  std::string out;
  Regex::Matcher matcher(pattern, budget);
  size_t done = 0, begin = 0, end = 0;
  while (done < text.size() && matcher.Find(text, done, &begin, &end)) {
    out.append(text.substr(done, begin - done)).append(to);
    done = end;
  }
  return out.append(text.substr(done));
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

void Decoder::AddByteFallback(bool runs) {
  steps_.push_back({Kind::kByteFallback});
  byte_runs_ = byte_runs_ || runs;
}

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

void Decoder::AddReplace(Regex pattern, std::string replacement) {
  growth_ *= std::max<double>(1, static_cast<double>(replacement.size()));
  Step step{Kind::kReplacePattern};
  step.pattern = std::move(pattern);
  step.replacement = std::move(replacement);
  steps_.push_back(std::move(step));
}

void Decoder::AddStrip(char32_t character, int start, int stop) {
  std::string text;
  AppendUtf8(character, &text);
  steps_.push_back({Kind::kStrip, text, "", false, start, stop});
}

void Decoder::AddWholeReplace(std::string text, std::string replacement) {
  if (text.empty()) return;  // nothing to find
  growth_ *= std::max(1.0, static_cast<double>(replacement.size()) /
                               static_cast<double>(text.size()));
  WholeStep step;
  step.fallback.resize(text.size() + 1);
  for (size_t i = 1, length = 0; i < text.size(); ++i) {
    while (length > 0 && text[i] != text[length]) {
      length = step.fallback[length];
    }
    if (text[i] == text[length]) ++length;
    step.fallback[i + 1] = length;
  }
  step.text = std::move(text);
  step.replacement = std::move(replacement);
  whole_.push_back(std::move(step));
}

void Decoder::AddWholeStrip(char32_t character, int start, int stop) {
  WholeStep step;
  step.strip = true;
  AppendUtf8(character, &step.text);
  step.start = start;
  step.stop = stop;
  whole_.push_back(std::move(step));
}

void Decoder::AddDropLeadingSpace(bool once) {
  drop_leading_ = true;
  drop_once_ = once;
}

std::string Decoder::Apply(std::string_view token, bool first,
                           MatchBudget* budget) const {
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
      case Kind::kReplacePattern:
        text = ReplacePattern(step.pattern, step.replacement, text, budget);
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
  if (decoder_->byte_runs_ && !plain && bytes.size() == 1 &&
      FallbackByte(text) >= 0) {
    run_ += bytes;
    return;
  }
  EndRun(out);
  std::string own;
  if (decoder_->drop_leading_ && !plain && !any_text_ &&
      !(dropped_ && decoder_->drop_once_) && StartsWith(text, kVisibleSpace)) {
    dropped_ = true;
    MatchBudget budget(text.size());
    own = decoder_->Apply(text.substr(kVisibleSpace.size()), first, &budget);
    bytes = own;
  } else if (first && decoder_->position_matters_ && !plain) {
    MatchBudget budget(text.size());
    own = decoder_->Apply(text, true, &budget);
    bytes = own;
  }
  any_text_ = any_text_ || !bytes.empty();
  Feed(0, bytes, out);
}

void Decoder::State::EndRun(std::string* out) {
  if (run_.empty()) return;
  const std::string run = std::exchange(run_, {});
  if (IsValidUtf8(run)) return Feed(0, run, out);
  std::string replaced;
  for (size_t i = 0; i < run.size(); ++i) AppendUtf8(0xFFFD, &replaced);
  Feed(0, replaced, out);
}

void Decoder::State::Feed(size_t step, std::string_view bytes,
                          std::string* out) {
  const std::vector<WholeStep>& steps = decoder_->whole_;
  if (step == steps.size()) {
    out->append(bytes);
  } else if (steps[step].strip) {
    FeedStrip(step, bytes, out);
  } else {
    FeedReplace(step, bytes, out);
  }
}

// Knuth, Morris and Pratt's search: of the bytes not handed on, all are a
// beginning of the text to be replaced.
void Decoder::State::FeedReplace(size_t step, std::string_view bytes,
                                 std::string* out) {
  const WholeStep& replace = decoder_->whole_[step];
  const std::string_view text = replace.text;
  size_t& matched = held_[step].matched;
  std::string result;
  for (const char byte : bytes) {
    while (matched > 0 && text[matched] != byte) {
      const size_t kept = replace.fallback[matched];
      result.append(text.substr(0, matched - kept));
      matched = kept;
    }
    if (text[matched] != byte) {
      result += byte;
    } else if (++matched == text.size()) {
      result += replace.replacement;
      matched = 0;
    }
  }
  Feed(step + 1, result, out);
}

// A character cut by tokens would not be found; single bytes are the rule.
void Decoder::State::FeedStrip(size_t step, std::string_view bytes,
                               std::string* out) {
  const WholeStep& strip = decoder_->whole_[step];
  Held& held = held_[step];
  while (!held.start_done && !bytes.empty()) {
    if (held.stripped < strip.start && StartsWith(bytes, strip.text)) {
      bytes.remove_prefix(strip.text.size());
      ++held.stripped;
    } else {
      held.start_done = true;
    }
  }
  if (strip.stop == 0) return Feed(step + 1, bytes, out);
  held.end += bytes;
  std::string_view keep = held.end;
  for (int i = 0; i < strip.stop && EndsWith(keep, strip.text); ++i) {
    keep.remove_suffix(strip.text.size());
  }
  Feed(step + 1, keep, out);
  held.end.erase(0, keep.size());
}

void Decoder::State::Finish(std::string* out) {
  EndRun(out);
  for (size_t step = 0; step < held_.size(); ++step) {
    const WholeStep& whole = decoder_->whole_[step];
    if (whole.strip) continue;  // what it holds is stripped
    Feed(step + 1, std::string_view(whole.text).substr(0, held_[step].matched),
         out);
  }
  *this = State(*decoder_);
}

}  // namespace intarsia
