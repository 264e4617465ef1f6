#include "intarsia/tokenizer/bpe.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "intarsia/tokenizer/merge_table.h"
#include "intarsia/tokenizer/utf8.h"

namespace intarsia {
namespace {

constexpr int32_t kNone = -1;
constexpr char32_t kTableEnd = 0x3000;  // characters looked up in a table

}  // namespace

struct Bpe::Tables {
  explicit Tables(size_t merges) : merges(merges) {}
  MergeTable merges;
  std::vector<int32_t> characters;   // symbols of those below kTableEnd
  std::vector<bool> ascii_adjacent;  // of pairs below 128
  bool all_bytes = false;  // every character is a token or cut into bytes
};

Bpe::Bpe(BpeConfig config) : config_(std::move(config)) {}
Bpe::~Bpe() = default;

Result<std::unique_ptr<Bpe>> Bpe::Create(BpeConfig config) {
  std::unique_ptr<Bpe> bpe(new Bpe(std::move(config)));
  auto& merges = bpe->config_.merges;
  bpe->tables_ = std::make_unique<Tables>(merges.size());
  Tables& tables = *bpe->tables_;
  for (size_t i = 0; i < merges.size(); ++i) {
    const BpeConfig::Merge& m = merges[i];
    const bool replace = bpe->config_.repeated == BpeConfig::Repeated::kLast;
    if (!tables.merges.Insert(m.left, m.right, m.rank, m.result, replace) &&
        bpe->config_.repeated == BpeConfig::Repeated::kRefused) {
      return InvalidArgument("merge " + std::to_string(i) +
                             " repeats an earlier one");
    }
  }
  std::vector<BpeConfig::Merge>().swap(merges);
  if (bpe->config_.characters) {
    // Pieces taken whole must stay so.
    if (!bpe->config_.whole.empty()) bpe->config_.adjacent.clear();
    const auto& bytes = bpe->config_.byte_ids;
    tables.all_bytes = bpe->config_.byte_fallback &&
                       std::all_of(bytes.begin(), bytes.end(),
                                   [](int32_t id) { return id >= 0; });
    tables.characters.assign(kTableEnd, kNone);
    for (const auto& [code, id] : bpe->config_.character_ids) {
      if (code < kTableEnd) tables.characters[code] = id;
    }
    tables.ascii_adjacent.assign(128 * 128, false);
    for (const uint64_t pair : bpe->config_.adjacent) {
      const uint64_t first = pair >> 32, second = pair & 0xFFFFFFFF;
      if (first < 128 && second < 128) {
        tables.ascii_adjacent[first * 128 + second] = true;
      }
    }
  }
  return bpe;
}

int32_t Bpe::CharacterId(char32_t code) const {
  if (code < kTableEnd) return tables_->characters[code];
  const auto it = config_.character_ids.find(code);
  return it == config_.character_ids.end() ? kNone : it->second;
}

bool Bpe::Adjacent(char32_t first, char32_t second) const {
  if (first < 128 && second < 128) {
    if (tables_->ascii_adjacent[first * 128 + second]) return true;
  } else if (config_.adjacent.count(static_cast<uint64_t>(first) << 32 |
                                    second) != 0) {
    return true;
  }
  if (tables_->all_bytes) return false;
  // A character without a token may vanish, fuse or stay behind.
  const auto unknown = [&](char32_t code) {
    const int32_t id = CharacterId(code);
    return id < 0 || id >= config_.first_extra;
  };
  return unknown(first) || unknown(second);
}

void Bpe::Encode(std::span<const std::string_view> pieces,
                 std::vector<int32_t>* ids) const {
  const WordCachePool::Lease cache(&caches_);
  for (const std::string_view piece : pieces) {
    CHECK_LT(piece.size(),
             static_cast<size_t>(std::numeric_limits<int>::max()));
    if (config_.characters && !config_.adjacent.empty()) {
      EncodeCharacters(piece, cache, ids);
    } else {
      EncodeWord(piece, cache, ids);
    }
  }
}

void Bpe::EncodeCharacters(std::string_view piece,
                           const WordCachePool::Lease& cache,
                           std::vector<int32_t>* ids) const {
  size_t begin = 0, at = 0;
  char32_t last = 0;
  while (at < piece.size()) {
    const Utf8Step step = NextUtf8(piece.substr(at));
    if (at > begin && !Adjacent(last, step.code)) {
      EncodeWord(piece.substr(begin, at - begin), cache, ids);
      begin = at;
    }
    last = step.code;
    at += step.length;
  }
  EncodeWord(piece.substr(begin), cache, ids);
}

void Bpe::EncodeWord(std::string_view word, const WordCachePool::Lease& cache,
                     std::vector<int32_t>* ids) const {
  if (word.empty()) return;
  if (word.size() > WordCache::kMaxBytes) return Merge(word, ids);
  const uint64_t hash = WordCache::Hash(word);
  if (cache->Find(word, hash, ids)) return;
  const size_t before = ids->size();
  Merge(word, ids);
  cache->Put(word, hash, ids->data() + before, ids->size() - before);
}

// The symbols of one word, and how they merge.
class Bpe::Symbols {
 public:
  explicit Symbols(const Bpe& bpe) : bpe_(bpe), config_(bpe.config_) {}

  void FromBytes(std::string_view word) {
    symbols_.reserve(word.size());
    for (const char c : word) {
      const int32_t id = config_.byte_ids[static_cast<unsigned char>(c)];
      id >= 0 ? AddKnown(id) : AddMissing();
    }
    FlushUnknown();
  }

  void FromCharacters(std::string_view word) {
    symbols_.reserve(word.size());
    while (!word.empty()) {
      const Utf8Step step = NextUtf8(word);
      const int32_t id = bpe_.CharacterId(step.code);
      if (id >= 0) {
        AddKnown(id);
      } else if (config_.byte_fallback && HasBytes(word, step.length)) {
        // An unknown token that is due comes after the bytes: the order of
        // the `tokenizers` library, where only some bytes have a token.
        for (const char c : word.substr(0, step.length)) {
          symbols_.push_back(config_.byte_ids[static_cast<unsigned char>(c)]);
        }
      } else {
        AddMissing();
      }
      word.remove_prefix(step.length);
    }
    FlushUnknown();
  }

  void Merge() {
    constexpr size_t kFew = 40;
    symbols_.size() <= kFew ? MergeFew() : MergeMany();
  }

  void Append(std::vector<int32_t>* ids) const {
    Output out{ids};
    for (const int32_t id : symbols_) {
      if (id >= 0) AppendSymbol(id, 0, &out);
    }
  }

 private:
  bool HasBytes(std::string_view word, size_t length) const {
    for (const char c : word.substr(0, length)) {
      if (config_.byte_ids[static_cast<unsigned char>(c)] < 0) return false;
    }
    return true;
  }

  void AddKnown(int32_t id) {
    FlushUnknown();
    symbols_.push_back(id);
  }

  void AddMissing() {
    if (config_.unk_id < 0) {
      if (config_.missing == MissingByte::kSeparateNeighbours) {
        symbols_.push_back(kNone);
      }
      return;
    }
    if (!config_.fuse_unk) FlushUnknown();
    unknown_ = true;
  }

  void FlushUnknown() {
    if (unknown_) symbols_.push_back(config_.unk_id);
    unknown_ = false;
  }

  const MergeTable::Slot* Find(int32_t left, int32_t right) {
    if (left < 0 || right < 0) return nullptr;
    const MergeTable::Slot* merge = bpe_.tables_->merges.Find(left, right);
    if (merge != nullptr && !config_.unused.empty() &&
        config_.unused.count(merge->result) != 0) {
      parts_[merge->result] = {left, right};
    }
    return merge;
  }

  // The lowest of all ranks again and again: quadratic, but without a heap.
  void MergeFew() {
    constexpr int32_t kNever = std::numeric_limits<int32_t>::max();
    size_t n = symbols_.size();
    if (n < 2) return;
    const MergeTable::Slot* merges[64];
    int32_t ranks[64];
    const auto look = [&](size_t i) {
      merges[i] = Find(symbols_[i], symbols_[i + 1]);
      ranks[i] = merges[i] == nullptr ? kNever : merges[i]->rank;
    };
    for (size_t i = 0; i + 1 < n; ++i) look(i);
    while (n > 1) {
      const size_t at =
          static_cast<size_t>(std::min_element(ranks, ranks + n - 1) - ranks);
      if (ranks[at] == kNever) break;
      symbols_[at] = merges[at]->result;
      symbols_.erase(symbols_.begin() + static_cast<std::ptrdiff_t>(at) + 1);
      --n;
      for (size_t i = at + 1; i + 1 < n; ++i) {
        merges[i] = merges[i + 1];
        ranks[i] = ranks[i + 1];
      }
      if (at > 0) look(at - 1);
      if (at + 1 < n) look(at);
    }
  }

  // Candidates in a heap, lowest rank first and leftmost among equals. One is
  // stale if either symbol has changed since. A symbol merged into its left
  // neighbour has the id kNone.
  struct Candidate {
    int32_t rank, at, left, right, result;
    bool operator<(const Candidate& other) const {  // for a min-heap
      return rank != other.rank ? rank > other.rank : at > other.at;
    }
  };

  void MergeMany() {
    const auto n = static_cast<int32_t>(symbols_.size());
    std::vector<int32_t> next(n), previous(n);
    for (int32_t i = 0; i < n; ++i) {
      next[i] = i + 1 < n ? i + 1 : kNone;
      previous[i] = i - 1;
    }
    std::vector<Candidate> heap;
    const auto consider = [&](int32_t at) {
      if (next[at] == kNone) return;
      const int32_t left = symbols_[at], right = symbols_[next[at]];
      const MergeTable::Slot* merge = Find(left, right);
      if (merge == nullptr) return;
      heap.push_back({merge->rank, at, left, right, merge->result});
      std::push_heap(heap.begin(), heap.end());
    };
    for (int32_t i = 0; i < n; ++i) consider(i);
    while (!heap.empty()) {
      std::pop_heap(heap.begin(), heap.end());
      const Candidate top = heap.back();
      heap.pop_back();
      const int32_t right = next[top.at];
      if (symbols_[top.at] != top.left || right == kNone ||
          symbols_[right] != top.right) {
        continue;
      }
      symbols_[top.at] = top.result;
      symbols_[right] = kNone;
      next[top.at] = next[right];
      if (next[right] != kNone) previous[next[right]] = top.at;
      if (previous[top.at] >= 0) consider(previous[top.at]);
      consider(top.at);
    }
  }

  struct Output {
    std::vector<int32_t>* ids;
    bool after_unknown = false;
  };

  void AppendSymbol(int32_t id, int depth, Output* out) const {
    constexpr int kMaxDepth = 64;
    if (!config_.unused.empty() && depth < kMaxDepth &&
        config_.unused.count(id) != 0) {
      const auto it = parts_.find(id);
      if (it != parts_.end()) {
        AppendSymbol(it->second.first, depth + 1, out);
        AppendSymbol(it->second.second, depth + 1, out);
        return;
      }
    }
    if (id >= config_.first_extra) return AppendExtra(id, out);
    if (config_.extra.empty() || id != config_.unk_id) {
      out->ids->push_back(id);
      out->after_unknown = false;
    } else {
      AppendUnknown(out);
    }
  }

  // A character that was only a part of tokens, and is left over.
  void AppendExtra(int32_t symbol, Output* out) const {
    const std::string& text = config_.extra[symbol - config_.first_extra];
    if (config_.byte_fallback && HasBytes(text, text.size())) {
      for (const char c : text) {
        out->ids->push_back(config_.byte_ids[static_cast<unsigned char>(c)]);
      }
      out->after_unknown = false;
    } else if (config_.unk_id >= 0) {
      AppendUnknown(out);
    }
  }

  void AppendUnknown(Output* out) const {
    if (!(out->after_unknown && config_.fuse_unk)) {
      out->ids->push_back(config_.unk_id);
    }
    out->after_unknown = true;
  }

  const Bpe& bpe_;
  const BpeConfig& config_;
  std::vector<int32_t> symbols_;
  bool unknown_ = false;  // an unknown token is due
  std::unordered_map<int32_t, std::pair<int32_t, int32_t>> parts_;
};

void Bpe::Merge(std::string_view piece, std::vector<int32_t>* ids) const {
  if (!config_.whole.empty()) {
    const auto it = config_.whole.find(std::string(piece));
    if (it != config_.whole.end()) return ids->push_back(it->second);
  }
  Symbols symbols(*this);
  config_.characters ? symbols.FromCharacters(piece) : symbols.FromBytes(piece);
  symbols.Merge();
  symbols.Append(ids);
}

}  // namespace intarsia
