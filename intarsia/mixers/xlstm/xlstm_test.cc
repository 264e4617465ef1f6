#include "intarsia/mixers/xlstm/xlstm.h"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "intarsia/mixers/mixer_testing.h"

namespace intarsia {
namespace {

using testing::ExpectRefused;

struct XlstmTest : public ::testing::Test {
  XlstmTest() {
    ctx.batch = &batch;
    ctx.pool = &pool;
  }
  ThreadPool pool{1};
  Batch batch = Batch::OfLengths(std::vector<int32_t>{2});
  Context ctx;
};

// One head of one channel. The floor follows the larger of what is left of the
// past and the new gate; the first token has a past of zero.
TEST_F(XlstmTest, GatesByHand) {
  const Tensor i = Tensor::From<float>({-1.0f, 0.5f}, {2, 1});
  const Tensor f = Tensor::From<float>({0.0f, 2.0f}, {2, 1});
  const Tensor v = Tensor::From<float>({3.0f, -4.0f}, {2, 1, 1});
  Tensor m = Tensor::Zeros({1, 1});
  const XlstmGates gates = OpenGates(ctx, i, f, v, 0.01f, &m);
  const double first = -std::log(2.0);  // > −1
  EXPECT_NEAR(gates.log_decay.data<float>()[0], first, 1e-6);
  EXPECT_NEAR(gates.value.data<float>()[0], 3 * std::exp(-1.0), 1e-6);
  EXPECT_NEAR(gates.value.data<float>()[1], std::exp(-1.0), 1e-6);
  EXPECT_NEAR(gates.value.data<float>()[2], -4 * std::exp(0.5), 1e-5);
  EXPECT_NEAR(gates.floor.data<float>()[0], 0.01 * 0.5, 1e-7);
  EXPECT_NEAR(gates.floor.data<float>()[1], 0.01 * std::exp(0.5), 1e-7);
  EXPECT_FLOAT_EQ(m.data<float>()[0], 0.5f);
}

TEST_F(XlstmTest, SmallSumsAreDividedByOne) {
  const Tensor sums = Tensor::From<float>({6, 0.5f, 6, -3}, {2, 1, 2});
  const Tensor floor = Tensor::From<float>({0, 1}, {2, 1});
  const Tensor y = DivideSums(ctx, sums, floor);
  EXPECT_FLOAT_EQ(y.data<float>()[0], 6.0f);
  EXPECT_FLOAT_EQ(y.data<float>()[1], 1.5f);
}

TEST_F(XlstmTest, ConfigurationsAreChecked) {
  ExpectRefused(CreateXlstm, R"({"key_dim": 4, "value_dim": 4})", "\"heads\"");
  ExpectRefused(CreateXlstm,
                R"({"heads": 2, "key_dim": 4, "value_dim": 4,
                    "gate_softcap": 0})",
                "\"gate_softcap\"");
  const auto mixer = CreateXlstm(
      Json::parse(R"({"heads": 2, "key_dim": 4, "value_dim": 6})"), 10);
  ASSERT_TRUE(mixer.ok()) << mixer.status().message();
  EXPECT_EQ(mixer.value()->state().at(0).shape, Shape({2, 4, 7}));
  EXPECT_EQ(mixer.value()->state().at(1).shape, Shape({2}));
}

}  // namespace
}  // namespace intarsia
