#include "intarsia/tokenizer/bpe_builder.h"

#include <algorithm>
#include <utility>

#include "intarsia/tokenizer/byte_level.h"
#include "intarsia/tokenizer/utf8.h"

namespace intarsia {

std::string QuoteToken(std::string_view text) {
  constexpr size_t kShown = 40;
  std::string out;
  out.append(1, '"').append(text.substr(0, kShown));
  return out.append(text.size() > kShown ? "…\"" : "\"");
}

std::array<int32_t, 256> ByteTokens(const TokenizerBuilder& vocabulary) {
  constexpr char kHex[] = "0123456789ABCDEF";
  std::array<int32_t, 256> ids;
  for (size_t b = 0; b < 256; ++b) {
    ids[b] =
        vocabulary.Find(std::string("<0x") + kHex[b >> 4] + kHex[b & 15] + ">");
  }
  return ids;
}

BpeBuilder::BpeBuilder(const TokenizerBuilder& vocabulary, bool bytes)
    : vocabulary_(vocabulary) {
  config_.characters = !bytes;
  config_.byte_ids.fill(-1);
}

Status BpeBuilder::AddMerge(std::string_view left, std::string_view right) {
  const std::string where = "merge " + std::to_string(config_.merges.size());
  BpeConfig::Merge merge;
  const std::string whole = std::string(left) + std::string(right);
  const std::pair<std::string_view, int32_t*> parts[] = {
      {left, &merge.left}, {right, &merge.right}, {whole, &merge.result}};
  for (const auto& [text, id] : parts) {
    *id = vocabulary_.Find(text);
    if (*id < 0) {
      return InvalidArgument(where + " names " + QuoteToken(text) +
                             ", which is not in the vocabulary");
    }
  }
  merge.rank = static_cast<int32_t>(config_.merges.size());
  config_.merges.push_back(merge);
  return Status::Ok();
}

// A token among those that merge by score, or a character, which gets a number
// past the tokens if it has none; -1 for other texts.
int32_t BpeBuilder::Symbol(std::string_view text) {
  const auto it = by_score_.find(text);
  if (it != by_score_.end()) return it->second;
  const Utf8Step step = NextUtf8(text);
  if (step.length != text.size()) return -1;
  const auto [place, is_new] = config_.character_ids.try_emplace(
      step.code,
      config_.first_extra + static_cast<int32_t>(config_.extra.size()));
  if (is_new) config_.extra.emplace_back(text);
  return place->second;
}

Status BpeBuilder::AddMergesByScore(const std::vector<int32_t>& ids,
                                    const std::vector<float>& scores) {
  config_.first_extra = vocabulary_.size();
  for (const int32_t id : ids) {
    by_score_.insert_or_assign(vocabulary_.Text(id), id);
  }
  FindCharacters();
  std::vector<int32_t> sorted(ids);
  std::sort(sorted.begin(), sorted.end(), [&](int32_t a, int32_t b) {
    return scores[a] != scores[b] ? scores[a] > scores[b] : a < b;
  });
  int32_t rank = -1;
  float last = 0;
  for (const int32_t id : sorted) {
    if (rank < 0 || scores[id] != last) ++rank;
    last = scores[id];
    const std::string_view text = vocabulary_.Text(id);
    if (by_score_[text] != id) continue;  // another id stands for the text
    constexpr size_t kLongest = 2048;
    if (text.size() > kLongest) {
      return InvalidArgument("token " + QuoteToken(text) + " has " +
                             std::to_string(text.size()) +
                             " bytes (at most 2048)");
    }
    for (size_t at = 0; at < text.size();) {
      at += NextUtf8(text.substr(at)).length;
      if (at >= text.size()) break;
      const int32_t left = Symbol(text.substr(0, at));
      if (left < 0) continue;
      const int32_t right = Symbol(text.substr(at));
      if (right >= 0) config_.merges.push_back({left, right, id, rank});
    }
  }
  return Status::Ok();
}

// Tokens that are one character each.
void BpeBuilder::FindCharacters() {
  for (const auto& [text, id] : vocabulary_.texts()) {
    if (text.empty()) continue;
    const Utf8Step step = NextUtf8(text);
    if (step.valid && step.length == text.size()) {
      config_.character_ids.emplace(step.code, id);
    }
  }
}

void BpeBuilder::set_unk(int32_t id, bool fuse) {
  config_.unk_id = id;
  config_.fuse_unk = fuse;
}

void BpeBuilder::set_unused(std::unordered_set<int32_t> ids) {
  config_.unused = std::move(ids);
}

Result<std::unique_ptr<TokenModel>> BpeBuilder::Build() {
  if (config_.characters) {
    FindCharacters();
    if (config_.byte_fallback) config_.byte_ids = ByteTokens(vocabulary_);
    const auto text = [&](int32_t symbol) -> std::string_view {
      return symbol < config_.first_extra
                 ? vocabulary_.Text(symbol)
                 : config_.extra[symbol - config_.first_extra];
    };
    for (const BpeConfig::Merge& merge : config_.merges) {
      const std::string_view left = text(merge.left);
      if (left.empty() || text(merge.right).empty()) continue;
      const uint64_t first = NextUtf8(left.substr(LastUtf8Start(left))).code;
      config_.adjacent.insert(first << 32 | NextUtf8(text(merge.right)).code);
    }
  } else {
    for (int b = 0; b < 256; ++b) {
      const char byte = static_cast<char>(b);
      config_.byte_ids[b] = vocabulary_.Find(ByteLevelEncode({&byte, 1}));
    }
  }
  if (ignore_merges_) {
    for (const auto& [text, id] : vocabulary_.texts()) {
      if (text.empty()) continue;
      if (config_.characters) {
        config_.whole.emplace(text, id);
      } else if (auto bytes = ByteLevelDecode(text)) {
        config_.whole.emplace(*std::move(bytes), id);
      }
    }
  }
  ASSIGN_OR_RETURN(std::unique_ptr<Bpe> bpe, Bpe::Create(std::move(config_)));
  return std::unique_ptr<TokenModel>(std::move(bpe));
}

}  // namespace intarsia
