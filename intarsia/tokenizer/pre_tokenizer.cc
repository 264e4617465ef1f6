#include "intarsia/tokenizer/pre_tokenizer.h"

#include <utility>

#include "intarsia/tokenizer/byte_level.h"
#include "intarsia/tokenizer/utf8.h"

namespace intarsia {
namespace {

// Collects spans of one text and joins them as the behavior says.
class Joiner {
 public:
  Joiner(std::string_view text, SplitBehavior behavior,
         std::vector<std::string_view>* out)
      : text_(text), behavior_(behavior), out_(out) {}

  // Spans arrive in order and leave no gap.
  void Add(size_t begin, size_t end, bool is_match) {
    bool join = false;
    switch (behavior_) {
      case SplitBehavior::kIsolated:
        break;
      case SplitBehavior::kRemoved:
        Flush();
        open_ = false;
        if (is_match) return;
        break;
      case SplitBehavior::kMergedWithPrevious:
        join = is_match && !last_match_;
        break;
      case SplitBehavior::kMergedWithNext:
        join = !is_match && last_match_;
        break;
      case SplitBehavior::kContiguous:
        join = is_match == last_match_;
        break;
    }
    if (!(open_ && join)) {
      Flush();
      begin_ = begin;
    }
    end_ = end;
    open_ = true;
    last_match_ = is_match;
  }

  void Flush() {
    if (open_ && end_ > begin_) {
      out_->push_back(text_.substr(begin_, end_ - begin_));
    }
  }

 private:
  std::string_view text_;
  SplitBehavior behavior_;
  std::vector<std::string_view>* out_;
  bool open_ = false;
  bool last_match_ = false;
  size_t begin_ = 0;
  size_t end_ = 0;
};

void SplitOne(Regex::Matcher* matcher, std::string_view text,
              SplitBehavior behavior, bool invert,
              std::vector<std::string_view>* out) {
  Joiner joiner(text, behavior, out);
  size_t done = 0, begin = 0, end = 0;
  while (done < text.size() && matcher->Find(text, done, &begin, &end)) {
    if (begin > done) joiner.Add(done, begin, invert);
    joiner.Add(begin, end, !invert);
    done = end;
  }
  if (done < text.size()) joiner.Add(done, text.size(), invert);
  joiner.Flush();
}

// Pieces of `length` characters, the last one shorter.
void SplitFixed(std::string_view text, size_t length,
                std::vector<std::string_view>* out) {
  while (!text.empty()) {
    size_t end = 0;
    for (size_t i = 0; i < length && end < text.size(); ++i) {
      end += NextUtf8(text.substr(end)).length;
    }
    out->push_back(text.substr(0, end));
    text.remove_prefix(end);
  }
}

std::string WithMarks(std::string_view text, const std::string& mark) {
  std::string out;
  out.reserve(text.size() + 8);
  for (const char c : text) {
    if (c == ' ') {
      out += mark;
    } else {
      out += c;
    }
  }
  return out;
}

}  // namespace

Status PreTokenizer::AddSplit(std::string_view pattern, SplitBehavior behavior,
                              bool invert) {
  Stage stage;
  ASSIGN_OR_RETURN(stage.regex, Regex::Compile(pattern));
  stage.behavior = behavior;
  stage.invert = invert;
  stages_.push_back(std::move(stage));
  return Status::Ok();
}

void PreTokenizer::SplitStage(const Stage& stage, bool at_start,
                              MatchBudget* budget,
                              const std::vector<std::string_view>& from,
                              std::vector<std::string_view>* to,
                              std::deque<std::string>* storage) const {
  if (stage.kind == Kind::kSplit) {
    Regex::Matcher matcher(stage.regex, budget);
    for (const std::string_view piece : from) {
      SplitOne(&matcher, piece, stage.behavior, stage.invert, to);
    }
    return;
  }
  bool first = at_start;
  for (const std::string_view piece : from) {
    switch (stage.kind) {
      case Kind::kSplit:
        break;
      case Kind::kPrefixSpace:
        if (piece.front() == ' ') {
          to->push_back(piece);
        } else {
          to->push_back(storage->emplace_back(" ").append(piece));
        }
        break;
      case Kind::kMetaspace: {
        std::string text = WithMarks(piece, stage.mark);
        const bool wanted = stage.prepend == Prepend::kAlways ||
                            (stage.prepend == Prepend::kFirst && first);
        if (wanted && text.compare(0, stage.mark.size(), stage.mark) != 0) {
          text.insert(0, stage.mark);
        }
        to->push_back(storage->emplace_back(std::move(text)));
        break;
      }
      case Kind::kToAlphabet:
        to->push_back(storage->emplace_back(ByteLevelEncode(piece)));
        break;
      case Kind::kFromAlphabet:
        // Nothing but the alphabet is left at this point.
        to->push_back(storage->emplace_back(
            ByteLevelDecode(piece).value_or(std::string(piece))));
        break;
      case Kind::kFixedLength:
        SplitFixed(piece, stage.length, to);
        break;
    }
    first = false;
  }
}

void PreTokenizer::Split(std::string_view text, bool at_start,
                         MatchBudget* budget,
                         std::vector<std::string_view>* pieces,
                         std::deque<std::string>* storage) const {
  if (text.empty()) return;
  std::vector<std::string_view> from{text}, to;
  for (const Stage& stage : stages_) {
    to.clear();
    SplitStage(stage, at_start, budget, from, &to, storage);
    std::swap(from, to);
  }
  pieces->insert(pieces->end(), from.begin(), from.end());
}

}  // namespace intarsia
