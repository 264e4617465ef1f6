#include "intarsia/hub/sha1.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <cstring>
#include <vector>

namespace intarsia {
namespace {

using State = std::array<uint32_t, 5>;

void Compress(const std::byte* block, State* state) {
  uint32_t w[80];
  for (int t = 0; t < 16; ++t) {
    std::memcpy(&w[t], block + 4 * t, 4);
    w[t] = __builtin_bswap32(w[t]);
  }
  for (int t = 16; t < 80; ++t) {
    w[t] = std::rotl(w[t - 3] ^ w[t - 8] ^ w[t - 14] ^ w[t - 16], 1);
  }
  auto [a, b, c, d, e] = *state;
  for (int t = 0; t < 80; ++t) {
    const uint32_t f = t < 20   ? ((b & c) | (~b & d)) + 0x5a827999
                       : t < 40 ? (b ^ c ^ d) + 0x6ed9eba1
                       : t < 60 ? ((b & c) | (b & d) | (c & d)) + 0x8f1bbcdc
                                : (b ^ c ^ d) + 0xca62c1d6;
    const uint32_t next = std::rotl(a, 5) + f + e + w[t];
    e = d, d = c, c = std::rotl(b, 30), b = a, a = next;
  }
  const uint32_t sums[5] = {a, b, c, d, e};
  for (int i = 0; i < 5; ++i) (*state)[i] += sums[i];
}

// Of `head` and then `bytes`; `head` is shorter than a block.
std::string Hash(std::string_view head, std::span<const std::byte> bytes) {
  State state = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};
  const uint64_t bits = (head.size() + bytes.size()) * 8;
  std::vector<std::byte> rest;
  for (const char c : head) rest.push_back(static_cast<std::byte>(c));
  if (!head.empty()) {
    const size_t part = std::min(bytes.size(), 64 - head.size());
    rest.insert(rest.end(), bytes.begin(), bytes.begin() + part);
    bytes = bytes.subspan(part);
    if (rest.size() == 64) {
      Compress(rest.data(), &state);
      rest.clear();
    }
  }
  for (; bytes.size() >= 64; bytes = bytes.subspan(64)) {
    Compress(bytes.data(), &state);
  }
  rest.insert(rest.end(), bytes.begin(), bytes.end());
  rest.push_back(std::byte{0x80});
  while (rest.size() % 64 != 56) rest.push_back(std::byte{0});
  const uint64_t length = __builtin_bswap64(bits);
  const auto* raw = reinterpret_cast<const std::byte*>(&length);
  rest.insert(rest.end(), raw, raw + 8);
  for (size_t at = 0; at < rest.size(); at += 64) {
    Compress(rest.data() + at, &state);
  }
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string hex;
  for (const uint32_t word : state) {
    for (int shift = 28; shift >= 0; shift -= 4) {
      hex += kDigits[(word >> shift) & 15];
    }
  }
  return hex;
}

}  // namespace

std::string Sha1Hex(std::span<const std::byte> bytes) {
  return Hash("", bytes);
}

std::string GitBlobSha1Hex(std::span<const std::byte> bytes) {
  const std::string head = "blob " + std::to_string(bytes.size()) + '\0';
  return Hash(head, bytes);
}

}  // namespace intarsia
