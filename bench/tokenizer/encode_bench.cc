// Times Tokenizer::Encode on one thread, a pass for each line on stdin, so that
// a script can take turns with another library
// (bench/peers/tokenizers_encode.py).
//
//   bench_encode TOKENIZER TEXT < lines
//
// Reads the text as documents separated by a line "\f". Prints the number of
// tokens and a checksum of the ids first, then the nanoseconds of each pass.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "intarsia/tokenizer/tokenizer.h"

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: bench_encode TOKENIZER TEXT\n");
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
  std::vector<std::string> documents;
  const std::string text = all.str();
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find("\f\n", at), text.size());
    documents.push_back(text.substr(at, end - at));
    at = end + 2;
  }
  const auto pass = [&](size_t* tokens, uint32_t* sum) {
    for (const std::string& document : documents) {
      const auto ids = *(*tokenizer)->Encode(document, {false, true});
      *tokens += ids.size();
      for (const int32_t id : ids) {
        *sum = (*sum ^ static_cast<uint32_t>(id)) * 16777619u;
      }
    }
  };
  size_t tokens = 0;
  uint32_t sum = 2166136261u;
  pass(&tokens, &sum);
  std::printf("%zu %u\n", tokens, sum);
  std::fflush(stdout);
  char line[64];
  while (std::fgets(line, sizeof(line), stdin) != nullptr) {
    const auto begin = std::chrono::steady_clock::now();
    pass(&tokens, &sum);
    const std::chrono::nanoseconds time =
        std::chrono::steady_clock::now() - begin;
    std::printf("%lld\n", static_cast<long long>(time.count()));
    std::fflush(stdout);
  }
  return 0;
}
