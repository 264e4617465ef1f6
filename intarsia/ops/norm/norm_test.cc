#include "intarsia/ops/norm/norm.h"

#include "intarsia/core/json_fields.h"

#include <nlohmann/json.hpp>

#include "intarsia/autograd/fused.h"
#include "intarsia/ops/common/testing.h"

namespace intarsia {
namespace {

using testing::AsColumns;
using testing::ExpectGradients;
using testing::ExpectRowsIndependent;
using testing::ExpectSameBitsOnAnyThreads;
using testing::Near;
using testing::Poisoned;
using testing::RandomTensor;
using testing::RandomWeight;

// Rows of dim channels; channel c of row r uses entry (r mod groups) · dim + c
// of scale and bias.
std::vector<double> Plain(const Tensor& x, int64_t dim, const Weight* scale,
                          const Weight* bias, double eps, double offset,
                          bool center) {
  const std::vector<float> v = x.ToVector<float>();
  std::vector<double> y(v.size());
  for (size_t r = 0; r < v.size() / dim; ++r) {
    double mean = 0, square = 0;
    for (int64_t c = 0; center && c < dim; ++c) mean += v[r * dim + c];
    mean /= static_cast<double>(dim);
    for (int64_t c = 0; c < dim; ++c) {
      square += (v[r * dim + c] - mean) * (v[r * dim + c] - mean);
    }
    const double factor =
        1 / std::sqrt(square / static_cast<double>(dim) + eps);
    for (int64_t c = 0; c < dim; ++c) {
      const auto at = [&](const Weight* w, double absent) {
        if (w == nullptr) return absent;
        return double{w->f32()[(r * dim + c) % w->shape().numel()]};
      };
      y[r * dim + c] =
          (v[r * dim + c] - mean) * factor * (at(scale, 1 - offset) + offset) +
          at(bias, 0);
    }
  }
  return y;
}

TEST(RmsNormTest, EqualsTheDefinition) {
  const Poisoned poisoned;
  Random random(1);
  ThreadPool pool(2);
  Context ctx;
  ctx.pool = &pool;
  for (int64_t dim : {1, 7, 32, 64, 129, 1000}) {
    const Tensor x = RandomTensor(random, {9, dim}, 3.0f);
    const Weight scale = RandomWeight(random, "norm", {dim});
    EXPECT_TRUE(Near(RmsNorm(ctx, x, &scale, 1e-5f),
                     Plain(x, dim, &scale, nullptr, 1e-5, 0, false), 1e-6));
    EXPECT_TRUE(Near(RmsNorm(ctx, AsColumns(x), &scale, 1e-5f, true),
                     Plain(x, dim, &scale, nullptr, 1e-5, 1, false), 1e-6));
    EXPECT_TRUE(Near(RmsNorm(ctx, x, nullptr, 1e-5f),
                     Plain(x, dim, nullptr, nullptr, 1e-5, 0, false), 1e-6));
  }
}

TEST(RmsNormTest, ScalesOfGroups) {
  const Poisoned poisoned;
  Random random(2);
  Context ctx;
  const Tensor x = RandomTensor(random, {5, 3, 10});
  const Weight each = RandomWeight(random, "each", {30});
  const Weight shared = RandomWeight(random, "shared", {10});
  EXPECT_TRUE(Near(RmsNorm(ctx, x, &each, 1e-5f),
                   Plain(x, 10, &each, nullptr, 1e-5, 0, false), 1e-6));
  EXPECT_TRUE(Near(RmsNorm(ctx, AsColumns(x), &shared, 1e-5f),
                   Plain(x, 10, &shared, nullptr, 1e-5, 0, false), 1e-6));
  const Weight wrong = RandomWeight(random, "wrong", {20});
  EXPECT_THROW(RmsNorm(ctx, x, &wrong, 1e-5f), CheckError);
}

TEST(LayerNormTest, EqualsTheDefinition) {
  const Poisoned poisoned;
  Random random(3);
  Context ctx;
  for (int64_t dim : {1, 7, 64, 130, 1000}) {
    Tensor x = RandomTensor(random, {6, dim});
    for (int64_t i = 0; i < x.numel(); ++i) x.mutable_data<float>()[i] += 4;
    const Weight scale = RandomWeight(random, "norm", {dim});
    const Weight bias = RandomWeight(random, "bias", {dim});
    EXPECT_TRUE(Near(LayerNorm(ctx, AsColumns(x), &scale, &bias, 1e-5f),
                     Plain(x, dim, &scale, &bias, 1e-5, 0, true), 3e-6));
    EXPECT_TRUE(Near(LayerNorm(ctx, x, nullptr, nullptr, 1e-5f),
                     Plain(x, dim, nullptr, nullptr, 1e-5, 0, true), 3e-6));
  }
  const Tensor x = RandomTensor(random, {6, 4, 8});
  const Weight scale = RandomWeight(random, "group", {32});
  const Weight bias = RandomWeight(random, "group_bias", {32});
  EXPECT_TRUE(Near(LayerNorm(ctx, x, &scale, &bias, 1e-5f),
                   Plain(x, 8, &scale, &bias, 1e-5, 0, true), 3e-6));
}

TEST(NormTest, RowsAndThreadsDoNotChangeTheBits) {
  Random random(4);
  const Tensor x = RandomTensor(random, {67, 530});
  const Weight scale = RandomWeight(random, "norm", {530});
  const Weight bias = RandomWeight(random, "bias", {530});
  for (bool layer : {false, true}) {
    const auto run = [&](Context& ctx, const Tensor& x) {
      return layer ? LayerNorm(ctx, x, &scale, &bias, 1e-6f)
                   : RmsNorm(ctx, x, &scale, 1e-6f);
    };
    Context ctx;
    ExpectRowsIndependent(x,
                          [&](const Tensor& rows) { return run(ctx, rows); });
    ExpectSameBitsOnAnyThreads(ctx, [&](Context& ctx) { return run(ctx, x); });
  }
}

TEST(NormTest, Gradients) {
  Random random(5);
  Weight scale = RandomWeight(random, "norm", {37});
  Weight bias = RandomWeight(random, "bias", {37});
  const Tensor x = RandomTensor(random, {11, 37}, 2.0f);
  for (bool offset : {false, true}) {
    ExpectGradients(Context(), {x}, {&scale},
                    [&](Context& ctx, const std::vector<Tensor>& in) {
                      return RmsNorm(ctx, in[0], &scale, 1e-5f, offset);
                    });
  }
  ExpectGradients(Context(), {x}, {&scale, &bias},
                  [&](Context& ctx, const std::vector<Tensor>& in) {
                    return LayerNorm(ctx, in[0], &scale, &bias, 1e-5f);
                  });
}

TEST(NormTest, GradientsOfGroups) {
  Random random(6);
  Weight scale = RandomWeight(random, "norm", {90});
  Weight bias = RandomWeight(random, "bias", {90});
  const Tensor x = RandomTensor(random, {4, 5, 18});
  ExpectGradients(Context(), {x}, {&scale},
                  [&](Context& ctx, const std::vector<Tensor>& in) {
                    return RmsNorm(ctx, in[0], &scale, 1e-5f);
                  });
  ExpectGradients(Context(), {x}, {&scale, &bias},
                  [&](Context& ctx, const std::vector<Tensor>& in) {
                    return LayerNorm(ctx, in[0], &scale, &bias, 1e-5f);
                  });
}

TEST(NormConfigTest, ParsesAndApplies) {
  Random random(7);
  Context ctx;
  const Tensor x = RandomTensor(random, {3, 16});
  const auto parse = [](const char* text) -> Result<NormConfig> {
    NormConfig config;
    RETURN_IF_ERROR(ReadFields(
        nlohmann::json::parse(text), "attention",
        [&](Fields& f) { config.Visit(f); }, "norm"));
    return config;
  };
  for (const char* text :
       {R"({})", R"({"type": "layer", "eps": 1e-5})", R"({"type": "none"})",
        R"({"affine": false})", R"({"type": "layer", "affine": false})",
        R"({"unit_offset": true})"}) {
    const Result<NormConfig> config = parse(text);
    ASSERT_TRUE(config.ok()) << config.status().message();
    std::vector<Weight> weights;
    for (const WeightSpec& spec : NormWeights(*config, "norm", 16)) {
      weights.push_back(
          Weight::F32(spec, Tensor::Full(spec.shape, spec.init.a)));
    }
    std::vector<const Weight*> handles;
    for (const Weight& w : weights) handles.push_back(&w);
    // Freshly initialised weights change nothing.
    const Tensor y = ApplyNorm(ctx, *config, x, handles);
    const bool layer = config->kind == NormConfig::Kind::kLayer;
    if (config->kind == NormConfig::Kind::kNone) {
      EXPECT_EQ(y.storage(), x.storage());
    } else {
      EXPECT_TRUE(
          Near(y, Plain(x, 16, nullptr, nullptr, config->eps, 0, layer), 1e-6))
          << text;
    }
  }
  const auto message = [&](const char* text) {
    const Result<NormConfig> config = parse(text);
    return config.ok() ? "" : config.status().message();
  };
  EXPECT_EQ(message(R"({"type": "batch"})"),
            "[attention] \"norm.type\" must be \"rms\", \"layer\" or \"none\", "
            "got \"batch\"");
  EXPECT_EQ(message(R"({"eps": "1e-6"})"),
            "[attention] \"norm.eps\" must be a finite number, got \"1e-6\"");
  EXPECT_EQ(
      message(R"({"epsilon": 1e-6})"),
      "[attention] unknown field \"norm.epsilon\"; there are affine, bias, "
      "eps, type, unit_offset");
  EXPECT_EQ(message("3"), "[attention] \"norm\" must be an object, got 3");
}

TEST(GatedRmsNormTest, IsItsCompositionToTheBitWithGradients) {
  const Poisoned poisoned;
  Random random(21);
  ThreadPool pool(2);
  Context ctx;
  ctx.pool = &pool;
  const Tensor x = RandomTensor(random, {7, 36}, 2.0f);
  const Tensor gate = RandomTensor(random, {7, 36}, 1.0f);
  Weight whole = RandomWeight(random, "norm", {36});
  Weight part = RandomWeight(random, "norm", {9});
  for (Weight* scale : std::vector<Weight*>{&whole, &part, nullptr}) {
    const std::vector<Weight*> weights(scale == nullptr ? 0 : 1, scale);
    for (const bool norm_first : {false, true}) {
      for (const bool unit_offset : {false, scale != nullptr}) {
        const GatedNormOptions options = {.activation = Activation::kGelu,
                                          .eps = 1e-4f,
                                          .unit_offset = unit_offset,
                                          .groups = 4,
                                          .norm_first = norm_first};
        FusedAudit audit;
        GatedRmsNorm(ctx, AsColumns(x), AsColumns(gate), scale, options);
        EXPECT_EQ(audit.differences().at("gated_rms_norm"), 0.0);
        ExpectGradients(ctx, {x, gate}, weights,
                        [&](Context& ctx, const std::vector<Tensor>& in) {
                          return GatedRmsNorm(ctx, in[0], in[1], scale,
                                              options);
                        });
      }
    }
  }
}

// Against the equation itself: the norm of silu(z) x over all channels.
TEST(GatedRmsNormTest, EqualsTheDefinition) {
  Random random(22);
  const Tensor x = RandomTensor(random, {3, 50}, 2.0f);
  const Tensor gate = RandomTensor(random, {3, 50}, 1.0f);
  const Weight scale = RandomWeight(random, "norm", {50});
  Tensor gated = Tensor::Empty(x.shape());
  for (int64_t i = 0; i < x.numel(); ++i) {
    gated.mutable_data<float>()[i] = static_cast<float>(
        x.data<float>()[i] *
        ReferenceActivation(Activation::kSilu, gate.data<float>()[i]));
  }
  Context ctx;
  EXPECT_TRUE(Near(GatedRmsNorm(ctx, x, gate, &scale, {}),
                   Plain(gated, 50, &scale, nullptr, 1e-5, 0, false), 1e-5));
}

}  // namespace
}  // namespace intarsia
