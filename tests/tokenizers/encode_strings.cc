// Encodes the strings of a file: what published_vocabularies.py compares.
//
//   encode_strings TOKENIZER STRINGS [plain]
//
// STRINGS holds two bytes of length (little-endian) and the bytes of each.
// Prints a line of ids for each, special tokens found unless `plain`, none
// added; then on the next line the decoded text's bytes as hexadecimal digits.
#include <cstdio>
#include <fstream>
#include <sstream>
#include <string>

#include "intarsia/tokenizer/tokenizer.h"

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: encode_strings TOKENIZER STRINGS [plain]\n");
    return 2;
  }
  const auto tokenizer = intarsia::Tokenizer::FromFile(argv[1]);
  if (!tokenizer.ok()) {
    std::fprintf(stderr, "%s\n", tokenizer.status().message().c_str());
    return 1;
  }
  std::ifstream file(argv[2], std::ios::binary);
  std::ostringstream all;
  all << file.rdbuf();
  const std::string packed = all.str();
  for (size_t at = 0; at + 2 <= packed.size();) {
    const size_t size = static_cast<unsigned char>(packed[at]) +
                        256 * static_cast<unsigned char>(packed[at + 1]);
    const auto ids =
        *(*tokenizer)->Encode(packed.substr(at + 2, size), {false, argc == 3});
    for (const int32_t id : ids) std::printf("%d ", id);
    std::printf("\n");
    for (const char c : (*tokenizer)->Decode(ids, false)) {
      std::printf("%02x", static_cast<unsigned char>(c));
    }
    std::printf("\n");
    at += 2 + size;
  }
  return 0;
}
