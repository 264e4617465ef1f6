#include "intarsia/tokenizer/unigram.h"

#include <algorithm>
#include <utility>

#include "intarsia/tokenizer/bpe_builder.h"
#include "intarsia/tokenizer/utf8.h"

namespace intarsia {
namespace {

PrefixTrie MakeTrie(const std::vector<UnigramConfig::Token>& tokens) {
  std::vector<std::pair<std::string, int32_t>> entries;
  entries.reserve(tokens.size());
  for (size_t i = 0; i < tokens.size(); ++i) {
    entries.emplace_back(tokens[i].text, static_cast<int32_t>(i));
  }
  return PrefixTrie(std::move(entries));
}

// The best way to a byte: where its last token begins, and which it is
// (kUnknown: one character without a token).
constexpr int32_t kUnreached = -2, kUnknown = -1;
template <typename Score>
struct Best {
  Score score = 0;
  int32_t begin = 0;
  int32_t token = kUnreached;
};

}  // namespace

Status CheckPieceLength(std::string_view text) {
  constexpr size_t kLongest = 2048;
  if (text.size() <= kLongest) return Status::Ok();
  return InvalidArgument("token " + QuoteToken(text) + " has " +
                         std::to_string(text.size()) + " bytes (at most 2048)");
}

Unigram::Unigram(UnigramConfig config)
    : config_(std::move(config)), trie_(MakeTrie(config_.tokens)) {
  for (UnigramConfig::Token& token : config_.tokens) {
    std::string().swap(token.text);  // the trie has it
  }
}

template <typename Score>
void Unigram::EncodePiece(std::string_view piece,
                          std::vector<int32_t>* ids) const {
  std::vector<Best<Score>> best(piece.size() + 1);
  // A sum is rounded once, to Score.
  const auto offer = [&](size_t begin, size_t end, double score,
                         int32_t token) {
    const auto sum =
        static_cast<Score>(static_cast<double>(best[begin].score) + score);
    if (best[end].token == kUnreached || sum > best[end].score) {
      best[end] = {sum, static_cast<int32_t>(begin), token};
    }
  };
  for (size_t at = 0; at < piece.size();) {
    const std::string_view rest = piece.substr(at);
    const size_t character = NextUtf8(rest).length;
    bool alone = false;  // a token is just this character
    trie_.ForEachPrefix(rest, [&](size_t length, int32_t token) {
      offer(at, at + length, config_.tokens[token].score, token);
      alone = alone || length == character;
    });
    if (!alone) offer(at, at + character, config_.unk_score, kUnknown);
    at += character;
  }
  // From the end to the start, unknown neighbours as one run.
  const size_t before = ids->size();
  std::vector<std::pair<size_t, size_t>> runs;  // of unknowns, last first
  for (size_t end = piece.size(); end > 0;) {
    const Best<Score>& step = best[end];
    const bool unknown =
        step.token < 0 || config_.tokens[step.token].id == config_.unk_id;
    if (!unknown) {
      ids->push_back(config_.tokens[step.token].id);
    } else if (!runs.empty() && runs.back().first == end &&
               ids->back() == kUnknown) {
      runs.back().first = step.begin;
    } else {
      runs.emplace_back(step.begin, end);
      ids->push_back(kUnknown);
    }
    end = step.begin;
  }
  std::reverse(ids->begin() + before, ids->end());
  if (runs.empty()) return;
  const std::vector<int32_t> found(ids->begin() + before, ids->end());
  ids->resize(before);
  for (const int32_t id : found) {
    if (id != kUnknown) {
      ids->push_back(id);
      continue;
    }
    const auto [begin, end] = runs.back();
    runs.pop_back();
    AppendUnknown(piece.substr(begin, end - begin), ids);
  }
}

void Unigram::AppendUnknown(std::string_view run,
                            std::vector<int32_t>* ids) const {
  if (!config_.single_precision) {
    // The `tokenizers` library looks the run up once more.
    const PrefixTrie::Match match = trie_.Longest(run);
    if (match.length == run.size()) {
      return ids->push_back(config_.tokens[match.value].id);
    }
  }
  const auto id_of = [&](char c) {
    return config_.byte_ids[static_cast<unsigned char>(c)];
  };
  if (config_.byte_fallback && std::all_of(run.begin(), run.end(), [&](char c) {
        return id_of(c) >= 0;
      })) {
    for (const char c : run) ids->push_back(id_of(c));
  } else if (config_.unk_id >= 0) {
    ids->push_back(config_.unk_id);
  }
}

void Unigram::Encode(std::span<const std::string_view> pieces,
                     std::vector<int32_t>* ids) const {
  for (const std::string_view piece : pieces) {
    if (config_.single_precision) {
      EncodePiece<float>(piece, ids);
    } else {
      EncodePiece<double>(piece, ids);
    }
  }
}

}  // namespace intarsia
