#include "intarsia/tokenizer/sentencepiece_proto.h"

#include <cstring>

#include "intarsia/tokenizer/utf8.h"

namespace intarsia {
namespace {

constexpr size_t kMaxPieces = 1 << 24;

// One field of a message. Groups, which proto2 calls deprecated and this file
// does not use, are refused.
struct Field {
  uint32_t number = 0;
  enum Wire { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 } wire;
  uint64_t value = 0;
  std::string_view bytes;
};

// Reads the fields of one message in order.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : rest_(bytes) {}
  bool done() const { return rest_.empty(); }

  Result<Field> Next() {
    Field field;
    ASSIGN_OR_RETURN(const uint64_t key, Varint());
    field.number = static_cast<uint32_t>(key >> 3);
    if (field.number == 0 || key >> 3 > (1u << 29) - 1) {
      return DataLoss("protobuf: field number " + std::to_string(key >> 3));
    }
    switch (key & 7) {
      case Field::kVarint: {
        field.wire = Field::kVarint;
        ASSIGN_OR_RETURN(field.value, Varint());
        return field;
      }
      case Field::kBytes: {
        field.wire = Field::kBytes;
        ASSIGN_OR_RETURN(const uint64_t size, Varint());
        return Take(size, field);
      }
      case Field::kFixed64:
        field.wire = Field::kFixed64;
        return Take(8, field);
      case Field::kFixed32:
        field.wire = Field::kFixed32;
        return Take(4, field);
      default:
        return DataLoss("protobuf: wire type " + std::to_string(key & 7) +
                        " is not supported");
    }
  }

 private:
  Result<uint64_t> Varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      if (rest_.empty()) return DataLoss("protobuf: the file ends too early");
      const auto byte = static_cast<unsigned char>(rest_.front());
      rest_.remove_prefix(1);
      value |= static_cast<uint64_t>(byte & 0x7F) << shift;
      if (byte < 0x80) return value;
    }
    return DataLoss("protobuf: a number of more than ten bytes");
  }

  Result<Field> Take(uint64_t size, Field field) {
    if (size > rest_.size()) {
      return DataLoss("protobuf: a field of " + std::to_string(size) +
                      " bytes where " + std::to_string(rest_.size()) +
                      " are left");
    }
    field.bytes = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return field;
  }

  std::string_view rest_;
};

Status WrongWire(const char* name) {
  return DataLoss(std::string("protobuf: ") + name + " has the wrong type");
}

Status Read(const Field& field, const char* name, bool* out) {
  if (field.wire != Field::kVarint) return WrongWire(name);
  *out = field.value != 0;
  return Status::Ok();
}

Status Read(const Field& field, const char* name, std::string* out) {
  if (field.wire != Field::kBytes) return WrongWire(name);
  *out = field.bytes;
  return Status::Ok();
}

Status ReadText(const Field& field, const char* name, std::string* out) {
  RETURN_IF_ERROR(Read(field, name, out));
  if (!IsValidUtf8(*out)) {
    return DataLoss(std::string(name) + " is not valid UTF-8");
  }
  return Status::Ok();
}

template <typename Enum>
Status ReadEnum(const Field& field, const char* name, uint64_t last,
                Enum* out) {
  if (field.wire != Field::kVarint) return WrongWire(name);
  if (field.value < 1 || field.value > last) {
    return InvalidArgument(std::string(name) + ": unknown value " +
                           std::to_string(field.value));
  }
  *out = static_cast<Enum>(field.value);
  return Status::Ok();
}

// Calls read(field) for each field of a message.
template <typename ReadField>
Status ForEachField(std::string_view message, const ReadField& read) {
  Reader reader(message);
  while (!reader.done()) {
    ASSIGN_OR_RETURN(const Field field, reader.Next());
    RETURN_IF_ERROR(read(field));
  }
  return Status::Ok();
}

Status ReadPiece(std::string_view message, SentencePieceModel::Piece* piece) {
  return ForEachField(message, [&](const Field& field) -> Status {
    switch (field.number) {
      case 1:
        return ReadText(field, "piece", &piece->text);
      case 2:
        if (field.wire != Field::kFixed32) return WrongWire("score");
        std::memcpy(&piece->score, field.bytes.data(), sizeof(float));
        if (piece->score != piece->score) {
          return InvalidArgument("score: is not a number");
        }
        return Status::Ok();
      case 3:
        return ReadEnum(field, "type", 6, &piece->type);
      default:
        return Status::Ok();
    }
  });
}

Status ReadTrainer(std::string_view message, SentencePieceModel* model) {
  return ForEachField(message, [&](const Field& field) -> Status {
    switch (field.number) {
      case 3:
        return ReadEnum(field, "model_type", 4, &model->model_type);
      case 24:
        return Read(field, "treat_whitespace_as_suffix",
                    &model->whitespace_as_suffix);
      case 35:
        return Read(field, "byte_fallback", &model->byte_fallback);
      case 44:
        return ReadText(field, "unk_surface", &model->unk_surface);
      case 46:
        return ReadText(field, "bos_piece", &model->bos_piece);
      case 47:
        return ReadText(field, "eos_piece", &model->eos_piece);
      default:
        return Status::Ok();
    }
  });
}

Status ReadNormalizerSpec(std::string_view message, SentencePieceModel* model) {
  return ForEachField(message, [&](const Field& field) -> Status {
    switch (field.number) {
      case 2:
        return Read(field, "precompiled_charsmap", &model->charsmap);
      case 3:
        return Read(field, "add_dummy_prefix", &model->add_dummy_prefix);
      case 4:
        return Read(field, "remove_extra_whitespaces",
                    &model->remove_extra_whitespaces);
      case 5:
        return Read(field, "escape_whitespaces", &model->escape_whitespaces);
      default:
        return Status::Ok();
    }
  });
}

Status ReadModel(const Field& field, SentencePieceModel* model) {
  constexpr uint32_t kPieces = 1, kTrainer = 2, kNormalizer = 3,
                     kDenormalizer = 5;
  if (field.number > kDenormalizer) return Status::Ok();
  if (field.wire != Field::kBytes) return WrongWire("a part of the model");
  switch (field.number) {
    case kPieces: {
      if (model->pieces.size() == kMaxPieces) {
        return InvalidArgument("more than " + std::to_string(kMaxPieces) +
                               " pieces");
      }
      model->pieces.emplace_back();
      return ReadPiece(field.bytes, &model->pieces.back());
    }
    case kTrainer:
      return ReadTrainer(field.bytes, model);
    case kNormalizer:
      return ReadNormalizerSpec(field.bytes, model);
    case kDenormalizer:
      return ForEachField(field.bytes, [&](const Field& inner) -> Status {
        if (inner.number != 2) return Status::Ok();
        return Read(inner, "denormalizer_spec.precompiled_charsmap",
                    &model->denormalizer_charsmap);
      });
    default:
      return Status::Ok();  // self_test_data
  }
}

}  // namespace

Result<SentencePieceModel> ParseSentencePieceModel(std::string_view bytes) {
  SentencePieceModel model;
  RETURN_IF_ERROR(ForEachField(
      bytes, [&](const Field& field) { return ReadModel(field, &model); }));
  if (model.pieces.empty()) return InvalidArgument("the model has no pieces");
  return model;
}

}  // namespace intarsia
