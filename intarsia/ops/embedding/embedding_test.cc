#include "intarsia/ops/embedding/embedding.h"

#include "intarsia/ops/common/testing.h"

namespace intarsia {
namespace {

using testing::BitwiseEqual;
using testing::ExpectGradients;
using testing::ExpectSameBitsOnAnyThreads;
using testing::Poisoned;
using testing::RandomWeight;

TEST(EmbeddingTest, GathersRowsOfAnyFormat) {
  const Poisoned poisoned;
  Random random(1);
  ThreadPool pool(2);
  const std::vector<int32_t> ids = {3, 0, 16, 3, 3, 9};
  for (const Format* format : AllFormats()) {
    const int64_t k = format->WholeBlocks(96);
    Weight table = RandomWeight(random, "embedding", {17, k});
    table.set_values(format, format->Quantize(pool, table.values()));
    const Tensor plain = format->Dequantize(pool, table.values(), k);
    Context ctx;
    const Tensor y = Embedding(ctx, table, ids);
    EXPECT_EQ(y.shape(), Shape({6, k}));
    for (size_t i = 0; i < ids.size(); ++i) {
      EXPECT_TRUE(BitwiseEqual(y.Select(0, static_cast<int64_t>(i)).Clone(),
                               plain.Select(0, ids[i]).Clone()))
          << format->name();
    }
    ExpectSameBitsOnAnyThreads(
        ctx, [&](Context& ctx) { return Embedding(ctx, table, ids); });
  }
}

TEST(EmbeddingTest, GradientOfRepeatedRows) {
  Random random(2);
  Weight table = RandomWeight(random, "embedding", {11, 70});
  std::vector<int32_t> ids;
  for (int i = 0; i < 40; ++i) {
    ids.push_back(static_cast<int32_t>(random.NextBelow(9)));
  }
  ExpectGradients(Context(), {}, {&table},
                  [&](Context& ctx, const std::vector<Tensor>&) {
                    return Embedding(ctx, table, ids);
                  });
}

TEST(EmbeddingTest, RefusesIdsOutsideTheTable) {
  Random random(3);
  const Weight table = RandomWeight(random, "embedding", {11, 4});
  Context ctx;
  EXPECT_THROW(Embedding(ctx, table, std::vector<int32_t>{11}), CheckError);
  EXPECT_THROW(Embedding(ctx, table, std::vector<int32_t>{-1}), CheckError);
  EXPECT_EQ(Embedding(ctx, table, {}).shape(), Shape({0, 4}));
}

}  // namespace
}  // namespace intarsia
