#include "intarsia/mixers/common/delta_rule.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "intarsia/autograd/tape.h"

namespace intarsia {
namespace {

using Doubles = std::vector<double>;

enum class Decay { kNone, kHead, kChannel };

struct Kind {
  int groups = 2, heads = 4, key_dim = 9, value_dim = 7;
  Decay decay = Decay::kChannel;
  bool erase = true, removal = false, before = false, erase_before = false;
  float strongest = 1.0f;  // decay
};

const Kind kKinds[] = {
    {},
    {.decay = Decay::kHead},
    {.decay = Decay::kNone},
    {.groups = 4, .key_dim = 20, .value_dim = 33, .removal = true},
    {.groups = 4, .decay = Decay::kHead, .removal = true},
    {.erase = false},
    {.erase = false, .before = true},
    {.decay = Decay::kHead, .before = true, .strongest = 30},
    {.removal = true, .before = true},
    {.groups = 1, .heads = 1, .key_dim = 1, .value_dim = 1},
    {.strongest = 120},
    {.groups = 4, .removal = true, .erase_before = true},
    {.decay = Decay::kHead, .erase_before = true},
};

struct Problem {
  Kind kind;
  Batch batch;
  DeltaRuleInputs in;
  Tensor state;
  DeltaRuleOptions options;

  Problem(const Kind& k, const std::vector<int32_t>& lengths)
      : kind(k), batch(Batch::OfLengths(lengths)) {
    options.scale = 0.7f;
    options.before = k.before;
    options.erase_before = k.erase_before;
    Random random(3);
    const auto normal = [&](const Shape& shape, float scale = 1.0f) {
      Tensor t = Tensor::Empty(shape);
      for (int64_t i = 0; i < t.numel(); ++i) {
        t.mutable_data<float>()[i] = scale * random.NextNormal();
      }
      return t;
    };
    const int64_t tokens = batch.size(), H = k.heads, K = k.key_dim;
    // Vectors of about unit length: what is erased does not outgrow S.
    const float unit = 1.0f / std::sqrt(static_cast<float>(K));
    in.q = normal({tokens, k.groups, K});
    in.k = normal({tokens, k.groups, K}, unit);
    in.v = normal({tokens, H, k.value_dim});
    if (k.erase) in.erase = normal({tokens, H, K}, 0.8f * unit);
    if (k.removal) in.removal = normal({tokens, H, K}, 0.8f * unit);
    if (k.decay != Decay::kNone) {
      in.log_decay = k.decay == Decay::kHead ? Tensor::Empty({tokens, H})
                                             : Tensor::Empty({tokens, H, K});
      for (int64_t i = 0; i < in.log_decay.numel(); ++i) {
        const float u = random.NextUniform();
        in.log_decay.mutable_data<float>()[i] =
            -0.02f - k.strongest * u * u * u * u;
      }
    }
    state = normal({batch.segments(), H, K, k.value_dim});
  }

  Doubles Reference(Doubles* last) const {
    const auto wide = [](const Tensor& t) {
      if (!t.defined()) return Doubles();
      const std::vector<float> values = t.ToVector<float>();
      return Doubles(values.begin(), values.end());
    };
    const int64_t H = kind.heads, K = kind.key_dim;
    DeltaRuleReferenceInputs r;
    r.heads = H;
    r.key_dim = K;
    r.value_dim = kind.value_dim;
    r.scale = options.scale;
    r.before = options.before;
    r.erase_before = options.erase_before;
    r.q = RepeatGroups(wide(in.q), kind.groups, H, K);
    r.k = RepeatGroups(wide(in.k), kind.groups, H, K);
    r.v = wide(in.v);
    r.erase = wide(in.erase);
    r.removal = wide(in.removal);
    for (double g : wide(in.log_decay)) {
      r.log_decay.insert(r.log_decay.end(), kind.decay == Decay::kHead ? K : 1,
                         g);
    }
    *last = wide(state);
    return DeltaRuleReference(batch, r, last);
  }
};

double Error(const Tensor& got, const Doubles& want) {
  const std::vector<float> values = got.ToVector<float>();
  double square = 0, worst = 0;
  for (double value : want) square += value * value / want.size();
  for (size_t i = 0; i < want.size(); ++i) {
    const double difference = std::abs(values[i] - want[i]);
    if (std::isnan(difference)) return difference;
    worst = std::max(worst, difference);
  }
  return worst / std::sqrt(square);
}

struct Machine {
  ThreadPool pool{2};
  Context ctx;
  Machine(const Batch& batch, Form form, int chunk = 0) {
    ctx.batch = &batch;
    ctx.pool = &pool;
    ctx.form = form;
    ctx.chunk = chunk;
  }
};

TEST(DeltaRule, EveryFormOfEveryKindIsTheRecurrence) {
  for (const Kind& kind : kKinds) {
    const Problem p(kind, {1, 70, 0, 150, 16});
    Doubles last;
    const Doubles want = p.Reference(&last);
    for (const auto& [form, chunk] :
         {std::pair(Form::kRecurrent, 0), std::pair(Form::kParallel, 0),
          std::pair(Form::kChunked, 64), std::pair(Form::kChunked, 7)}) {
      Machine run(p.batch, form, chunk);
      const DeltaRuleResult r = DeltaRule(run.ctx, p.in, p.state, p.options);
      const size_t i = &kind - kKinds;
      EXPECT_LE(Error(r.out, want), 2e-5) << i << " form " << int(form);
      EXPECT_LE(Error(r.state, last), 2e-5) << i << " form " << int(form);
    }
  }
}

TEST(DeltaRule, StatesInPlaceAreThoseOfTheCall) {
  Problem p({}, {65, 1, 3});
  Machine run(p.batch, Form::kAuto);
  const DeltaRuleResult want = DeltaRule(run.ctx, p.in, p.state, p.options);
  p.batch.slots = {2, -1, 0};
  Tensor pool = Tensor::Zeros({3, p.kind.heads, 9, 7});
  pool.Select(0, 2).CopyFrom(p.state.Select(0, 0));
  pool.Select(0, 0).CopyFrom(p.state.Select(0, 2));
  const Tensor out = DeltaRuleInPlace(run.ctx, p.in, &pool, p.options);
  const auto same = [](const Tensor& a, const Tensor& b) {
    const Tensor x = a.Contiguous(), y = b.Contiguous();
    return std::memcmp(x.raw(), y.raw(), x.nbytes()) == 0;
  };
  EXPECT_TRUE(same(out.Slice(0, 0, 65), want.out.Slice(0, 0, 65)));
  EXPECT_TRUE(same(out.Slice(0, 66, 69), want.out.Slice(0, 66, 69)));
  EXPECT_TRUE(same(pool.Select(0, 2), want.state.Select(0, 0)));
  EXPECT_TRUE(same(pool.Select(0, 0), want.state.Select(0, 2)));
  EXPECT_EQ(pool.Select(0, 1).ToVector<float>(),
            std::vector<float>(4 * 9 * 7, 0.0f));
}

// −∞ forgets everything, and costs what follows nothing.
TEST(DeltaRule, ADecayOfZeroResets) {
  Problem p({.groups = 4}, {40});
  for (int64_t i = 0; i < 4 * 9; ++i) {
    p.in.log_decay.mutable_data<float>()[20 * 4 * 9 + i] =
        -std::numeric_limits<float>::infinity();
  }
  for (const Form form : {Form::kChunked, Form::kRecurrent}) {
    Machine run(p.batch, form);
    const Tensor whole = DeltaRule(run.ctx, p.in, p.state, p.options).out;
    const Batch rest = Batch::OfLengths(std::vector<int32_t>{20});
    const auto tail = [](const Tensor& t) { return t.Slice(0, 20, 40); };
    Machine after(rest, form);
    const Tensor want = DeltaRule(after.ctx,
                                  {.q = tail(p.in.q),
                                   .k = tail(p.in.k),
                                   .v = tail(p.in.v),
                                   .erase = tail(p.in.erase),
                                   .removal = Tensor(),
                                   .log_decay = tail(p.in.log_decay)},
                                  Tensor(), p.options)
                            .out;
    const std::vector<float> values = want.ToVector<float>();
    EXPECT_LE(Error(whole.Slice(0, 20, 40).Contiguous(),
                    Doubles(values.begin(), values.end())),
              1e-6);
  }
}

TEST(DeltaRule, GradientsAreThoseOfTheRecurrence) {
  for (const Kind& kind : kKinds) {
    if (kind.strongest > 1) continue;  // differences in double lose them
    Problem p(kind, {5, 0, 12});
    Machine run(p.batch, Form::kChunked, 4);
    Tape tape;
    run.ctx.tape = &tape;
    std::vector<Tensor*> inputs;
    for (Tensor* t : {&p.in.q, &p.in.k, &p.in.v, &p.in.erase, &p.in.removal,
                      &p.in.log_decay, &p.state}) {
      if (!t->defined()) continue;
      tape.Watch(t);
      inputs.push_back(t);
    }
    const DeltaRuleResult r = DeltaRule(run.ctx, p.in, p.state, p.options);
    Random random(5);
    Tensor c = Tensor::Empty(r.out.shape());
    for (int64_t i = 0; i < c.numel(); ++i) {
      c.mutable_data<float>()[i] = random.NextNormal();
    }
    tape.Backward(run.ctx, r.out, c);
    const auto loss = [&] {
      Doubles last;
      const Doubles y = p.Reference(&last);
      double sum = 0;
      for (size_t i = 0; i < y.size(); ++i) sum += y[i] * c.data<float>()[i];
      return sum;
    };
    for (size_t i = 0; i < inputs.size(); ++i) {
      Tensor& x = *inputs[i];
      const Tensor g = tape.Gradient(x);
      ASSERT_TRUE(g.defined());
      double square = 0;
      for (float value : g.ToVector<float>()) square += value * value;
      const double scale = std::sqrt(square / g.numel()) + 1e-6;
      for (int trial = 0; trial < 12; ++trial) {
        const uint32_t at = random.NextBelow(static_cast<uint32_t>(x.numel()));
        const float value = x.data<float>()[at];
        x.mutable_data<float>()[at] = value + 0.0078125f;
        const double up = loss();
        x.mutable_data<float>()[at] = value - 0.0078125f;
        const double down = loss();
        x.mutable_data<float>()[at] = value;
        const double step = double{value + 0.0078125f} - (value - 0.0078125f);
        EXPECT_NEAR(g.data<float>()[at], (up - down) / step, 2e-3 * scale)
            << "kind " << &kind - kKinds << ", input " << i;
      }
    }
  }
}

}  // namespace
}  // namespace intarsia
