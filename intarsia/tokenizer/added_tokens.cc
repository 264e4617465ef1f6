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
  std::stable_partition(tokens_.begin(), tokens_.end(),
                        [](const AddedToken& t) { return t.special; });
  std::vector<std::pair<std::string, int32_t>> entries;
  // Of equal keys a trie keeps the last.
  for (size_t i = tokens_.size(); i-- > 0;) {
    if (tokens_[i].content.empty()) continue;
    entries.emplace_back(tokens_[i].content, static_cast<int32_t>(i));
    starts_[static_cast<unsigned char>(tokens_[i].content[0])] = true;
  }
  trie_ = PrefixTrie(std::move(entries));
}

void AddedTokenMatcher::Split(std::string_view text, bool find_special,
                              std::vector<Span>* spans) const {
  if (text.empty()) return;
  size_t done = 0;  // end of the last span
  size_t at = 0;
  while (at < text.size() && !tokens_.empty()) {
    PrefixTrie::Match match;
    if (starts_[static_cast<unsigned char>(text[at])]) {
      match = trie_.Longest(text.substr(at));
    }
    if (match.length == 0) {
      ++at;
      continue;
    }
    const AddedToken* token = &tokens_[static_cast<size_t>(match.value)];
    size_t begin = at, end = at + token->content.size();
    at = end;
    if (token->special && !find_special) continue;
    if (token->single_word && (EndsWithWord(text.substr(0, begin)) ||
                               StartsWithWord(text.substr(end)))) {
      continue;
    }
    if (token->lstrip) {
      // No farther than the last span: all of them together are a text.
      begin -= TrailingSpace(text.substr(done, begin - done));
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
