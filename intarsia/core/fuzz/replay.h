// Replays the corpora of the fuzzers, what they once found among them, and
// edits of each input, the same ones in every run: a short, repeatable stand-in
// for the fuzzers, which go further.
//
// A corpus is a folder of inputs. Files that end in .b64 hold many: a line of
// base64 each (tools/fuzz_corpus.py writes and unpacks them).
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

namespace intarsia {

// Throws or crashes only on a bug; true: the input was accepted.
using FuzzTarget = bool (*)(std::string_view input);

inline std::string FromBase64(std::string_view text) {
  std::string out;
  uint32_t bits = 0;
  int have = 0;
  for (const char c : text) {
    static constexpr std::string_view kDigits =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const size_t digit = kDigits.find(c);
    if (digit == std::string_view::npos) break;
    bits = bits << 6 | static_cast<uint32_t>(digit);
    have += 6;
    if (have < 8) continue;
    have -= 8;
    out += static_cast<char>(bits >> have & 0xFF);
  }
  return out;
}

inline std::vector<std::string> ReadFuzzCorpus(const std::string& folder) {
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    paths.push_back(entry.path());
  }
  std::sort(paths.begin(), paths.end());
  std::vector<std::string> inputs;
  for (const auto& path : paths) {
    std::ifstream file(path, std::ios::binary);
    if (path.extension() == ".b64") {
      for (std::string line; std::getline(file, line);) {
        inputs.push_back(FromBase64(line));
      }
    } else {
      inputs.emplace_back(std::istreambuf_iterator<char>(file),
                          std::istreambuf_iterator<char>());
    }
  }
  return inputs;
}

class FuzzEdits {
 public:
  uint64_t Next() {  // xorshift64*
    state_ ^= state_ >> 12;
    state_ ^= state_ << 25;
    state_ ^= state_ >> 27;
    return state_ * 0x2545F4914F6CDD1Dull;
  }
  size_t Below(size_t n) { return Next() % n; }

  // `letters`: characters that the format is made of.
  std::string Edit(std::string text, std::string_view letters) {
    // Values that arithmetic on sizes tends to get wrong.
    static constexpr uint64_t kNasty[] = {
        0,          1,          31,         255,        0x7FFF,     0x10000,
        0x7FFFFFFF, 0x80000000, ~0u,        1ull << 32, 1ull << 61, 1ull << 62,
        ~0ull >> 1, 1ull << 63, ~0ull - 31, ~0ull};
    for (size_t n = Below(3) + 1; n > 0 && !text.empty(); --n) {
      const size_t at = Below(text.size());
      switch (Below(7)) {
        case 0:
          text[at] = static_cast<char>(Next());
          break;
        case 1:
          text[at] ^= static_cast<char>(1u << Below(8));
          break;
        case 2:
          text.resize(at);
          break;
        case 3:
          text.erase(at, Below(16) + 1);
          break;
        case 4:
          text.insert(at, text.substr(Below(text.size()), Below(64) + 1));
          break;
        case 5:
          text[at] = letters[Below(letters.size())];
          break;
        default: {
          const uint64_t value = kNasty[Below(std::size(kNasty))];
          text.replace(at, std::min<size_t>(8, text.size() - at),
                       reinterpret_cast<const char*>(&value),
                       Below(2) == 0 ? 4 : 8);
        }
      }
    }
    return text;
  }

 private:
  uint64_t state_ = 88172645463325252ull;
};

// Runs what is in the corpus, some of which must be accepted, and up to
// `edits` edits of it for at most half a second.
inline void ReplayFuzzCorpus(const std::string& folder, FuzzTarget target,
                             std::string_view letters, int edits = 5000) {
  const std::vector<std::string> corpus = ReadFuzzCorpus(folder);
  ASSERT_FALSE(corpus.empty()) << folder;
  int accepted = 0;
  for (const std::string& input : corpus) {
    ASSERT_NO_THROW(accepted += target(input)) << folder;
  }
  EXPECT_GT(accepted, 0) << folder;
  ASSERT_NO_THROW(target("")) << folder;
  FuzzEdits random;
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < edits; ++i) {
    const std::string input =
        random.Edit(corpus[random.Below(corpus.size())], letters);
    ASSERT_NO_THROW(target(input)) << folder << ", edit " << i;
    if (std::chrono::steady_clock::now() - start >
        std::chrono::milliseconds(500)) {
      break;
    }
  }
}

}  // namespace intarsia
