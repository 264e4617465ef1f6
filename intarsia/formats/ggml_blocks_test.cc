// Blocks of GGML's types give the numbers that the `gguf` Python package gives,
// bit by bit (tests/oracles/gguf_blocks.py records them), and those whose
// quantisation has no choices give its bytes.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>

#include "intarsia/formats/common/paths.h"
#include "intarsia/formats/common/scale_search.h"
#include "intarsia/formats/common/test_rows.h"
#include "intarsia/formats/registry.h"

namespace intarsia::formats {
namespace {

struct Recorded {
  const char* name;
  uint64_t seed, numbers, bytes;
  uint32_t first[8];
};

constexpr Recorded kRecorded[] = {
#include "intarsia/formats/ggml_blocks.inc"
};
constexpr int64_t kBlocks = 64;

class SplitMix {
 public:
  explicit SplitMix(uint64_t seed) : state_(seed) {}
  uint8_t Byte() {
    uint64_t z = state_ += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return static_cast<uint8_t>(z ^ (z >> 31));
  }

 private:
  uint64_t state_;
};

std::vector<uint8_t> RandomBytes(uint64_t seed, size_t count) {
  SplitMix random(seed);
  std::vector<uint8_t> bytes(count);
  for (uint8_t& byte : bytes) byte = random.Byte();
  return bytes;
}

uint64_t Fnv(const void* data, size_t size) {
  uint64_t h = 0xCBF29CE484222325u;
  for (size_t i = 0; i < size; ++i) {
    h = (h ^ static_cast<const uint8_t*>(data)[i]) * 0x100000001B3u;
  }
  return h;
}

// Where the fp16 scales of a block are.
std::vector<size_t> Scales(std::string_view name) {
  if (name == "q2_k") return {80, 82};
  if (name == "q3_k") return {108};
  if (name == "q6_k") return {208};
  if (name == "q4_1" || name == "q5_1" || name == "q4_k" || name == "q5_k") {
    return {0, 2};
  }
  return {0};
}

std::vector<uint8_t> BlocksOf(const Format& format, uint64_t seed) {
  const size_t size = format.row_bytes(format.block());
  std::vector<uint8_t> bytes = RandomBytes(seed, kBlocks * size);
  for (size_t begin = 0; begin < bytes.size(); begin += size) {
    if (format.name() == "mxfp4") {
      if (bytes[begin] == 255) bytes[begin] = 254;
      continue;
    }
    for (const size_t at : Scales(format.name())) {
      uint8_t& high = bytes[begin + at + 1];
      if ((high & 0x7C) == 0x7C) high &= 0xBF;
    }
  }
  return bytes;
}

class GgmlBlocksTest : public testing::TestWithParam<Recorded> {};

TEST_P(GgmlBlocksTest, GiveTheSameNumbers) {
  const Format& format = *FindFormat(GetParam().name);
  const std::vector<uint8_t> bytes = BlocksOf(format, GetParam().seed);
  SetIntegersForTest(Integers::kNone);
  for (const std::string& target : EachSimdTarget()) {
    SCOPED_TRACE(target);
    SetSimdTargetForTest(target);
    const std::vector<float> numbers =
        Dequantized(format, bytes, kBlocks * format.block());
    for (int i = 0; i < 8; ++i) {
      EXPECT_EQ(std::bit_cast<uint32_t>(numbers[i]), GetParam().first[i]) << i;
    }
    EXPECT_EQ(Fnv(numbers.data(), numbers.size() * sizeof(float)),
              GetParam().numbers);
  }
  SetSimdTargetForTest("");
  SetIntegersForTest(Integers::kBest);
}

TEST_P(GgmlBlocksTest, AreMadeAlikeWhereNothingIsChosen) {
  if (GetParam().bytes == 0) return;
  const std::vector<uint8_t> raw = RandomBytes(99, 2 * 64 * 32);
  std::vector<float> values(64 * 32);
  for (size_t i = 0; i < values.size(); ++i) {
    int16_t number;
    std::memcpy(&number, raw.data() + 2 * i, sizeof(number));
    values[i] = static_cast<float>(number) / 4096.0f;
  }
  const std::vector<uint8_t> bytes =
      Quantized(*FindFormat(GetParam().name), values);
  EXPECT_EQ(Fnv(bytes.data(), bytes.size()), GetParam().bytes);
}

INSTANTIATE_TEST_SUITE_P(Types, GgmlBlocksTest, testing::ValuesIn(kRecorded),
                         [](const auto& info) {
                           return std::string(info.param.name);
                         });

// Root mean square error on normal numbers of deviation 1: at most what GGML's
// ggml_quantize_chunk leaves of the same row without an importance matrix.
struct Bound {
  const char* name;
  double error;
};

class QuantiserTest : public testing::TestWithParam<Bound> {};

std::vector<float> NormalRow(int64_t k, uint64_t seed) {
  SplitMix random(seed);
  std::vector<float> row(k);
  for (float& x : row) {  // of twelve uniform numbers
    int sum = 0;
    for (int i = 0; i < 12; ++i) sum += random.Byte();
    x = (static_cast<float>(sum) - 12 * 127.5f) / 255.0f;
  }
  return row;
}

double Rmse(const Format& format, const std::vector<float>& x,
            const float* importance = nullptr) {
  const int64_t k = static_cast<int64_t>(x.size());
  std::vector<uint8_t> bytes(format.row_bytes(k));
  format.QuantizeRowFor(x.data(), importance,
                        reinterpret_cast<std::byte*>(bytes.data()), k);
  const std::vector<float> y = Dequantized(format, bytes, k);
  double error = 0, cost = 0;
  for (int64_t i = 0; i < k; ++i) {
    const double w = importance == nullptr ? 1.0 : importance[i];
    error += w * (y[i] - x[i]) * (y[i] - x[i]);
    cost += w;
  }
  return std::sqrt(error / cost);
}

TEST_P(QuantiserTest, ErrsNoMoreThanTheReference) {
  const Format& format = *FindFormat(GetParam().name);
  EXPECT_LE(Rmse(format, NormalRow(1 << 14, 1)), GetParam().error);
}

TEST_P(QuantiserTest, SpendsItsChoicesWhereTheMatrixSays) {
  const Format& format = *FindFormat(GetParam().name);
  // Have no choice, or one of three powers of two.
  if (format.name() == "f8_e4m3_128" || format.name() == "mxfp4") return;
  const std::vector<float> x = NormalRow(1 << 13, 2);
  std::vector<float> importance(x.size());
  for (size_t i = 0; i < x.size(); ++i) importance[i] = i % 4 == 0 ? 20 : 0.5f;
  std::vector<uint8_t> bytes(format.row_bytes(x.size()));
  const double with = Rmse(format, x, importance.data());
  const std::vector<float> plain = RoundTrip(format, x);
  double error = 0, cost = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    error += importance[i] * (plain[i] - x[i]) * (plain[i] - x[i]);
    cost += importance[i];
  }
  EXPECT_LT(with, 0.99 * std::sqrt(error / cost));
  // A matrix of zeros says nothing.
  const std::vector<float> zeros(x.size(), 0.0f);
  EXPECT_LT(Rmse(format, x, nullptr), 0.5);
  format.QuantizeRowFor(x.data(), zeros.data(),
                        reinterpret_cast<std::byte*>(bytes.data()), x.size());
  const std::vector<float> y = Dequantized(format, bytes, x.size());
  for (size_t i = 0; i < x.size(); ++i) ASSERT_NEAR(y[i], x[i], 3.0);
}

// In every block, by the cost that the search minimises: the numbers that
// GGML's users weigh by too.
TEST(BlocksOf32, AMatrixNeverCosts) {
  for (const char* name : {"q4_0", "q4_1", "q5_0", "q5_1"}) {
    const Format& format = *FindFormat(name);
    SplitMix random(3);
    double with = 0, without = 0;
    for (int trial = 0; trial < 400; ++trial) {
      std::vector<float> x = NormalRow(32, 100 + trial), importance(32), w(32);
      // Blocks with outliers, of one sign, nearly constant, and tiny ones too.
      if (trial % 5 == 1) x[trial % 32] *= 30;
      if (trial % 5 == 2)
        for (float& v : x) v = std::abs(v);
      if (trial % 5 == 3)
        for (float& v : x) v = 1 + v / 4096;
      if (trial % 5 == 4)
        for (float& v : x) v *= 1e-6f;
      for (float& v : importance) {
        const float u = static_cast<float>(random.Byte()) / 255;
        v = trial % 3 == 0 ? u : u * u * u * u * 1000;
      }
      formats::ErrorCosts(x.data(), importance.data(), 32, w.data());
      const auto cost = [&](const float* given) {
        std::vector<uint8_t> bytes(format.row_bytes(32));
        format.QuantizeRowFor(x.data(), given,
                              reinterpret_cast<std::byte*>(bytes.data()), 32);
        const std::vector<float> y = Dequantized(format, bytes, 32);
        double sum = 0;
        for (int i = 0; i < 32; ++i) {
          sum += double{w[i]} * (y[i] - x[i]) * (y[i] - x[i]);
        }
        return sum;
      };
      const double searched = cost(importance.data()), plain = cost(nullptr);
      ASSERT_LE(searched, plain * (1 + 1e-5)) << name << " block " << trial;
      if (trial % 5 == 0) with += searched, without += plain;
    }
    EXPECT_LT(with, 0.85 * without) << name;
  }
}

TEST_P(QuantiserTest, OddInput) {
  const Format& format = *FindFormat(GetParam().name);
  const int64_t k = 2 * format.block();
  for (const float x : RoundTrip(format, std::vector<float>(k, 0.0f))) {
    EXPECT_EQ(x, 0.0f);
  }
  for (const float value : {2.5f, -2.5f}) {
    for (const float x : RoundTrip(format, std::vector<float>(k, value))) {
      EXPECT_NEAR(x, value, 0.5f);  // mxfp4 has 2 and 3
    }
  }
  std::vector<float> tiny(k, 0.0f);
  tiny[9] = 1e-42f;
  for (const float x : RoundTrip(format, tiny)) EXPECT_NEAR(x, 0.0f, 1e-38f);
  for (const float bad : {NAN, INFINITY, -INFINITY}) {
    std::vector<float> values(k, 1.0f);
    values[17] = bad;
    const std::vector<float> out = RoundTrip(format, values);
    for (int64_t i = 0; i < k / 2; ++i) EXPECT_TRUE(std::isnan(out[i])) << i;
    for (int64_t i = k / 2; i < k; ++i) EXPECT_NEAR(out[i], 1.0f, 0.08f);
  }
}

constexpr Bound kBounds[] = {
    {"q4_0", 0.08534},     {"q4_1", 0.07792},   {"q5_0", 0.04181},
    {"q5_1", 0.03755},     {"q2_k", 0.29109},   {"q3_k", 0.14915},
    {"q4_k", 0.07083},     {"q5_k", 0.03574},   {"q6_k", 0.01757},
    {"iq4_nl", 0.07528},   {"iq4_xs", 0.07595}, {"mxfp4", 0.11561},
    {"f8_e4m3_128", 0.026}};

INSTANTIATE_TEST_SUITE_P(Types, QuantiserTest, testing::ValuesIn(kBounds),
                         [](const auto& info) {
                           return std::string(info.param.name);
                         });

}  // namespace
}  // namespace intarsia::formats
