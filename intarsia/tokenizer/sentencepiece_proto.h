// SentencePiece's tokenizer.model: a protobuf (its sentencepiece_model.proto),
// read without a protobuf library. Untrusted; fields that are not listed here
// are skipped, as the wire format allows.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "intarsia/core/status.h"

namespace intarsia {

struct SentencePieceModel {
  enum class PieceType {
    kNormal = 1,
    kUnknown,
    kControl,
    kUserDefined,
    kUnused,
    kByte
  };
  struct Piece {
    std::string text;
    float score = 0;
    PieceType type = PieceType::kNormal;
  };
  enum class ModelType { kUnigram = 1, kBpe, kWord, kChar };

  std::vector<Piece> pieces;  // by id
  // trainer_spec
  ModelType model_type = ModelType::kUnigram;
  bool byte_fallback = false;
  bool whitespace_as_suffix = false;
  std::string unk_surface = " \xE2\x81\x87 ";
  std::string bos_piece = "<s>", eos_piece = "</s>";
  // normalizer_spec
  std::string charsmap;
  bool add_dummy_prefix = true;
  bool remove_extra_whitespaces = true;
  bool escape_whitespaces = true;
  // denormalizer_spec
  std::string denormalizer_charsmap;
};

Result<SentencePieceModel> ParseSentencePieceModel(std::string_view bytes);

}  // namespace intarsia
