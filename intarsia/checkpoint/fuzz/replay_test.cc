// The fuzz targets on sound files and on mutations of them, the same ones in
// every run. A fuzzer goes further; this keeps the targets from rotting.
#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <vector>

#include "intarsia/checkpoint/encoding.h"
#include "intarsia/checkpoint/fuzz/targets.h"
#include "intarsia/checkpoint/test_files.h"

namespace intarsia {
namespace {

constexpr int kMutations = 20000;
constexpr std::chrono::seconds kMaxTime{3};  // a target, on a slow machine

// xorshift64*: the same sequence everywhere.
class Random {
 public:
  uint64_t Next() {
    state_ ^= state_ >> 12;
    state_ ^= state_ << 25;
    state_ ^= state_ >> 27;
    return state_ * 0x2545F4914F6CDD1Dull;
  }
  size_t Below(size_t n) { return Next() % n; }

 private:
  uint64_t state_ = 88172645463325252ull;
};

// Values that arithmetic on sizes tends to get wrong.
constexpr uint64_t kNasty[] = {0,          1,          31,         255,
                               0x7FFF,     0x10000,    0x7FFFFFFF, 0x80000000,
                               ~0u,        1ull << 32, 1ull << 61, 1ull << 62,
                               ~0ull >> 1, 1ull << 63, ~0ull - 31, ~0ull};

std::string Mutate(std::string text, Random* random) {
  for (size_t n = random->Below(3) + 1; n > 0 && !text.empty(); --n) {
    const size_t at = random->Below(text.size());
    switch (random->Below(6)) {
      case 0:
        text[at] = static_cast<char>(random->Next());
        break;
      case 1:
        text[at] ^= static_cast<char>(1u << random->Below(8));
        break;
      case 2:
        text.resize(at);
        break;
      case 3:
        text.erase(at, random->Below(16) + 1);
        break;
      case 4:
        text.insert(
            at, text.substr(random->Below(text.size()), random->Below(64) + 1));
        break;
      default: {
        const std::string value = Raw(kNasty[random->Below(std::size(kNasty))]);
        text.replace(at, std::min<size_t>(8, text.size() - at), value, 0,
                     random->Below(2) == 0 ? 4 : 8);
      }
    }
  }
  return text;
}

std::span<const std::byte> Bytes(const std::string& text) {
  return std::as_bytes(std::span<const char>(text));
}

template <typename Target>
void Replay(const std::vector<std::string>& seeds, Target target) {
  for (const std::string& seed : seeds) EXPECT_TRUE(target(Bytes(seed)));
  EXPECT_FALSE(target({}));
  Random random;
  const auto start = std::chrono::steady_clock::now();
  int read = 0, refused = 0;
  for (int i = 0; i < kMutations; ++i) {
    const std::string input = Mutate(seeds[i % seeds.size()], &random);
    ASSERT_NO_THROW(++(target(Bytes(input)) ? read : refused)) << i;
    if (std::chrono::steady_clock::now() - start > kMaxTime) break;
  }
  // The mutations neither miss the file nor always break it.
  EXPECT_GT(read, 10);
  EXPECT_GT(refused, 100);
}

TEST(FuzzReplay, Safetensors) {
  Replay({Safetensors(R"({"a":{"dtype":"F32","shape":[2,2],)"
                      R"("data_offsets":[0,16]},"b":{"dtype":"BF16",)"
                      R"("shape":[3],"data_offsets":[16,22]},)"
                      R"("__metadata__":{"x":"y"}})",
                      std::string(22, '\1')),
          Safetensors(R"({"__metadata__":{"intarsia.encoding.q":"q8_0"},)"
                      R"("q":{"dtype":"U8","shape":[2,34],)"
                      R"("data_offsets":[0,68]}})",
                      std::string(68, '\1'))},
         FuzzSafetensors);
}

TEST(FuzzReplay, Gguf) {
  GgufBytes g;
  g.Key("general.architecture", 8, GgufBytes::String("llama"));
  g.Key("general.alignment", 4, Raw(32u));
  g.Key("n", 10, Raw<uint64_t>(7)).Key("f", 6, Raw(1.5f));
  g.Key("b", 7, Raw(true)).Key("i", 1, Raw<int8_t>(-1));
  g.Array("tokenizer.ggml.tokens", 8, 3,
          GgufBytes::String("a") + GgufBytes::String("") +
              GgufBytes::String("\xc3\xa9"));
  g.Array("tokenizer.ggml.token_type", 5, 3, Raw(1) + Raw(2) + Raw(3));
  g.Info("w", {32, 2}, 8, 0).Info("v", {4}, 0, 96).Info("k", {256}, 14, 128);
  g.data = std::string(128 + 210, '\1');
  // One tensor of each block type, and a part of a split file.
  GgufBytes all;
  all.Key("split.no", 2, Raw<uint16_t>(0))
      .Key("split.count", 2, Raw<uint16_t>(2));
  all.Key("split.tensors.count", 5, Raw<int32_t>(40));
  uint64_t offset = 0;
  for (uint32_t type = 0; type < 48; ++type) {
    const Encoding* encoding = FindGgufEncoding(type);
    if (encoding == nullptr) continue;
    all.Info("t" + std::to_string(type), {encoding->block, 2}, type, offset);
    offset += (2 * encoding->bytes + 31) / 32 * 32;
  }
  EXPECT_GT(all.tensors, 25);
  all.data = std::string(offset, '\1');
  Replay({g.Bytes(), all.Bytes()}, FuzzGguf);
}

TEST(FuzzReplay, ShardIndex) {
  Replay({R"({"metadata":{"total_size":12},"weight_map":{)"
          R"("a.weight":"model-00001-of-00002.safetensors",)"
          R"("b":"model-00002-of-00002.safetensors"}})"},
         FuzzShardIndex);
}

}  // namespace
}  // namespace intarsia
