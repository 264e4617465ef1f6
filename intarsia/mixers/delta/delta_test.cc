#include "intarsia/mixers/delta/delta.h"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

namespace intarsia {
namespace {

Tensor Normal(const Shape& shape, Random* random) {
  Tensor t = Tensor::Empty(shape);
  for (int64_t i = 0; i < t.numel(); ++i) {
    t.mutable_data<float>()[i] = random->NextNormal();
  }
  return t;
}

// [T, H] → [T, H, C] of equal channels.
Tensor Spread(const Tensor& x, int64_t channels) {
  Tensor y = Tensor::Empty({x.dim(0), x.dim(1), channels});
  for (int64_t i = 0; i < y.numel(); ++i) {
    y.mutable_data<float>()[i] = x.data<float>()[i / channels];
  }
  return y;
}

struct Problem {
  ThreadPool pool{1};
  Batch batch = Batch::OfLengths(std::vector<int32_t>{40, 3});
  Context ctx;
  Tensor q, k, v, beta, decay;
  DeltaRuleOptions options;

  Problem() {
    ctx.batch = &batch;
    ctx.pool = &pool;
    Random random(7);
    q = Normal({43, 2, 6}, &random);
    k = Scale(ctx, Normal({43, 2, 6}, &random), 0.4f);
    v = Normal({43, 2, 5}, &random);
    beta = Activate(ctx, Activation::kSigmoid, Normal({43, 2}, &random));
    decay = Scale(
        ctx, Activate(ctx, Activation::kSoftplus, Normal({43, 2}, &random)),
        -0.3f);
  }
  Tensor Run(const DeltaGates& gates) {
    return DeltaCore(ctx, q, k, v, gates, Tensor(), options).out;
  }
};

double Distance(const Tensor& a, const Tensor& b) {
  double worst = 0;
  for (int64_t i = 0; i < a.numel(); ++i) {
    worst = std::max<double>(worst,
                             std::abs(a.data<float>()[i] - b.data<float>()[i]));
  }
  return worst;
}

// Equal channels are one gate a head: KDA is gated delta, GDN-2 is KDA.
TEST(Delta, GatesByChannelThatAreEqualAreGatesByHead) {
  Problem p;
  const DeltaGates by_head = {
      .beta = p.beta, .write = Tensor(), .log_decay = p.decay};
  const Tensor want = p.Run(by_head);
  DeltaGates kda = by_head;
  kda.log_decay = Spread(p.decay, 6);
  EXPECT_LT(Distance(p.Run(kda), want), 1e-5);
  DeltaGates gdn2 = kda;
  gdn2.beta = Spread(p.beta, 6);
  gdn2.write = Spread(p.beta, 5);
  EXPECT_LT(Distance(p.Run(gdn2), want), 1e-5);
}

// No decay is a decay of 0.
TEST(Delta, DeltaNetIsGatedDeltaThatDoesNotFade) {
  Problem p;
  const DeltaGates none = {
      .beta = p.beta, .write = Tensor(), .log_decay = Tensor()};
  DeltaGates zero = none;
  zero.log_decay = Tensor::Zeros({43, 2});
  EXPECT_LT(Distance(p.Run(none), p.Run(zero)), 1e-6);
}

// With a key of length 1 and beta 1, what is read under the key is what was
// written last.
TEST(Delta, AWriteReplacesWhatStoodUnderTheKey) {
  ThreadPool pool(1);
  const Batch batch = Batch::OfLengths(std::vector<int32_t>{2});
  Context ctx;
  ctx.batch = &batch;
  ctx.pool = &pool;
  const Tensor key =
      Tensor::From(std::vector<float>{0.6f, 0.8f, 0.6f, 0.8f}, {2, 1, 2});
  const Tensor v = Tensor::From(std::vector<float>{5, 7}, {2, 1, 1});
  const Tensor state = Tensor::From(std::vector<float>{3, -1}, {1, 1, 2, 1});
  const DeltaGates gates = {
      .beta = Tensor::Full({2, 1}, 1.0f), .write = {}, .log_decay = {}};
  const DeltaRuleResult r =
      DeltaCore(ctx, key, key, v, gates, state, DeltaRuleOptions());
  EXPECT_FLOAT_EQ(r.out.data<float>()[0], 5);
  EXPECT_FLOAT_EQ(r.out.data<float>()[1], 7);
  // What stood across the key, (0.8, −0.6) · (3, −1) = 3, is still there.
  EXPECT_FLOAT_EQ(
      0.8f * r.state.data<float>()[0] - 0.6f * r.state.data<float>()[1], 3);
}

TEST(Delta, ConfigurationsAreChecked) {
  const auto message = [](const char* more) {
    const std::string text =
        std::string(R"({"heads": 4, "key_dim": 8, "value_dim": 8)") + more +
        "}";
    const auto parsed =
        ParseFields<DeltaConfig>(Json::parse(text), "delta", {.dim = 16});
    return parsed.ok() ? std::string() : parsed.status().message();
  };
  EXPECT_EQ(message(""), "");
  EXPECT_NE(message(R"(, "key_heads": 3)").find("multiple of \"key_heads\""),
            std::string::npos);
  EXPECT_NE(message(R"(, "conv_width": 1)").find("0 or at least 2"),
            std::string::npos);
  EXPECT_NE(message(R"(, "decay": "row")").find("\"decay\" must be"),
            std::string::npos);
  EXPECT_NE(message(R"(, "erase": "none")").find("\"erase\" must be"),
            std::string::npos);
  EXPECT_NE(message(R"(, "decay_floor": 5)").find("must be negative"),
            std::string::npos);
  EXPECT_NE(message(R"(, "decay": "none", "decay_rank": 4)").find("is none"),
            std::string::npos);
  EXPECT_NE(message(R"(, "gate": false, "gate_rank": 4)").find("without a"),
            std::string::npos);
}

TEST(Delta, WeightsAndStateFollowTheConfiguration) {
  const auto mixer = CreateDelta(
      Json::parse(R"({"heads": 4, "key_heads": 2, "key_dim": 3, "value_dim": 5,
                      "decay": "channel", "decay_rank": 7, "gate_rank": 6})"),
      10);
  ASSERT_TRUE(mixer.ok()) << mixer.status().message();
  std::vector<std::string> names;
  for (const WeightSpec& spec : mixer.value()->weights()) {
    names.push_back(spec.name + spec.shape.ToString());
  }
  EXPECT_EQ(names, (std::vector<std::string>{
                       "q_proj[6, 10]", "k_proj[6, 10]", "v_proj[20, 10]",
                       "conv_q[6, 4]", "conv_k[6, 4]", "conv_v[20, 4]",
                       "beta_proj[4, 10]", "decay_a[7, 10]", "decay_b[12, 7]",
                       "dt_bias[12]", "A_log[4]", "gate_a[6, 10]",
                       "gate_b[20, 6]", "norm[5]", "o_proj[10, 20]"}));
  EXPECT_EQ(mixer.value()->state().at(2).shape, Shape({20, 3}));
  EXPECT_EQ(mixer.value()->state().at(3).shape, Shape({4, 3, 5}));
}

}  // namespace
}  // namespace intarsia
