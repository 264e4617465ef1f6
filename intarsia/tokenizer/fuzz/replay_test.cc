// Replays the corpora of the fuzzers, what they once found among them, and
// random edits of each input: a short, repeatable stand-in for the fuzzers.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "intarsia/tokenizer/fuzz/targets.h"

namespace intarsia {
namespace {

struct Target {
  const char* folder;
  bool (*run)(std::string_view);
  const char* letters;  // what edits put in
};

class Replay : public ::testing::TestWithParam<Target> {};

std::vector<std::string> ReadCorpus(const std::string& folder) {
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    paths.push_back(entry.path());
  }
  std::sort(paths.begin(), paths.end());
  std::vector<std::string> inputs;
  for (const auto& path : paths) {
    std::ifstream file(path, std::ios::binary);
    std::ostringstream text;
    text << file.rdbuf();
    inputs.push_back(text.str());
  }
  return inputs;
}

TEST_P(Replay, CorpusAndEditsOfIt) {
  const Target& target = GetParam();
  const std::vector<std::string> corpus = ReadCorpus(
      std::string("intarsia/tokenizer/fuzz/corpus/") + target.folder);
  ASSERT_FALSE(corpus.empty());
  int accepted = 0;
  for (const std::string& input : corpus) accepted += target.run(input);
  EXPECT_GT(accepted, 0);
  std::mt19937 random(7);
  const std::string letters = target.letters;
  for (int round = 0; round < 8000; ++round) {
    std::string text = corpus[random() % corpus.size()];
    const int edits = 1 + static_cast<int>(random() % 4);
    for (int i = 0; i < edits && !text.empty(); ++i) {
      const size_t at = random() % text.size();
      switch (random() % 4) {
        case 0:
          text[at] = static_cast<char>(random() % 256);
          break;
        case 1:
          text.erase(at, random() % 20);
          break;
        case 2:
          text.insert(at, text.substr(random() % text.size(), random() % 30));
          break;
        default:
          text[at] = letters[random() % letters.size()];
      }
    }
    target.run(text);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Tokenizer, Replay,
    ::testing::Values(
        Target{"json", FuzzTokenizerJson, "0123456789\"{}[],:\\"},
        Target{"parts", FuzzTokenizerParts, "0123456789\"{}[],:\\^&("},
        Target{"sentencepiece", FuzzSentencePiece, "\x08\x0a\x10\x12\x1a\xff"},
        Target{"words", FuzzRwkvWords, "0123456789 '\"\\xbu\n"}),
    [](const auto& info) { return std::string(info.param.folder); });

}  // namespace
}  // namespace intarsia
