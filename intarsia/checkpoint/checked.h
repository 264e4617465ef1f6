// Overflow-safe arithmetic, little-endian reads and printable names, for code
// that reads untrusted bytes.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace intarsia {

static_assert(std::endian::native == std::endian::little,
              "files are little-endian and are mapped, not converted");

// The sum, product or next multiple; nothing where it does not fit.
inline std::optional<uint64_t> CheckedAdd(uint64_t a, uint64_t b) {
  uint64_t sum = 0;
  if (__builtin_add_overflow(a, b, &sum)) return std::nullopt;
  return sum;
}
inline std::optional<uint64_t> CheckedMul(uint64_t a, uint64_t b) {
  uint64_t product = 0;
  if (__builtin_mul_overflow(a, b, &product)) return std::nullopt;
  return product;
}
inline std::optional<uint64_t> CheckedAlignUp(uint64_t a, uint64_t multiple) {
  const uint64_t rest = a % multiple;
  return rest == 0 ? a : CheckedAdd(a, multiple - rest);
}

// A value at a place of any alignment.
template <typename T>
T LoadUnaligned(const std::byte* p) {
  static_assert(std::is_trivially_copyable_v<T>);
  T value;
  std::memcpy(&value, p, sizeof(T));
  return value;
}

// Reads forward through bytes. The first read past the end fails, and with it
// all later ones; what a failed read returns is zero or empty.
class ByteReader {
 public:
  explicit ByteReader(std::span<const std::byte> bytes) : bytes_(bytes) {}

  bool ok() const { return ok_; }
  uint64_t offset() const { return offset_; }
  uint64_t remaining() const { return bytes_.size() - offset_; }

  template <typename T>
  T Read() {
    const std::span<const std::byte> raw = Take(sizeof(T));
    return ok_ ? LoadUnaligned<T>(raw.data()) : T{};
  }
  std::span<const std::byte> Take(uint64_t count) {
    if (!ok_ || count > remaining()) {
      ok_ = false;
      return {};
    }
    const auto taken = bytes_.subspan(offset_, count);
    offset_ += count;
    return taken;
  }

 private:
  std::span<const std::byte> bytes_;
  uint64_t offset_ = 0;
  bool ok_ = true;
};

inline std::string_view AsText(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// Well-formed UTF-8, without surrogates and overlong forms.
bool IsUtf8(std::string_view text);

// The text with each byte that is not part of a character as U+FFFD.
std::string ToUtf8(std::string_view text);

// Text from a file, fit for a message: at most `limit` bytes, and bytes that
// are not printable ASCII as \xNN.
std::string Printable(std::string_view text, size_t limit = 100);

// "a, b and 3 more": at most `limit` names, each Printable.
std::string Listed(const std::vector<std::string>& names, size_t limit = 10);

}  // namespace intarsia
