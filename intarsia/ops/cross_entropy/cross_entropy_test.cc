#include "intarsia/ops/cross_entropy/cross_entropy.h"

#include "intarsia/ops/common/testing.h"

namespace intarsia {
namespace {

using testing::AsColumns;
using testing::ExpectGradients;
using testing::ExpectSameBitsOnAnyThreads;
using testing::Poisoned;
using testing::RandomTensor;

double Plain(const Tensor& logits, const std::vector<int32_t>& targets) {
  const int64_t n = logits.dim(1);
  double sum = 0, count = 0;
  for (int64_t t = 0; t < logits.dim(0); ++t) {
    if (targets[t] < 0) continue;
    const float* row = logits.data<float>() + t * n;
    double total = 0;
    for (int64_t i = 0; i < n; ++i) {
      total += std::exp(double{row[i]} - row[targets[t]]);
    }
    sum += std::log(total);
    count += 1;
  }
  return sum / count;
}

TEST(CrossEntropyTest, EqualsTheDefinition) {
  const Poisoned poisoned;
  Random random(1);
  Context ctx;
  for (int64_t n : {1, 2, 63, 64, 257, 1001}) {
    const Tensor logits = RandomTensor(random, {7, n}, 5.0f);
    std::vector<int32_t> targets(7, -1);
    for (int t = 1; t < 7; ++t) {
      if (t != 4) {
        targets[t] =
            static_cast<int32_t>(random.NextBelow(static_cast<uint32_t>(n)));
      }
    }
    const double expected = Plain(logits, targets);
    EXPECT_NEAR(CrossEntropy(ctx, AsColumns(logits), targets).data<float>()[0],
                expected, 1e-6 * (1 + expected));
  }
}

TEST(CrossEntropyTest, LargeLogitsDoNotOverflow) {
  Context ctx;
  const Tensor logits =
      Tensor::From(std::vector<float>{1000, 999, -1000, -999}, {2, 2});
  const std::vector<int32_t> targets = {0, 1};
  EXPECT_NEAR(CrossEntropy(ctx, logits, targets).data<float>()[0],
              std::log1p(std::exp(-1.0)), 1e-6);
}

TEST(CrossEntropyTest, ANaNShows) {
  Context ctx;
  for (int at = 0; at < 3; ++at) {
    Tensor logits = Tensor::Zeros({1, 3});
    logits.mutable_data<float>()[at] = NAN;
    EXPECT_TRUE(std::isnan(
        CrossEntropy(ctx, logits, std::vector<int32_t>{1}).data<float>()[0]));
  }
}

TEST(CrossEntropyTest, GradientsAndThreads) {
  Random random(2);
  const Tensor logits = RandomTensor(random, {9, 83}, 2.0f);
  const std::vector<int32_t> targets = {5, -1, 0, 82, 7, 7, -1, 31, 44};
  ExpectGradients(Context(), {logits}, {},
                  [&](Context& ctx, const std::vector<Tensor>& in) {
                    return CrossEntropy(ctx, in[0], targets);
                  });
  ExpectSameBitsOnAnyThreads(Context(), [&](Context& ctx) {
    return CrossEntropy(ctx, logits, targets);
  });
}

TEST(CrossEntropyTest, RefusesWhatHasNoMean) {
  Context ctx;
  const Tensor logits = Tensor::Zeros({2, 3});
  EXPECT_THROW(CrossEntropy(ctx, logits, std::vector<int32_t>{-1, -1}),
               CheckError);
  EXPECT_THROW(CrossEntropy(ctx, logits, std::vector<int32_t>{0, 3}),
               CheckError);
  EXPECT_THROW(CrossEntropy(ctx, logits, std::vector<int32_t>{0}), CheckError);
}

}  // namespace
}  // namespace intarsia
