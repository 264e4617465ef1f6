#include "intarsia/ops/elementwise/elementwise.h"

#include "intarsia/core/json_fields.h"

#include <limits>
#include <nlohmann/json.hpp>

#include "intarsia/autograd/fused.h"
#include "intarsia/ops/common/testing.h"

namespace intarsia {
namespace {

using testing::AsColumns;
using testing::BitwiseEqual;
using testing::ExpectGradients;
using testing::ExpectRowsIndependent;
using testing::ExpectSameBitsOnAnyThreads;
using testing::Near;
using testing::Poisoned;
using testing::RandomTensor;

constexpr Activation kAll[] = {Activation::kNone,      Activation::kSilu,
                               Activation::kGelu,      Activation::kGeluTanh,
                               Activation::kQuickGelu, Activation::kRelu,
                               Activation::kRelu2,     Activation::kSigmoid,
                               Activation::kSoftplus,  Activation::kTanh};

TEST(ActivateTest, IsWithinAFewUlpsOfTheFormula) {
  const Poisoned poisoned;
  std::vector<float> grid;
  for (int i = -30000; i <= 30000; ++i) grid.push_back(i * 0.003f + 1e-4f);
  for (float tiny : {0.0f, 1e-30f, -1e-30f, 1e-8f, -1e-8f}) {
    grid.push_back(tiny);
  }
  const Tensor x = Tensor::From(grid, {static_cast<int64_t>(grid.size())});
  Context ctx;
  for (Activation kind : kAll) {
    const std::vector<float> y = Activate(ctx, kind, x).ToVector<float>();
    // In GELU's left tail the exponent's rounding shows, by up to x² ulps of a
    // value that vanishes faster.
    const bool curved =
        kind == Activation::kGelu || kind == Activation::kGeluTanh;
    const double tail = curved ? 3e-7 : 0;
    // Of x σ(1.702 x) both 1.702 and its product with x are rounded, each by
    // half an ulp of the exponent.
    const double slope = kind == Activation::kQuickGelu ? 1.702 * 1.2e-7 : 0;
    for (size_t i = 0; i < grid.size(); ++i) {
      const double expected = ReferenceActivation(kind, grid[i]);
      const double left = std::abs(std::min(grid[i], 0.0f));
      ASSERT_NEAR(
          y[i], expected,
          (4e-7 + slope * left + tail * left * left) * std::abs(expected) +
              1e-35)
          << static_cast<int>(kind) << " at " << grid[i];
    }
  }
}

TEST(ClampTest, StopsAtItsEndsWithGradients) {
  Context ctx;
  const Tensor x = Tensor::From<float>({-3, -0.5f, 0.25f, 2, 9, 1}, {2, 3});
  EXPECT_EQ(Clamp(ctx, x, -1, 2.5f, 1).ToVector<float>(),
            (std::vector<float>{0, 0.5f, 1.25f, 3, 3.5f, 2}));
  ExpectGradients(ctx, {x}, {},
                  [](Context& ctx, const std::vector<Tensor>& in) {
                    return Clamp(ctx, in[0], -1.0f, 2.5f, 1.0f);
                  });
}

TEST(SoftCapTest, IsTheFormulaWithGradients) {
  Random random(9);
  const Tensor x = RandomTensor(random, {5, 33}, 6.0f);
  Context ctx;
  const std::vector<float> in = x.ToVector<float>();
  const std::vector<float> y = SoftCap(ctx, x, 4.0f).ToVector<float>();
  for (size_t i = 0; i < in.size(); ++i) {
    const double want = 4.0 * std::tanh(in[i] / 4.0);
    EXPECT_NEAR(y[i], want, 1e-6 * std::abs(want)) << in[i];
  }
  ExpectGradients(Context(), {x}, {},
                  [](Context& ctx, const std::vector<Tensor>& in) {
                    return SoftCap(ctx, in[0], 4.0f);
                  });
}

// The fast forms against their compositions, and the gradient of one that has
// its own against the composition's.
TEST(FusedTest, FastFormsAreTheirCompositions) {
  Random random(10);
  const Tensor a = RandomTensor(random, {5, 2100}, 3.0f);
  const Tensor b = RandomTensor(random, {5, 2100}, 1.0f);
  Context ctx;
  FusedAudit audit;
  SoftCap(ctx, a, 2.5f);
  for (Activation kind : kAll) GatedActivation(ctx, kind, a, b);
  EXPECT_EQ(audit.differences().size(), 2u);
  EXPECT_EQ(audit.differences().at("soft_cap"), 0.0);
  EXPECT_LE(audit.differences().at("gated_activation"), 1e-6);
}

TEST(FusedTest, GradientsOfGatedActivationAreTheCompositions) {
  Random random(11);
  const Tensor a = RandomTensor(random, {3, 70}, 2.0f);
  const Tensor b = RandomTensor(random, {3, 70}, 1.0f);
  const Tensor seed = RandomTensor(random, {3, 70}, 1.0f);
  for (Activation kind : kAll) {
    std::vector<std::vector<float>> fused, composed;
    for (auto* gradients : {&fused, &composed}) {
      Context ctx;
      Tape tape;
      ctx.tape = &tape;
      Tensor gate = a.Clone(), up = b.Clone();
      tape.Watch(&gate);
      tape.Watch(&up);
      const Tensor y = gradients == &fused
                           ? GatedActivation(ctx, kind, gate, up)
                           : Mul(ctx, Activate(ctx, kind, gate), up);
      tape.Backward(ctx, y, seed);
      for (const Tensor& x : {gate, up}) {
        gradients->push_back(tape.Gradient(x).ToVector<float>());
      }
    }
    for (size_t i = 0; i < fused.size(); ++i) {
      for (size_t j = 0; j < fused[i].size(); ++j) {
        EXPECT_NEAR(fused[i][j], composed[i][j], 1e-5)
            << static_cast<int>(kind);
      }
    }
  }
}

TEST(ActivateTest, KeepsNaNAndLimits) {
  const float inf = std::numeric_limits<float>::infinity();
  const Tensor x =
      Tensor::From(std::vector<float>{NAN, inf, -1e30f, 1e30f}, {4});
  Context ctx;
  for (Activation kind : kAll) {
    const std::vector<float> y = Activate(ctx, kind, x).ToVector<float>();
    EXPECT_TRUE(std::isnan(y[0])) << static_cast<int>(kind);
    if (kind == Activation::kTanh) {
      EXPECT_EQ(y[1], 1.0f);
      EXPECT_EQ(y[2], -1.0f);
      EXPECT_EQ(y[3], 1.0f);
      continue;
    }
    if (kind == Activation::kSigmoid) {
      EXPECT_EQ(y[1], 1.0f);
    } else {
      EXPECT_EQ(y[1], inf);
      EXPECT_EQ(y[3], kind == Activation::kRelu2 ? inf : 1e30f);
    }
    EXPECT_EQ(y[2], kind == Activation::kNone ? -1e30f : 0.0f);
  }
}

TEST(ActivateTest, GradientsOfAll) {
  Random random(1);
  for (Activation kind : kAll) {
    // Away from the corner of the rectifiers.
    Tensor x = RandomTensor(random, {7, 37}, 2.0f);
    for (int64_t i = 0; i < x.numel(); ++i) {
      float& v = x.mutable_data<float>()[i];
      if (std::abs(v) < 0.2f) v = v < 0 ? -0.2f : 0.2f;
    }
    ExpectGradients(Context(), {x}, {},
                    [&](Context& ctx, const std::vector<Tensor>& in) {
                      return Activate(ctx, kind, in[0]);
                    });
    ExpectGradients(Context(), {x, RandomTensor(random, {7, 37})}, {},
                    [&](Context& ctx, const std::vector<Tensor>& in) {
                      return GatedActivation(ctx, kind, in[0], in[1]);
                    });
  }
}

TEST(GatedActivationTest, EqualsTheFormulaOnColumnSlices) {
  const Poisoned poisoned;
  Random random(2);
  const Tensor both = RandomTensor(random, {5, 66});
  const Tensor gate = both.Slice(1, 0, 33), up = both.Slice(1, 33, 66);
  Context ctx;
  for (Activation kind : kAll) {
    const Tensor y = GatedActivation(ctx, kind, gate, up);
    std::vector<double> expected;
    for (int64_t t = 0; t < 5; ++t) {
      for (int64_t i = 0; i < 33; ++i) {
        expected.push_back(
            ReferenceActivation(kind, both.data<float>()[t * 66 + i]) *
            both.data<float>()[t * 66 + 33 + i]);
      }
    }
    EXPECT_TRUE(Near(y, expected, 1e-6));
    // The layout does not change the bits.
    EXPECT_TRUE(
        BitwiseEqual(GatedActivation(ctx, kind, gate.Clone(), up.Clone()), y));
  }
}

TEST(ElementwiseTest, RowsAndThreadsDoNotChangeTheBits) {
  Random random(3);
  const Tensor x = RandomTensor(random, {41, 517});
  Context ctx;
  ExpectRowsIndependent(x, [&](const Tensor& rows) {
    return GatedActivation(ctx, Activation::kSilu, rows, rows);
  });
  ExpectSameBitsOnAnyThreads(ctx, [&](Context& ctx) {
    const Tensor sum = Add(ctx, x, AsColumns(x));
    const Tensor y = Activate(ctx, Activation::kGelu, Mul(ctx, sum, x));
    return Scale(ctx, y, 0.3f);
  });
}

TEST(ElementwiseTest, AddMulScale) {
  const Poisoned poisoned;
  Random random(4);
  const Tensor a = RandomTensor(random, {3, 19}),
               b = RandomTensor(random, {3, 19});
  Context ctx;
  std::vector<double> sum, product, scaled;
  for (int64_t i = 0; i < a.numel(); ++i) {
    const double x = a.data<float>()[i], y = b.data<float>()[i];
    sum.push_back(x + y);
    product.push_back(x * y);
    scaled.push_back(-0.7 * x);
  }
  EXPECT_TRUE(Near(Add(ctx, AsColumns(a), b), sum, 1e-6));
  EXPECT_TRUE(Near(Mul(ctx, a, AsColumns(b)), product, 1e-6));
  EXPECT_TRUE(Near(Scale(ctx, AsColumns(a), -0.7f), scaled, 1e-6));
  EXPECT_THROW(Add(ctx, a, b.Slice(0, 0, 2)), CheckError);
  ExpectGradients(ctx, {a, b}, {},
                  [](Context& ctx, const std::vector<Tensor>& in) {
                    const Tensor sum = Add(ctx, in[0], in[1]);
                    return Scale(ctx, Mul(ctx, sum, in[0]), 1.5f);
                  });
}

TEST(ElementwiseTest, ViewsShareAndCarryGradients) {
  Random random(5);
  const Tensor x = RandomTensor(random, {6, 10});
  Context ctx;
  const Tensor view = SliceView(ctx, x, 1, 2, 7);
  EXPECT_EQ(view.storage(), x.storage());
  EXPECT_EQ(ReshapeView(ctx, x, {6, 2, 5}).storage(), x.storage());
  EXPECT_TRUE(
      BitwiseEqual(ReshapeView(ctx, view, {30}), view.Clone().Reshape({30})));
  ExpectGradients(
      ctx, {x}, {}, [](Context& ctx, const std::vector<Tensor>& in) {
        const Tensor left = SliceView(ctx, in[0], 1, 0, 4);
        const Tensor right = SliceView(ctx, in[0], 1, 3, 7);
        const Tensor rows = SliceView(ctx, in[0], 0, 1, 3);
        const Tensor inner = SliceView(ctx, left, -1, 1, 3);
        const Tensor nested = SliceView(ctx, inner, 0, 1, 5);
        const Tensor corner = SliceView(ctx, right, 0, 2, 6);
        const Tensor y = Mul(ctx, left, right);
        const Tensor z =
            Mul(ctx, SliceView(ctx, ReshapeView(ctx, y, {24}), 0, 1, 21),
                ReshapeView(ctx, rows, {20}));
        return Mul(
            ctx, SliceView(ctx, z, 0, 3, 11),
            ReshapeView(ctx, Mul(ctx, nested, SliceView(ctx, corner, 1, 2, 4)),
                        {8}));
      });
}

struct Activated {
  Activation activation = Activation::kSilu;
  void Visit(Fields& f) {
    f.ChoiceOr("activation", &activation, ActivationNames());
  }
};

TEST(ActivationNamesTest, HaveAliasesAndExplainOthers) {
  const auto parse = [](const char* name) {
    return ParseFields<Activated>({{"activation", name}}, "glu");
  };
  EXPECT_EQ(parse("swish")->activation, Activation::kSilu);
  EXPECT_EQ(parse("gelu_pytorch_tanh")->activation, Activation::kGeluTanh);
  const auto bad = parse("silo");
  ASSERT_FALSE(bad.ok());
  EXPECT_EQ(bad.status().message().find(
                "[glu] \"activation\" must be \"none\", \"identity\", "),
            0u)
      << bad.status().message();
  EXPECT_NE(bad.status().message().find("got \"silo\""), std::string::npos);
}

}  // namespace
}  // namespace intarsia
