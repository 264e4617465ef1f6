// SHA-256 (FIPS 180-4): of what is fetched, and of a model's weights.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace intarsia {

class Sha256 {
 public:
  void Update(std::span<const std::byte> bytes);
  // The digest in lower-case hexadecimal. Call it once, last.
  std::string Hex();

 private:
  void Compress(const std::byte* block);

  std::array<uint32_t, 8> state_ = {0x6a09e667, 0xbb67ae85, 0x3c6ef372,
                                    0xa54ff53a, 0x510e527f, 0x9b05688c,
                                    0x1f83d9ab, 0x5be0cd19};
  std::array<std::byte, 64> pending_{};
  size_t pending_size_ = 0;
  uint64_t length_ = 0;  // bytes
};

std::string Sha256Hex(std::span<const std::byte> bytes);

// 64 lower-case hexadecimal digits.
bool IsSha256Hex(const std::string& text);

}  // namespace intarsia
