#include "intarsia/convert/sentencepiece_writer.h"

#include <algorithm>
#include <cstring>

namespace intarsia {
namespace {

// GGUF's token types are SentencePiece's.
constexpr int32_t kNormal = 1, kUnknown = 2, kByte = 6;

// A message of protobuf's wire format.
class Message {
 public:
  void Number(int field, int64_t value) {
    Key(field, 0);
    Varint(static_cast<uint64_t>(value));
  }
  void Real(int field, float value) {
    Key(field, 5);
    char bytes[sizeof value];
    std::memcpy(bytes, &value, sizeof value);
    text_.append(bytes, sizeof bytes);
  }
  void Bytes(int field, std::string_view bytes) {
    Key(field, 2);
    Varint(bytes.size());
    text_ += bytes;
  }
  const std::string& text() const { return text_; }

 private:
  void Key(int field, int type) {
    Varint(static_cast<uint64_t>(field) << 3 | static_cast<uint64_t>(type));
  }
  void Varint(uint64_t value) {
    for (; value >= 128; value >>= 7) {
      text_ += static_cast<char>(value | 128);
    }
    text_ += static_cast<char>(value);
  }

  std::string text_;
};

}  // namespace

std::string SentencePieceOf(const TokenizerVocab& vocab) {
  const bool bpe = vocab.model == "llama";
  if (!bpe && vocab.model != "t5") return {};
  Message model;
  bool unknown = false, bytes = false;
  for (size_t i = 0; i < vocab.tokens.size(); ++i) {
    int32_t type =
        i < vocab.token_types.size() ? vocab.token_types[i] : kNormal;
    const bool is_unknown = static_cast<int64_t>(i) == vocab.unk_id;
    if (is_unknown) type = kUnknown;
    if (type == kUnknown && !is_unknown && vocab.unk_id >= 0) type = kNormal;
    unknown = unknown || type == kUnknown;
    bytes = bytes || type == kByte;
    Message piece;
    piece.Bytes(1, vocab.tokens[i]);
    piece.Real(2, i < vocab.scores.size() ? vocab.scores[i] : 0.0f);
    piece.Number(3, type);
    model.Bytes(1, piece.text());
  }
  if (!unknown) return {};
  Message trainer;
  trainer.Number(3, bpe ? 2 : 1);
  if (bytes) trainer.Number(35, 1);
  for (const auto& [field, id] :
       {std::pair(40, vocab.unk_id), std::pair(41, vocab.bos_id),
        std::pair(42, vocab.eos_id)}) {
    trainer.Number(field, id);
  }
  const auto size = static_cast<int64_t>(vocab.tokens.size());
  for (const auto& [field, id] :
       {std::pair(46, vocab.bos_id), std::pair(47, vocab.eos_id)}) {
    if (id >= 0 && id < size) trainer.Bytes(field, vocab.tokens[id]);
  }
  model.Bytes(2, trainer.text());
  Message normalizer;
  normalizer.Bytes(1, "identity");
  normalizer.Bytes(2, vocab.precompiled_charsmap);
  normalizer.Number(3, vocab.add_space_prefix.value_or(true) ? 1 : 0);
  // llama.cpp keeps spaces of "llama" as they are, whatever the file says.
  normalizer.Number(4, !bpe && vocab.remove_extra_whitespaces.value_or(false));
  normalizer.Number(5, 1);
  model.Bytes(3, normalizer.text());
  return model.text();
}

}  // namespace intarsia
