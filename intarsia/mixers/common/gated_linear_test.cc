#include "intarsia/mixers/common/gated_linear.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "intarsia/autograd/tape.h"

namespace intarsia {
namespace {

using Doubles = std::vector<double>;

struct Problem {
  GatedLinearDims dims;
  GatedLinearOptions options;
  Batch batch;
  Tensor q, k, v, a, state;  // state [N, H, K, V] whatever the layout

  Problem(GatedLinearDims d, std::vector<int32_t> lengths, float strongest,
          uint64_t seed = 1)
      : dims(d), batch(Batch::OfLengths(lengths)) {
    options.scale = 0.7f;
    Random random(seed);
    auto normal = [&](const Shape& shape) {
      Tensor t = Tensor::Empty(shape);
      for (int64_t i = 0; i < t.numel(); ++i) {
        t.mutable_data<float>()[i] = random.NextNormal();
      }
      return t;
    };
    const int64_t tokens = batch.size(), segments = batch.segments();
    q = normal({tokens, d.groups, d.key_dim});
    k = normal({tokens, d.groups, d.key_dim});
    v = normal({tokens, d.heads, d.value_dim});
    state = normal({segments, d.heads, d.key_dim, d.value_dim});
    a = Tensor::Empty({tokens, d.heads});
    for (int64_t i = 0; i < a.numel(); ++i) {
      const float u = random.NextUniform();
      a.mutable_data<float>()[i] = -strongest * u * u * u;
    }
  }

  // To and from the layout of the options.
  Tensor Layout(const Tensor& s) const {
    if (!options.value_major) return s;
    const int64_t n = s.dim(0), h = s.dim(1), r = s.dim(2), c = s.dim(3);
    Tensor out = Tensor::Empty({n, h, c, r});
    for (int64_t b = 0; b < n * h; ++b) {
      for (int64_t i = 0; i < r; ++i) {
        for (int64_t j = 0; j < c; ++j) {
          out.mutable_data<float>()[(b * c + j) * r + i] =
              s.data<float>()[(b * r + i) * c + j];
        }
      }
    }
    return out;
  }
};

Doubles Wide(const Tensor& t) {
  const std::vector<float> narrow = t.ToVector<float>();
  return Doubles(narrow.begin(), narrow.end());
}

double Deviation(const Doubles& x) {
  double mean = 0, square = 0;
  for (double value : x) mean += value / x.size();
  for (double value : x) square += (value - mean) * (value - mean) / x.size();
  return std::sqrt(square);
}

// Largest difference over the deviation of `want`.
double Error(const Tensor& got, const Doubles& want) {
  const std::vector<float> values = got.ToVector<float>();
  EXPECT_EQ(values.size(), want.size());
  double worst = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    const double difference = std::abs(values[i] - want[i]);
    if (std::isnan(difference)) return difference;  // a maximum loses it
    worst = std::max(worst, difference);
  }
  return worst / std::max(Deviation(want), 1e-30);
}

bool SameBits(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() &&
         std::memcmp(a.raw(), b.raw(), a.nbytes()) == 0;
}

struct Run {
  ThreadPool pool{2};
  Context ctx;
  Run(const Batch& batch, Form form, int chunk = 0) {
    ctx.batch = &batch;
    ctx.pool = &pool;
    ctx.form = form;
    ctx.chunk = chunk;
  }
};

GatedLinearResult Forward(const Problem& p, Form form, int chunk = 0,
                          bool with_state = true) {
  Run run(p.batch, form, chunk);
  return GatedLinear(run.ctx, p.q, p.k, p.v, p.a,
                     with_state ? p.Layout(p.state) : Tensor(), p.options);
}

TEST(GatedLinearPlan, ChunksLieOnTheGridOfPositions) {
  Batch batch;
  batch.Add(std::vector<int32_t>(10, 0), 5);
  batch.Add(std::vector<int32_t>(1, 0), 3);
  const GatedLinearPlan plan = PlanGatedLinear(batch, Form::kAuto, 4);
  ASSERT_EQ(plan.first, (std::vector<int32_t>{0, 3, 4}));
  const std::vector<int32_t> begins = {0, 3, 7, 10};  // positions 5, 8, 12, 3
  for (size_t c = 0; c < begins.size(); ++c) {
    EXPECT_EQ(plan.chunks[c].begin, begins[c]);
  }
  EXPECT_EQ(plan.longest, 4);
  EXPECT_EQ(PlanGatedLinear(batch, Form::kRecurrent, 4).chunks.size(), 11u);
  EXPECT_EQ(PlanGatedLinear(batch, Form::kParallel, 4).chunks.size(), 2u);
}

// One head of one channel: S_2 = γ S_1 + k v by hand.
TEST(GatedLinear, TwoTokensByHand) {
  ThreadPool pool(1);
  const Batch batch = Batch::OfLengths(std::vector<int32_t>{2});
  Context ctx;
  ctx.batch = &batch;
  ctx.pool = &pool;
  auto column = [](float a, float b) {
    return Tensor::From(std::vector<float>{a, b}, {2, 1, 1});
  };
  const float gamma = 0.75f;
  const GatedLinearOptions options = {.scale = 0.5f};
  const Tensor state = Tensor::From(std::vector<float>{4.0f}, {1, 1, 1, 1});
  const GatedLinearResult r =
      GatedLinear(ctx, column(2, 3), column(5, 7), column(11, 13),
                  Tensor::Full({1}, std::log(gamma)), state, options);
  const float s1 = gamma * 4 + 5 * 11, s2 = gamma * s1 + 7 * 13;
  EXPECT_FLOAT_EQ(r.out.data<float>()[0], 0.5f * 2 * s1);
  EXPECT_FLOAT_EQ(r.out.data<float>()[1], 0.5f * 3 * s2);
  EXPECT_FLOAT_EQ(r.state.data<float>()[0], s2);
  EXPECT_FLOAT_EQ(r.decay.data<float>()[0], gamma * gamma);
}

TEST(GatedLinear, FormsAgreeWithTheRecurrence) {
  for (const bool value_major : {false, true}) {
    for (const float strongest : {0.05f, 3.0f, 60.0f}) {
      Problem p({6, 2, 19, 21}, {1, 65, 0, 7, 130}, strongest);
      p.options.value_major = value_major;
      Doubles state = Wide(p.state);
      const Doubles want =
          GatedLinearReference(p.batch, p.dims, p.options.scale, Wide(p.q),
                               Wide(p.k), Wide(p.v), Wide(p.a), &state);
      for (const Form form :
           {Form::kAuto, Form::kParallel, Form::kChunked, Form::kRecurrent}) {
        for (const int chunk : {0, 16, 23, 3}) {
          const GatedLinearResult got = Forward(p, form, chunk);
          EXPECT_LT(Error(got.out, want), 1e-5)
              << "form " << int(form) << " chunk " << chunk << " decay "
              << strongest;
          Problem back = p;  // undoes the layout
          Tensor s = got.state;
          if (value_major) s = back.Layout(s);
          EXPECT_LT(Error(s, state), 1e-5);
        }
      }
    }
  }
}

TEST(GatedLinear, ResetsAndExtremeDecaysStayFinite) {
  Problem p({2, 1, 8, 8}, {70}, 0.1f);
  for (const int t : {0, 20, 21, 69}) {
    p.a.mutable_data<float>()[t * 2] = -1e30f;
    p.a.mutable_data<float>()[t * 2 + 1] =
        -std::numeric_limits<float>::infinity();
  }
  const Doubles want =
      GatedLinearReference(p.batch, p.dims, p.options.scale, Wide(p.q),
                           Wide(p.k), Wide(p.v), Wide(p.a), nullptr);
  for (const Form form : {Form::kChunked, Form::kRecurrent}) {
    EXPECT_LT(Error(Forward(p, form).out, want), 1e-5);
  }
}

TEST(GatedLinear, SegmentsMergeByTheirDecay) {
  // S_ab = S_b + decay_b S_a, with S_b from a zero state.
  Problem whole({4, 2, 8, 12}, {100}, 0.1f);
  const GatedLinearResult all = Forward(whole, Form::kChunked, 16, false);
  Problem halves = whole;
  halves.batch = Batch::OfLengths(std::vector<int32_t>{37, 63});
  const GatedLinearResult two = Forward(halves, Form::kChunked, 16, false);
  const int64_t size = 8 * 12;
  Doubles merged;
  for (int64_t h = 0; h < 4; ++h) {
    for (int64_t i = 0; i < size; ++i) {
      merged.push_back(two.state.data<float>()[(4 + h) * size + i] +
                       two.decay.data<float>()[4 + h] *
                           double{two.state.data<float>()[h * size + i]});
    }
  }
  EXPECT_LT(Error(all.state, merged), 1e-6);
  for (int64_t h = 0; h < 4; ++h) {
    EXPECT_NEAR(all.decay.data<float>()[h],
                two.decay.data<float>()[h] * two.decay.data<float>()[4 + h],
                1e-6);
  }
}

TEST(GatedLinear, GridAlignedSplitsThreadsAndPoolsKeepTheBits) {
  for (const bool value_major : {false, true}) {
    Problem p({8, 2, 16, 24}, {97}, 0.5f);
    p.options.value_major = value_major;
    const GatedLinearResult whole = Forward(p, Form::kAuto, 32);
    ThreadPool pool(3);
    Tensor states = Tensor::Empty(
        Shape({3, 8, value_major ? 24 : 16, value_major ? 16 : 24}));
    states.Slice(0, 2, 3).CopyFrom(p.Layout(p.state));
    for (const auto& [begin, end] :
         std::vector<std::pair<int, int>>{{0, 32}, {32, 96}, {96, 97}}) {
      Batch piece;
      piece.Add(std::vector<int32_t>(end - begin, 0), begin, 2);
      Context ctx;
      ctx.batch = &piece;
      ctx.pool = &pool;
      ctx.chunk = 32;
      const Tensor out =
          GatedLinearInPlace(ctx, p.q.Slice(0, begin, end),
                             p.k.Slice(0, begin, end), p.v.Slice(0, begin, end),
                             p.a.Slice(0, begin, end), &states, p.options);
      EXPECT_TRUE(SameBits(out, whole.out.Slice(0, begin, end)));
    }
    EXPECT_TRUE(SameBits(states.Slice(0, 2, 3).Contiguous(), whole.state));
  }
}

TEST(GatedLinear, AConstantDecayIsThatOfEveryToken) {
  Problem p({2, 2, 8, 8}, {40}, 0.0f);
  const Tensor constant = Tensor::From(std::vector<float>{-0.03f, -0.2f}, {2});
  for (int64_t i = 0; i < p.a.numel(); ++i) {
    p.a.mutable_data<float>()[i] = constant.data<float>()[i % 2];
  }
  const GatedLinearResult a = Forward(p, Form::kAuto, 16);
  p.a = constant;
  const GatedLinearResult b = Forward(p, Form::kAuto, 16);
  EXPECT_TRUE(SameBits(a.out, b.out));
  EXPECT_TRUE(SameBits(a.state, b.state));
}

// A loss that weighs all three outputs, from double inputs.
struct Loss {
  const Problem& p;
  Doubles out, state, decay;  // weights

  double operator()(const Doubles& q, const Doubles& k, const Doubles& v,
                    const Doubles& a, const Doubles& s0) const {
    Doubles s = s0;
    const Doubles o =
        GatedLinearReference(p.batch, p.dims, p.options.scale, q, k, v, a, &s);
    double sum = 0;
    for (size_t i = 0; i < o.size(); ++i) sum += out[i] * o[i];
    for (size_t i = 0; i < s.size(); ++i) sum += state[i] * s[i];
    for (int64_t n = 0; n < p.batch.segments(); ++n) {
      for (int64_t h = 0; h < p.dims.heads; ++h) {
        double total = 0;
        for (int64_t t = p.batch.begin(n); t < p.batch.begin(n + 1); ++t) {
          total += a[t * p.dims.heads + h];
        }
        sum += decay[n * p.dims.heads + h] * std::exp(total);
      }
    }
    return sum;
  }
};

void CheckGradients(Problem p) {
  Run run(p.batch, Form::kAuto, 16);
  Tape tape;
  run.ctx.tape = &tape;
  Tensor q = p.q, k = p.k, v = p.v, a = p.a, s = p.Layout(p.state);
  for (Tensor* t : {&q, &k, &v, &a, &s}) tape.Watch(t);
  GatedLinearResult result = GatedLinear(run.ctx, q, k, v, a, s, p.options);

  Random random(9);
  auto weights = [&](const Tensor& like) {
    Tensor w = Tensor::Empty(like.shape());
    for (int64_t i = 0; i < w.numel(); ++i) {
      w.mutable_data<float>()[i] = random.NextNormal();
    }
    return w;
  };
  const Tensor wo = weights(result.out), ws = weights(result.state),
               wd = weights(result.decay);
  Tensor loss = Tensor::Zeros({1});
  tape.Record("loss", run.ctx, {result.out, result.state, result.decay},
              {&loss}, [=](Context&, const std::vector<Tensor>&) {
                return std::vector<Tensor>{wo, ws, wd};
              });
  tape.Backward(run.ctx, loss);

  Problem undo = p;
  const Tensor ws_kv = p.options.value_major ? undo.Layout(ws) : ws;
  const Loss f{p, Wide(wo), Wide(ws_kv), Wide(wd)};
  Doubles in[5] = {Wide(p.q), Wide(p.k), Wide(p.v), Wide(p.a), Wide(p.state)};
  const Tensor ds = tape.Gradient(s);
  const Tensor got[5] = {tape.Gradient(q), tape.Gradient(k), tape.Gradient(v),
                         tape.Gradient(a),
                         p.options.value_major ? undo.Layout(ds) : ds};
  for (int i = 0; i < 5; ++i) {
    const Doubles gradient = Wide(got[i]);
    const double scale = std::max(Deviation(gradient), 1e-6);
    for (int trial = 0; trial < 25; ++trial) {
      const size_t at = random.NextBelow(gradient.size());
      const double x = in[i][at], h = 1e-5;
      in[i][at] = x + h;
      const double up = f(in[0], in[1], in[2], in[3], in[4]);
      in[i][at] = x - h;
      const double down = f(in[0], in[1], in[2], in[3], in[4]);
      in[i][at] = x;
      EXPECT_NEAR(gradient[at], (up - down) / (2 * h), 2e-5 * scale)
          << "input " << i << " element " << at;
    }
  }
}

TEST(GatedLinear, GradientsMatchFiniteDifferences) {
  CheckGradients(Problem({3, 3, 6, 5}, {1, 37, 0, 16}, 0.3f));
  CheckGradients(Problem({6, 2, 5, 9}, {40}, 2.0f));
  Problem transposed({4, 1, 7, 6}, {33, 2}, 0.3f);
  transposed.options.value_major = true;
  CheckGradients(std::move(transposed));
}

// On a tape the state goes from one piece of a document to the next, and the
// gradients back.
TEST(GatedLinear, PiecesOnATapeHaveTheGradientsOfTheWhole) {
  const Problem p({3, 3, 6, 5}, {40}, 0.3f);
  Random random(21);
  Tensor weight = Tensor::Empty({40, 3, 5});
  for (int64_t i = 0; i < weight.numel(); ++i) {
    weight.mutable_data<float>()[i] = random.NextNormal();
  }
  const auto gradients = [&](const std::vector<int32_t>& ends) {
    Tape tape;
    Tensor first = p.state.Clone();
    tape.Watch(&first);
    Tensor state = first;
    std::vector<Tensor> leaves, outs, weights;
    Context last;
    ThreadPool pool(1);
    int32_t begin = 0;
    for (const int32_t end : ends) {
      Batch batch;
      batch.Add(std::vector<int32_t>(end - begin, 0), begin, 0);
      Context ctx;
      ctx.batch = &batch;
      ctx.pool = &pool;
      ctx.tape = &tape;
      const auto piece = [&](const Tensor& whole) {
        leaves.push_back(whole.Slice(0, begin, end).Contiguous().Clone());
        tape.Watch(&leaves.back());
        return leaves.back();
      };
      const Tensor q = piece(p.q), k = piece(p.k), v = piece(p.v),
                   a = piece(p.a);
      outs.push_back(GatedLinearInPlace(ctx, q, k, v, a, &state, p.options));
      weights.push_back(weight.Slice(0, begin, end).Contiguous());
      begin = end;
    }
    Batch none = Batch::OfLengths(std::vector<int32_t>{40});
    last.batch = &none;
    last.pool = &pool;
    Tensor loss = Tensor::Zeros({1});
    tape.Record("loss", last, outs, {&loss},
                [=](Context&, const std::vector<Tensor>&) { return weights; });
    tape.Backward(last, loss);
    std::vector<Doubles> all = {Wide(tape.Gradient(first))};
    for (size_t i = 0; i < 4; ++i) {
      Doubles& rows = all.emplace_back();
      for (size_t n = i; n < leaves.size(); n += 4) {
        const Doubles part = Wide(tape.Gradient(leaves[n]));
        rows.insert(rows.end(), part.begin(), part.end());
      }
    }
    return all;
  };
  const std::vector<Doubles> whole = gradients({40}),
                             pieces = gradients({17, 18, 40});
  for (size_t i = 0; i < whole.size(); ++i) {
    ASSERT_EQ(pieces[i].size(), whole[i].size());
    const double scale = Deviation(whole[i]);
    for (size_t n = 0; n < whole[i].size(); ++n) {
      ASSERT_NEAR(pieces[i][n], whole[i][n], 1e-5 * scale) << i << " " << n;
    }
  }
}

}  // namespace
}  // namespace intarsia
