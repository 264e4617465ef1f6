#include "intarsia/ops/rows/rows.h"

#include "intarsia/ops/common/testing.h"

namespace intarsia {
namespace {

using testing::AsColumns;
using testing::BitwiseEqual;
using testing::ExpectGradients;
using testing::ExpectSameBitsOnAnyThreads;
using testing::Near;
using testing::Poisoned;
using testing::RandomTensor;

TEST(GatherRowsTest, Moves) {
  const Poisoned poisoned;
  Random random(1);
  const Tensor x = RandomTensor(random, {9, 33});
  const std::vector<int32_t> rows = {8, 0, 0, 3, 7};
  Context ctx;
  const Tensor y = GatherRows(ctx, AsColumns(x), rows);
  for (size_t i = 0; i < rows.size(); ++i) {
    EXPECT_TRUE(BitwiseEqual(y.Select(0, static_cast<int64_t>(i)).Clone(),
                             x.Select(0, rows[i]).Clone()));
  }
  EXPECT_THROW(GatherRows(ctx, x, std::vector<int32_t>{9}), CheckError);
  ExpectGradients(ctx, {x}, {},
                  [&](Context& ctx, const std::vector<Tensor>& in) {
                    return GatherRows(ctx, in[0], rows);
                  });
}

TEST(CombineRowsTest, SumsWeightedRows) {
  const Poisoned poisoned;
  Random random(2);
  const Tensor x = RandomTensor(random, {60, 37});
  const Tensor weights = RandomTensor(random, {60});
  std::vector<int32_t> rows;
  for (int i = 0; i < 60; ++i) {
    rows.push_back(static_cast<int32_t>(random.NextBelow(21)));
  }
  std::vector<double> weighted(23 * 37), plain(23 * 37);
  for (int i = 0; i < 60; ++i) {
    for (int c = 0; c < 37; ++c) {
      const double v = x.data<float>()[i * 37 + c];
      plain[rows[i] * 37 + c] += v;
      weighted[rows[i] * 37 + c] += weights.data<float>()[i] * v;
    }
  }
  Context ctx;
  // Targets 21 and 22 get nothing and are zero.
  EXPECT_TRUE(
      Near(CombineRows(ctx, AsColumns(x), rows, weights, 23), weighted, 1e-6));
  EXPECT_TRUE(Near(CombineRows(ctx, x, rows, Tensor(), 23), plain, 1e-6));
  ExpectSameBitsOnAnyThreads(ctx, [&](Context& ctx) {
    return CombineRows(ctx, x, rows, weights, 23);
  });
  ExpectGradients(ctx, {x, weights}, {},
                  [&](Context& ctx, const std::vector<Tensor>& in) {
                    return CombineRows(ctx, in[0], rows, in[1], 23);
                  });
  ExpectGradients(ctx, {x}, {},
                  [&](Context& ctx, const std::vector<Tensor>& in) {
                    return CombineRows(ctx, in[0], rows, Tensor(), 23);
                  });
}

TEST(CombineRowsTest, RefusesWrongShapes) {
  Context ctx;
  const Tensor x = Tensor::Zeros({2, 3});
  const std::vector<int32_t> rows = {0, 1};
  EXPECT_THROW(CombineRows(ctx, x, rows, Tensor::Zeros({3}), 2), CheckError);
  EXPECT_THROW(CombineRows(ctx, x, rows, Tensor(), 1), CheckError);
  EXPECT_THROW(CombineRows(ctx, x, std::vector<int32_t>{0}, Tensor(), 2),
               CheckError);
}

TEST(LargestOfRowsTest, TheFirstOfEqualsAndNoneOfARowThatIsNotFinite) {
  Context ctx;
  const float nan = std::nanf("");
  const std::vector<float> values = {1, 7, 7,   2, -3, -2, -2, -9,  //
                                     4, 0, nan, 1, 5,  1,  0,  INFINITY};
  const Tensor x = Tensor::From<float>(values, {4, 4});
  EXPECT_EQ(LargestOfRows(ctx, x), (std::vector<int32_t>{1, 1, -1, -1}));
}

}  // namespace
}  // namespace intarsia
