// Metadata of a GGUF file: typed values by key. Arrays stay in the mapped file
// until they are asked for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "intarsia/checkpoint/mapped_file.h"
#include "intarsia/checkpoint/write.h"
#include "intarsia/core/status.h"

namespace intarsia {

enum class GgufType : uint32_t {
  kU8 = 0,
  kI8 = 1,
  kU16 = 2,
  kI16 = 3,
  kU32 = 4,
  kI32 = 5,
  kF32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kU64 = 10,
  kI64 = 11,
  kF64 = 12,
};
inline constexpr uint32_t kGgufTypes = 13;

class GgufMetadata {
 public:
  // A value in the file: `payload` holds `count` items of `type` (one unless
  // `array`), whose sizes have been checked.
  struct Value {
    GgufType type = GgufType::kU8;
    bool array = false;
    uint64_t count = 1;
    std::span<const std::byte> payload;
  };

  GgufMetadata(std::shared_ptr<const MappedFile> file,
               std::map<std::string, Value> values)
      : file_(std::move(file)), values_(std::move(values)) {}

  const std::map<std::string, Value>& values() const { return values_; }
  bool Has(const std::string& key) const { return values_.count(key) > 0; }

  // NotFound without the key, InvalidArgument for another type. Integers of all
  // widths are one type here, and so are floats of both.
  Result<int64_t> Int(const std::string& key) const;
  Result<double> Float(const std::string& key) const;
  Result<bool> Bool(const std::string& key) const;
  Result<std::string> String(const std::string& key) const;
  Result<std::vector<int64_t>> Ints(const std::string& key) const;
  Result<std::vector<double>> Floats(const std::string& key) const;
  Result<std::vector<std::string>> Strings(const std::string& key) const;

  // tokenizer.ggml.tokens, .token_type, .merges and .scores.
  Result<std::vector<std::string>> Tokens() const;
  Result<std::vector<int32_t>> TokenTypes() const;
  Result<std::vector<std::string>> Merges() const;
  Result<std::vector<float>> Scores() const;

  // Everything, to be written again (split.* apart, which are of one file).
  GgufEntries ToEntries() const;

  // All scalars, and arrays of at most `max_items`, of which ReadGguf admits a
  // bounded number. Bytes that are not UTF-8 become U+FFFD there.
  static constexpr uint64_t kShortArray = 4096;
  nlohmann::json ToJson(uint64_t max_items = kShortArray) const;

 private:
  Result<const Value*> Get(const std::string& key, bool array) const;
  std::string Where(const std::string& key) const;

  std::shared_ptr<const MappedFile> file_;
  std::map<std::string, Value> values_;
};

}  // namespace intarsia
