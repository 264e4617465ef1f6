#include "intarsia/tokenizer/byte_level.h"

#include <array>

#include "intarsia/tokenizer/utf8.h"

namespace intarsia {
namespace {

constexpr int kAlphabetEnd = 0x100 + 68;

struct Alphabet {
  std::array<char32_t, 256> character{};
  std::array<int, kAlphabetEnd> byte{};  // -1: not in the alphabet
};

constexpr Alphabet MakeAlphabet() {
  Alphabet a;
  for (int& byte : a.byte) byte = -1;
  char32_t next = 0x100;
  for (int b = 0; b < 256; ++b) {
    const bool printable = (b >= '!' && b <= '~') || (b >= 0xA1 && b != 0xAD);
    a.character[b] = printable ? static_cast<char32_t>(b) : next++;
    a.byte[a.character[b]] = b;
  }
  return a;
}

constexpr Alphabet kAlphabet = MakeAlphabet();

}  // namespace

char32_t ByteLevelCharacter(unsigned char byte) {
  return kAlphabet.character[byte];
}

std::string ByteLevelEncode(std::string_view bytes) {
  std::string out;
  for (const char c : bytes) {
    AppendUtf8(ByteLevelCharacter(static_cast<unsigned char>(c)), &out);
  }
  return out;
}

std::optional<std::string> ByteLevelDecode(std::string_view token) {
  std::string out;
  while (!token.empty()) {
    const Utf8Step step = NextUtf8(token);
    if (!step.valid || step.code >= kAlphabetEnd ||
        kAlphabet.byte[step.code] < 0) {
      return std::nullopt;
    }
    out.push_back(static_cast<char>(kAlphabet.byte[step.code]));
    token.remove_prefix(step.length);
  }
  return out;
}

}  // namespace intarsia
