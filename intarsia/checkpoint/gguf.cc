// GGUF metadata, decoded on demand from bytes that ReadGguf has checked.
#include "intarsia/checkpoint/gguf.h"

#include <limits>
#include <nlohmann/json.hpp>

#include "intarsia/checkpoint/checked.h"

namespace intarsia {
namespace {

using Json = nlohmann::json;
using Value = GgufMetadata::Value;

// Calls visit(index as i64, u64 or double; or bool) on each number.
template <typename Visit>
void VisitNumbers(const Value& value, Visit visit) {
  ByteReader reader(value.payload);
  for (uint64_t i = 0; i < value.count; ++i) {
    switch (value.type) {
      case GgufType::kU8:
        visit(int64_t{reader.Read<uint8_t>()});
        break;
      case GgufType::kI8:
        visit(int64_t{reader.Read<int8_t>()});
        break;
      case GgufType::kU16:
        visit(int64_t{reader.Read<uint16_t>()});
        break;
      case GgufType::kI16:
        visit(int64_t{reader.Read<int16_t>()});
        break;
      case GgufType::kU32:
        visit(int64_t{reader.Read<uint32_t>()});
        break;
      case GgufType::kI32:
        visit(int64_t{reader.Read<int32_t>()});
        break;
      case GgufType::kU64:
        visit(reader.Read<uint64_t>());
        break;
      case GgufType::kI64:
        visit(reader.Read<int64_t>());
        break;
      case GgufType::kF32:
        visit(double{reader.Read<float>()});
        break;
      case GgufType::kF64:
        visit(reader.Read<double>());
        break;
      case GgufType::kBool:
        visit(reader.Read<uint8_t>() != 0);
        break;
      case GgufType::kString:
      case GgufType::kArray:
        return;
    }
  }
}

template <typename Visit>
void VisitStrings(const Value& value, Visit visit) {
  ByteReader reader(value.payload);
  for (uint64_t i = 0; i < value.count; ++i) {
    const auto length = reader.Read<uint64_t>();
    const std::string_view text = AsText(reader.Take(length));
    if (!reader.ok()) return;
    visit(text);
  }
}

bool IsInteger(GgufType type) {
  return type != GgufType::kF32 && type != GgufType::kF64 &&
         type != GgufType::kBool && type != GgufType::kString &&
         type != GgufType::kArray;
}

bool IsFloat(GgufType type) {
  return type == GgufType::kF32 || type == GgufType::kF64;
}

}  // namespace

std::string GgufMetadata::Where(const std::string& key) const {
  return "[gguf] " + file_->path() + ": key " + key + " ";
}

Result<const Value*> GgufMetadata::Get(const std::string& key,
                                       bool array) const {
  const auto found = values_.find(key);
  if (found == values_.end()) return NotFound(Where(key) + "is not there");
  if (found->second.array != array) {
    return InvalidArgument(Where(key) +
                           (array ? "is not an array" : "is an array"));
  }
  return &found->second;
}

Result<std::vector<int64_t>> GgufMetadata::Ints(const std::string& key) const {
  ASSIGN_OR_RETURN(const Value* value, Get(key, true));
  if (!IsInteger(value->type)) {
    return InvalidArgument(Where(key) + "does not hold integers");
  }
  std::vector<int64_t> out;
  out.reserve(value->count);
  bool fits = true;
  VisitNumbers(*value, [&](auto x) {
    if constexpr (std::is_same_v<decltype(x), uint64_t>) {
      fits = fits &&
             x <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
    }
    out.push_back(static_cast<int64_t>(x));
  });
  if (!fits) return InvalidArgument(Where(key) + "is out of range");
  return out;
}

Result<std::vector<double>> GgufMetadata::Floats(const std::string& key) const {
  ASSIGN_OR_RETURN(const Value* value, Get(key, true));
  if (!IsFloat(value->type)) {
    return InvalidArgument(Where(key) + "does not hold floats");
  }
  std::vector<double> out;
  out.reserve(value->count);
  VisitNumbers(*value, [&](auto x) { out.push_back(static_cast<double>(x)); });
  return out;
}

Result<std::vector<std::string>> GgufMetadata::Strings(
    const std::string& key) const {
  ASSIGN_OR_RETURN(const Value* value, Get(key, true));
  if (value->type != GgufType::kString) {
    return InvalidArgument(Where(key) + "does not hold strings");
  }
  std::vector<std::string> out;
  out.reserve(value->count);
  VisitStrings(*value, [&](std::string_view s) { out.emplace_back(s); });
  return out;
}

Result<int64_t> GgufMetadata::Int(const std::string& key) const {
  ASSIGN_OR_RETURN(const Value* value, Get(key, false));
  if (!IsInteger(value->type)) {
    return InvalidArgument(Where(key) + "is not an integer");
  }
  int64_t out = 0;
  bool fits = true;
  VisitNumbers(*value, [&](auto x) {
    if constexpr (std::is_same_v<decltype(x), uint64_t>) {
      fits = x <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
    }
    out = static_cast<int64_t>(x);
  });
  if (!fits) return InvalidArgument(Where(key) + "is out of range");
  return out;
}

Result<double> GgufMetadata::Float(const std::string& key) const {
  ASSIGN_OR_RETURN(const Value* value, Get(key, false));
  if (!IsFloat(value->type)) {
    return InvalidArgument(Where(key) + "is not a float");
  }
  double out = 0;
  VisitNumbers(*value, [&](auto x) { out = static_cast<double>(x); });
  return out;
}

Result<bool> GgufMetadata::Bool(const std::string& key) const {
  ASSIGN_OR_RETURN(const Value* value, Get(key, false));
  if (value->type != GgufType::kBool) {
    return InvalidArgument(Where(key) + "is not a bool");
  }
  return value->payload[0] != std::byte{0};
}

Result<std::string> GgufMetadata::String(const std::string& key) const {
  ASSIGN_OR_RETURN(const Value* value, Get(key, false));
  if (value->type != GgufType::kString) {
    return InvalidArgument(Where(key) + "is not a string");
  }
  std::string out;
  VisitStrings(*value, [&](std::string_view s) { out = s; });
  return out;
}

Result<std::vector<std::string>> GgufMetadata::Tokens() const {
  return Strings("tokenizer.ggml.tokens");
}

Result<std::vector<std::string>> GgufMetadata::Merges() const {
  return Strings("tokenizer.ggml.merges");
}

Result<std::vector<int32_t>> GgufMetadata::TokenTypes() const {
  const std::string key = "tokenizer.ggml.token_type";
  ASSIGN_OR_RETURN(const std::vector<int64_t> types, Ints(key));
  std::vector<int32_t> out;
  out.reserve(types.size());
  for (int64_t type : types) {
    if (type < 0 || type > std::numeric_limits<int32_t>::max()) {
      return InvalidArgument(Where(key) + "is out of range");
    }
    out.push_back(static_cast<int32_t>(type));
  }
  return out;
}

Result<std::vector<float>> GgufMetadata::Scores() const {
  ASSIGN_OR_RETURN(const std::vector<double> scores,
                   Floats("tokenizer.ggml.scores"));
  return std::vector<float>(scores.begin(), scores.end());
}

namespace {

template <typename T>
GgufValue Decoded(const Value& value) {
  ByteReader reader(value.payload);
  if (!value.array) return reader.Read<T>();
  std::vector<T> items(value.count);
  for (uint64_t i = 0; i < value.count; ++i) items[i] = reader.Read<T>();
  return items;
}

GgufValue Decoded(const Value& value) {
  switch (value.type) {
    case GgufType::kU8:
      return Decoded<uint8_t>(value);
    case GgufType::kI8:
      return Decoded<int8_t>(value);
    case GgufType::kU16:
      return Decoded<uint16_t>(value);
    case GgufType::kI16:
      return Decoded<int16_t>(value);
    case GgufType::kU32:
      return Decoded<uint32_t>(value);
    case GgufType::kI32:
      return Decoded<int32_t>(value);
    case GgufType::kU64:
      return Decoded<uint64_t>(value);
    case GgufType::kI64:
      return Decoded<int64_t>(value);
    case GgufType::kF32:
      return Decoded<float>(value);
    case GgufType::kF64:
      return Decoded<double>(value);
    case GgufType::kBool: {
      std::vector<bool> items;
      items.reserve(value.count);
      VisitNumbers(value, [&](auto x) { items.push_back(x != 0); });
      if (!value.array) return bool{items[0]};
      return items;
    }
    case GgufType::kString:
    case GgufType::kArray:
      break;
  }
  std::vector<std::string> items;
  items.reserve(value.count);
  VisitStrings(value, [&](std::string_view s) { items.emplace_back(s); });
  if (!value.array) return std::move(items[0]);
  return items;
}

}  // namespace

GgufEntries GgufMetadata::ToEntries() const {
  GgufEntries entries;
  for (const auto& [key, value] : values_) {
    if (key.starts_with("split.")) continue;
    entries.emplace_back(key, Decoded(value));
  }
  return entries;
}

Json GgufMetadata::ToJson(uint64_t max_items) const {
  Json out = Json::object();
  for (const auto& [key, value] : values_) {
    if (value.array && value.count > max_items) continue;
    Json& place = out[key];
    if (value.array) place = Json::array();
    // Not `value`: clang before 16 captures no structured bindings.
    const auto put = [&place, is_list = value.array](auto&& x) {
      if (is_list) {
        place.push_back(x);
      } else {
        place = x;
      }
    };
    VisitNumbers(value, put);
    if (value.type == GgufType::kString) {
      VisitStrings(value, [&](std::string_view s) { put(ToUtf8(s)); });
    }
  }
  return out;
}

}  // namespace intarsia
