#include "intarsia/tokenizer/added_tokens.h"

#include <algorithm>
#include <utility>

#include "intarsia/tokenizer/characters.h"
#include "intarsia/tokenizer/utf8.h"

namespace intarsia {
namespace {

bool EndsWithWord(std::string_view text) {
  return !text.empty() &&
         IsWordCharacter(NextUtf8(text.substr(LastUtf8Start(text))).code);
}

bool StartsWithWord(std::string_view text) {
  return !text.empty() && IsWordCharacter(NextUtf8(text).code);
}

}  // namespace

AddedTokenMatcher::AddedTokenMatcher(std::vector<AddedToken> tokens)
    : tokens_(std::move(tokens)) {
  tokens_.erase(
      std::remove_if(tokens_.begin(), tokens_.end(),
                     [](const AddedToken& t) { return t.content.empty(); }),
      tokens_.end());
  std::sort(tokens_.begin(), tokens_.end(),
            [](const AddedToken& a, const AddedToken& b) {
              return a.content < b.content;
            });
  for (const AddedToken& token : tokens_) {
    starts_[static_cast<unsigned char>(token.content[0])] = true;
  }
}

const AddedToken* AddedTokenMatcher::Match(std::string_view text) const {
  // Walks the sorted tokens like a trie: [begin, end) share `depth` bytes with
  // the text.
  const AddedToken* found = nullptr;
  auto begin = tokens_.begin(), end = tokens_.end();
  for (size_t depth = 0; begin != end; ++depth) {
    while (begin != end && begin->content.size() == depth) {
      found = &*begin;
      ++begin;
    }
    if (depth == text.size()) break;
    const auto byte = static_cast<unsigned char>(text[depth]);
    const auto at = [depth](const AddedToken& token) {
      return static_cast<unsigned char>(token.content[depth]);
    };
    begin = std::partition_point(
        begin, end, [&](const AddedToken& t) { return at(t) < byte; });
    end = std::partition_point(
        begin, end, [&](const AddedToken& t) { return at(t) == byte; });
  }
  return found;
}

void AddedTokenMatcher::Split(std::string_view text, bool find_special,
                              std::vector<Span>* spans) const {
  if (text.empty()) return;
  size_t done = 0;  // end of the last span
  size_t at = 0;
  while (at < text.size() && !tokens_.empty()) {
    const AddedToken* token = nullptr;
    if (starts_[static_cast<unsigned char>(text[at])]) {
      token = Match(text.substr(at));
    }
    if (token == nullptr) {
      ++at;
      continue;
    }
    size_t begin = at, end = at + token->content.size();
    at = end;
    if (token->special && !find_special) continue;
    if (token->single_word && (EndsWithWord(text.substr(0, begin)) ||
                               StartsWithWord(text.substr(end)))) {
      continue;
    }
    if (token->lstrip) {
      begin -= TrailingSpace(text.substr(0, begin));
      begin = std::max(begin, done);
    }
    if (token->rstrip) end += LeadingSpace(text.substr(end));
    if (begin > done) spans->push_back({text.substr(done, begin - done), -1});
    spans->push_back({text.substr(begin, end - begin), token->id});
    done = end;
    at = std::max(at, done);
  }
  if (done < text.size()) spans->push_back({text.substr(done), -1});
}

}  // namespace intarsia
