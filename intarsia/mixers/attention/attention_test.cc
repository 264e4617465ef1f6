#include "intarsia/mixers/attention/attention.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <numeric>

#include "intarsia/mixers/attention/attention_kernels.h"
#include "intarsia/mixers/mixer_testing.h"

namespace intarsia {
namespace {

using testing::BitwiseEqual;
using testing::ExpectGradients;
using testing::Poisoned;
using testing::RandomTensor;

std::vector<double> Widen(const Tensor& x) {
  const std::vector<float> values = x.ToVector<float>();
  return std::vector<double>(values.begin(), values.end());
}

// A core's inputs and how to run it.
struct Problem {
  Batch batch;
  int64_t heads = 4, kv_heads = 2, key_dim = 16, value_dim = 16;
  AttentionCoreConfig config;
  Tensor q, k, v;
  Tensor sinks;  // or undefined

  Problem(Batch b, int64_t h, int64_t g, int64_t kd, int64_t vd,
          AttentionCoreConfig c = {})
      : batch(std::move(b)),
        heads(h),
        kv_heads(g),
        key_dim(kd),
        value_dim(vd),
        config(c) {
    Random random(7);
    q = RandomTensor(random, {batch.size(), heads, key_dim});
    k = RandomTensor(random, {batch.size(), kv_heads, key_dim});
    v = RandomTensor(random, {batch.size(), kv_heads, value_dim});
  }

  AttentionResult Run(ThreadPool* pool, int64_t begin = 0,
                      int64_t end = 1 << 30) const {
    Context ctx;
    ctx.batch = &batch;
    ctx.pool = pool;
    AttentionKeys keys{k, v};
    keys.begin = begin;
    keys.end = end;
    const Weight weight = Weight::F32({}, sinks);
    return AttentionCore(ctx, q, keys, config,
                         sinks.defined() ? &weight : nullptr);
  }

  // Rows [begin, end) of the batch's only segment.
  Problem Part(int64_t begin, int64_t end) const {
    Problem part = *this;
    part.batch = Batch();
    part.batch.cu_seqlens = {0};
    part.batch.Add(std::vector<int32_t>(end - begin, 0), batch.positions[begin],
                   0);
    part.q = q.Slice(0, begin, end).Clone();
    part.k = k.Slice(0, begin, end).Clone();
    part.v = v.Slice(0, begin, end).Clone();
    return part;
  }
};

void ExpectClose(const std::vector<float>& got, const std::vector<double>& want,
                 double tolerance, const std::string& what) {
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < got.size(); ++i) {
    if (std::isinf(want[i])) {
      ASSERT_EQ(got[i], want[i]) << what << " " << i;
    } else {
      ASSERT_NEAR(got[i], want[i], tolerance) << what << " " << i;
    }
  }
}

void ExpectMatchesReference(const Problem& p, const std::string& what) {
  ThreadPool pool(2);
  Poisoned poisoned;
  const AttentionResult got = p.Run(&pool);
  std::vector<double> sinks;
  if (p.sinks.defined()) sinks = Widen(p.sinks);
  const AttentionReference want = ReferenceAttentionCore(
      p.batch, p.batch, p.heads, p.kv_heads, Widen(p.q), Widen(p.k), Widen(p.v),
      p.config, p.sinks.defined() ? &sinks : nullptr);
  ExpectClose(got.out.ToVector<float>(), want.out, 3e-6, what + " out");
  ExpectClose(got.lse.ToVector<float>(), want.lse, 3e-6, what + " lse");
}

AttentionCoreConfig Masked(AttentionMask::Kind kind, int64_t prefix,
                           int64_t window) {
  AttentionCoreConfig config;
  config.mask = {kind, prefix, window};
  return config;
}

using Kind = AttentionMask::Kind;

const std::vector<int32_t> kRagged = {1, 63, 64, 65, 0, 200, 2};

Batch Selected(int64_t length) {
  const std::vector<int32_t> lengths = {static_cast<int32_t>(length), 5, 70};
  const Batch whole = Batch::OfLengths(lengths);
  std::vector<int32_t> rows;
  for (int32_t t = 0; t < whole.size(); ++t) {
    if (t % 3 == 1 || t % 7 == 2) rows.push_back(t);
  }
  return whole.Select(rows);
}

TEST(AttentionCore, MatchesReferenceForEveryMaskAndShape) {
  const std::vector<AttentionCoreConfig> configs = {
      Masked(Kind::kCausal, 0, 0),         Masked(Kind::kCausal, 0, 9),
      Masked(Kind::kCausal, 0, 100),       Masked(Kind::kBidirectional, 0, 0),
      Masked(Kind::kBidirectional, 0, 11), Masked(Kind::kPrefix, 20, 0),
      Masked(Kind::kPrefix, 5, 30),        Masked(Kind::kPrefix, 500, 0),
  };
  const int64_t shapes[][4] = {{4, 2, 16, 16},
                               {3, 1, 8, 8},
                               {2, 2, 5, 3},
                               {7, 7, 20, 64},
                               {80, 1, 4, 9}};
  for (size_t c = 0; c < configs.size(); ++c) {
    for (const auto& s : shapes) {
      if (s[0] == 80 && c > 1) continue;
      const std::string what =
          "config " + std::to_string(c) + " heads " + std::to_string(s[0]);
      ExpectMatchesReference(Problem(Batch::OfLengths(kRagged), s[0], s[1],
                                     s[2], s[3], configs[c]),
                             what);
      ExpectMatchesReference(
          Problem(Selected(300), s[0], s[1], s[2], s[3], configs[c]),
          what + " selected");
    }
  }
}

TEST(AttentionCore, SoftcapSinksAndScaleMatchReference) {
  Problem p(Batch::OfLengths(kRagged), 4, 2, 16, 16);
  p.config.softcap = 2.0;
  p.config.scale = 0.7;
  ExpectMatchesReference(p, "softcap");
  p.sinks = Tensor::From<float>({-3.0f, 0.0f, 4.0f, 30.0f}, {4});
  ExpectMatchesReference(p, "softcap and sinks");
  p.config.softcap = 0.0;
  ExpectMatchesReference(p, "sinks");
}

TEST(AttentionCore, LargeScoresDoNotOverflow) {
  Problem p(Batch::OfLengths(std::vector<int32_t>{150}), 2, 1, 16, 16);
  p.config.scale = 1.0;
  for (int64_t i = 0; i < p.q.numel(); ++i) p.q.mutable_data<float>()[i] *= 50;
  const AttentionResult got = p.Run(nullptr);
  for (float x : got.out.ToVector<float>()) ASSERT_TRUE(std::isfinite(x));
}

TEST(AttentionCore, NanStaysVisible) {
  Problem p(Batch::OfLengths(std::vector<int32_t>{70, 70}), 2, 1, 16, 16);
  p.k.mutable_data<float>()[69 * 16] = NAN;
  const std::vector<float> out = p.Run(nullptr).out.ToVector<float>();
  EXPECT_FALSE(std::isnan(out[68 * 32]));
  EXPECT_TRUE(std::isnan(out[69 * 32]));
  for (size_t i = 70 * 32; i < out.size(); ++i)
    ASSERT_FALSE(std::isnan(out[i]));
}

TEST(AttentionCore, SameBitsForAnyNumberOfThreads) {
  for (const auto& mask :
       {Masked(Kind::kCausal, 0, 0), Masked(Kind::kPrefix, 9, 40)}) {
    const Problem p(Batch::OfLengths(kRagged), 6, 2, 24, 24, mask);
    const AttentionResult alone = p.Run(nullptr);
    for (int threads : {1, 2, 5}) {
      ThreadPool pool(threads);
      const AttentionResult got = p.Run(&pool);
      EXPECT_TRUE(BitwiseEqual(got.out, alone.out)) << threads;
      EXPECT_TRUE(BitwiseEqual(got.lse, alone.lse)) << threads;
    }
  }
}

TEST(AttentionCore, SameBitsAloneAndBesideNeighbours) {
  const Problem together(Batch::OfLengths(kRagged), 6, 2, 24, 24);
  const AttentionResult all = together.Run(nullptr);
  for (int64_t n = 0; n < together.batch.segments(); ++n) {
    const int64_t begin = together.batch.begin(n);
    const int64_t end = together.batch.begin(n + 1);
    if (begin == end) continue;
    const AttentionResult one = together.Part(begin, end).Run(nullptr);
    EXPECT_TRUE(BitwiseEqual(one.out, all.out.Slice(0, begin, end))) << n;
    EXPECT_TRUE(BitwiseEqual(one.lse, all.lse.Slice(0, begin, end))) << n;
  }
}

// Pages of one sequence in slot 1 of 2, in shuffled order, filled with NaN.
struct Paged {
  Paged(const Problem& p, int64_t page, DType dtype, int64_t tokens) {
    const int64_t count = (tokens + page - 1) / page;
    for (int64_t i = 0; i < count; ++i) {
      table.push_back(static_cast<int32_t>((i * 7 + 3) % (count * 7)));
    }
    PoisonNewMemory(true);
    for (TokenPages* pages : {&k, &v}) {
      const int64_t dim = pages == &k ? p.key_dim : p.value_dim;
      pages->pool = Tensor::Empty({count * 7, page, p.kv_heads, dim}, dtype);
      pages->page = page;
      pages->table = {std::span<const int32_t>(), table};
      if (dtype != DType::kI8) continue;
      const int64_t scales = dim % 32 == 0 ? dim / 32 : 1;
      pages->scales =
          Tensor::Empty({count * 7, page, p.kv_heads, scales}, DType::kBF16);
    }
    PoisonNewMemory(false);
  }

  // Appends the part's keys and attends to all that is stored.
  AttentionResult Run(const Problem& part, ThreadPool* pool) {
    Batch batch = part.batch;
    batch.slots = {1};
    k.entries_before = v.entries_before = {batch.positions[0]};
    AppendRows(batch, part.k, &k);
    AppendRows(batch, part.v, &v);
    Context ctx;
    ctx.batch = &batch;
    ctx.pool = pool;
    AttentionKeys keys;
    keys.k_pages = &k;
    keys.v_pages = &v;
    return AttentionCore(ctx, part.q, keys, part.config);
  }

  std::vector<int32_t> table;
  TokenPages k, v;
};

// Feeds a sequence through pages in steps and compares with the whole run.
void ExpectStepsEqualWhole(const Problem& p, int64_t page,
                           const std::vector<int64_t>& steps) {
  const AttentionResult whole = p.Run(nullptr);
  ThreadPool pool(2);
  Paged paged(p, page, DType::kF32, p.batch.size());
  int64_t begin = 0;
  for (size_t i = 0; begin < p.batch.size(); ++i) {
    const int64_t end =
        std::min(p.batch.size(), begin + steps[i % steps.size()]);
    const AttentionResult got = paged.Run(p.Part(begin, end), &pool);
    ASSERT_TRUE(BitwiseEqual(got.out, whole.out.Slice(0, begin, end)))
        << "page " << page << ", tokens " << begin << " to " << end;
    ASSERT_TRUE(BitwiseEqual(got.lse, whole.lse.Slice(0, begin, end)));
    begin = end;
  }
}

TEST(AttentionCore, PagedChunkedAndTokenByTokenAreBitwiseTheWholeRun) {
  const Batch batch = Batch::OfLengths(std::vector<int32_t>{150});
  for (int64_t window : {0, 9, 70}) {
    const Problem p(batch, 6, 2, 16, 16, Masked(Kind::kCausal, 0, window));
    for (int64_t page : {16, 64, 128}) {
      ExpectStepsEqualWhole(p, page, {150});
      ExpectStepsEqualWhole(p, page, {64});
      ExpectStepsEqualWhole(p, page, {1});
      ExpectStepsEqualWhole(p, page, {7, 1, 40});
    }
  }
  // Widths that are not whole vectors, and a prefix in the first step.
  ExpectStepsEqualWhole(
      Problem(batch, 3, 3, 10, 13, Masked(Kind::kPrefix, 20, 33)), 16, {20, 1});
}

// Sequences of several spans, whose keys threads share when queries are few.
TEST(AttentionCore, LongSequencesKeepTheirBitsHoweverTheKeysAreShared) {
  const int64_t tokens = 5 * attention_internal::kSpan + 70;
  const Batch batch =
      Batch::OfLengths(std::vector<int32_t>{static_cast<int32_t>(tokens)});
  for (int64_t window : {0, 600}) {
    for (int64_t dim : {16, 10}) {
      Problem p(batch, 4, 2, dim, dim, Masked(Kind::kCausal, 0, window));
      p.sinks = Tensor::From<float>({-1.0f, 0.0f, 2.0f, 3.0f}, {4});
      if (window == 0) ExpectMatchesReference(p, "spans");
      p.sinks = Tensor();
      const AttentionResult whole = p.Run(nullptr);
      Paged paged(p, 64, DType::kF32, tokens);
      ThreadPool pool(2);
      paged.Run(p.Part(0, tokens - 33), &pool);
      // One, two and thirty tokens at a time, on as many threads.
      int64_t begin = tokens - 33;
      for (int64_t step : {1, 2, 30}) {
        ThreadPool team(static_cast<int>(step));
        const AttentionResult got =
            paged.Run(p.Part(begin, begin + step), &team);
        EXPECT_TRUE(
            BitwiseEqual(got.out, whole.out.Slice(0, begin, begin + step)))
            << "window " << window << ", dim " << dim << ", step " << step;
        EXPECT_TRUE(
            BitwiseEqual(got.lse, whole.lse.Slice(0, begin, begin + step)));
        begin += step;
      }
    }
  }
}

// Heads that lie side by side share a task, as many as there is work for.
TEST(AttentionCore, HeadsOfATaskAndPagesOfBf16ChangeNoBit) {
  const int64_t tokens = 3 * attention_internal::kSpan + 5;
  const Batch batch =
      Batch::OfLengths(std::vector<int32_t>{static_cast<int32_t>(tokens)});
  Problem p(batch, 6, 6, 32, 16);
  Paged paged(p, 64, DType::kBF16, tokens);
  ThreadPool one(1);
  paged.Run(p.Part(0, tokens - 1), &one);
  const Problem last = p.Part(tokens - 1, tokens);
  const AttentionResult want = paged.Run(last, nullptr);
  p.k = p.k.To(DType::kBF16).To(DType::kF32);
  p.v = p.v.To(DType::kBF16).To(DType::kF32);
  EXPECT_TRUE(
      BitwiseEqual(want.out, p.Run(nullptr).out.Slice(0, tokens - 1, tokens)));
  for (int threads : {1, 2, 3, 8}) {
    ThreadPool team(threads);
    const AttentionResult got = paged.Run(last, &team);
    EXPECT_TRUE(BitwiseEqual(got.out, want.out)) << threads << " threads";
    EXPECT_TRUE(BitwiseEqual(got.lse, want.lse)) << threads << " threads";
  }
}

TEST(AttentionCore, PagesOfInt8AreTheirDecodedRowsBitForBit) {
  Problem p(Batch::OfLengths(std::vector<int32_t>{533}), 6, 2, 64, 20,
            Masked(Kind::kCausal, 0, 90));
  Problem exact = p;
  exact.k = p.k.Clone();
  exact.v = p.v.Clone();
  Paged paged(p, 16, DType::kI8, 533);
  for (Tensor* rows : {&p.k, &p.v}) {
    const int64_t group = rows == &p.k ? 32 : 20;
    std::vector<int8_t> codes(group);
    for (int64_t at = 0; at < rows->numel(); at += group) {
      float* x = rows->mutable_data<float>() + at;
      bf16 scale;
      EncodeInt8(x, group, group, codes.data(), &scale);
      for (const int8_t code : codes) *x++ = ToFloat(scale) * code;
    }
  }
  paged.Run(exact.Part(0, 500), nullptr);
  const Tensor want = p.Run(nullptr).out;
  for (int64_t t = 500; t < 533; t += 11) {
    EXPECT_TRUE(BitwiseEqual(paged.Run(exact.Part(t, t + 11), nullptr).out,
                             want.Slice(0, t, t + 11)));
  }
}

TEST(AttentionCore, WindowDoesNotReadPagesThatWereGivenBack) {
  const Problem p(Batch::OfLengths(std::vector<int32_t>{300}), 2, 1, 16, 16,
                  Masked(Kind::kPrefix, 5, 40));
  const AttentionResult whole = p.Run(nullptr);
  Paged paged(p, 16, DType::kF32, 300);
  paged.Run(p.Part(0, 299), nullptr);
  // Position 299 sees [0, 5) and (259, 299]: pages 0 and 16 on.
  for (int i = 1; i < 16; ++i) paged.table[i] = -1;
  const AttentionResult got = paged.Run(p.Part(299, 300), nullptr);
  EXPECT_TRUE(BitwiseEqual(got.out, whole.out.Slice(0, 299, 300)));
}

TEST(AttentionCore, NarrowPagesHoldRoundedKeys) {
  const Batch batch = Batch::OfLengths(std::vector<int32_t>{100});
  for (int64_t dim : {16, 13}) {
    for (DType dtype : {DType::kBF16, DType::kF16}) {
      Problem p(batch, 4, 2, dim, dim);
      Paged paged(p, 64, dtype, 100);
      const AttentionResult got = paged.Run(p, nullptr);
      p.k = p.k.To(dtype).To(DType::kF32);
      p.v = p.v.To(dtype).To(DType::kF32);
      EXPECT_TRUE(BitwiseEqual(got.out, p.Run(nullptr).out));
    }
  }
}

TEST(MergeAttention, PartsOfTheKeysMakeTheWhole) {
  for (const auto& mask :
       {Masked(Kind::kCausal, 0, 0), Masked(Kind::kBidirectional, 0, 0),
        Masked(Kind::kPrefix, 30, 50)}) {
    const Problem p(Batch::OfLengths(kRagged), 4, 2, 16, 16, mask);
    const AttentionResult whole = p.Run(nullptr);
    Context ctx;
    AttentionResult merged = p.Run(nullptr, 0, 10);
    merged = MergeAttention(ctx, merged, p.Run(nullptr, 10, 64));
    merged = MergeAttention(ctx, merged, p.Run(nullptr, 64, 1000));
    ExpectClose(merged.out.ToVector<float>(), Widen(whole.out), 2e-6, "out");
    ExpectClose(merged.lse.ToVector<float>(), Widen(whole.lse), 2e-6, "lse");
  }
}

// Keys that live on another rank: their own rows and positions.
TEST(MergeAttention, RingOfTwoMakesTheWhole) {
  const Problem p(Batch::OfLengths(std::vector<int32_t>{90, 40}), 4, 2, 8, 8);
  const AttentionResult whole = p.Run(nullptr);
  std::vector<int32_t> even, odd;
  for (int32_t t = 0; t < 130; ++t) (t % 2 ? odd : even).push_back(t);
  const Batch a = p.batch.Select(even), b = p.batch.Select(odd);
  const auto take = [](const Tensor& x, const std::vector<int32_t>& rows) {
    Tensor out = Tensor::Empty(x.shape().With(0, rows.size()));
    for (size_t i = 0; i < rows.size(); ++i) {
      out.Slice(0, i, i + 1).CopyFrom(x.Slice(0, rows[i], rows[i] + 1));
    }
    return out;
  };
  Context ctx;
  ctx.batch = &a;
  const Tensor q = take(p.q, even);
  AttentionKeys own{take(p.k, even), take(p.v, even)};
  AttentionKeys other{take(p.k, odd), take(p.v, odd)};
  other.batch = &b;
  const AttentionResult merged =
      MergeAttention(ctx, AttentionCore(ctx, q, own, p.config),
                     AttentionCore(ctx, q, other, p.config));
  ExpectClose(merged.out.ToVector<float>(), Widen(take(whole.out, even)), 2e-6,
              "out");
}

// The differences are of fp32 values; conformance has those of the reference.
constexpr double kFp32Differences = 4e-3;

// Both outputs in one tensor, so that the check sees the gradients of both.
Tensor Joined(Context& ctx, const AttentionResult& r) {
  const Tensor lse = r.lse.Reshape({r.lse.dim(0), r.lse.dim(1), 1});
  const int64_t dim = r.out.dim(2);
  Tensor joined = Tensor::Empty(r.out.shape().With(2, dim + 1));
  joined.Slice(2, 0, dim).CopyFrom(r.out);
  joined.Slice(2, dim, dim + 1).CopyFrom(lse);
  if (ctx.tape == nullptr) return joined;
  ctx.tape->Record("join", ctx, {r.out, r.lse}, {&joined},
                   [dim](Context&, const std::vector<Tensor>& g) {
                     const Tensor lse = g[0].Slice(2, dim, dim + 1).Clone();
                     return std::vector<Tensor>{
                         g[0].Slice(2, 0, dim).Clone(),
                         lse.Reshape({lse.dim(0), lse.dim(1)})};
                   });
  return joined;
}

TEST(AttentionCore, GradientsMatchFiniteDifferences) {
  const std::vector<AttentionCoreConfig> configs = {
      Masked(Kind::kCausal, 0, 0), Masked(Kind::kCausal, 0, 9),
      Masked(Kind::kBidirectional, 0, 0), Masked(Kind::kPrefix, 20, 30)};
  for (AttentionCoreConfig config : configs) {
    for (double softcap : {0.0, 1.5}) {
      config.softcap = softcap;
      const Problem p(Batch::OfLengths(std::vector<int32_t>{70, 1, 25}), 6, 2,
                      12, 7, config);
      ThreadPool pool(2);
      Context ctx;
      ctx.batch = &p.batch;
      ctx.pool = &pool;
      Weight sinks = Weight::F32({.name = "sinks",
                                  .shape = {6},
                                  .role = WeightSpec::Role::kVector,
                                  .shard = {},
                                  .init = {}},
                                 Tensor::Full({6}, 0.5f));
      ExpectGradients(
          ctx, {p.q, p.k, p.v}, {&sinks},
          [&](Context& c, const std::vector<Tensor>& in) {
            AttentionKeys keys{in[1], in[2]};
            return Joined(c, AttentionCore(c, in[0], keys, config, &sinks));
          },
          kFp32Differences);
    }
  }
}

TEST(MergeAttention, GradientsMatchFiniteDifferences) {
  const Problem p(Batch::OfLengths(std::vector<int32_t>{80, 3}), 4, 2, 8, 8);
  Context ctx;
  ctx.batch = &p.batch;
  ExpectGradients(
      ctx, {p.q, p.k, p.v}, {},
      [&](Context& c, const std::vector<Tensor>& in) {
        AttentionKeys first{in[1], in[2]}, second = first;
        first.end = second.begin = 30;
        return Joined(
            c, MergeAttention(c, AttentionCore(c, in[0], first, p.config),
                              AttentionCore(c, in[0], second, p.config)));
      },
      kFp32Differences);
}

TEST(AttentionCore, GradientsHaveTheSameBitsForAnyNumberOfThreads) {
  const Problem p(Batch::OfLengths(kRagged), 6, 2, 12, 12);
  const auto gradient = [&](int threads) {
    ThreadPool pool(threads);
    Tape tape;
    Context ctx;
    ctx.batch = &p.batch;
    ctx.pool = &pool;
    ctx.tape = &tape;
    Tensor q = p.q, k = p.k, v = p.v;
    for (Tensor* t : {&q, &k, &v}) tape.Watch(t);
    const AttentionResult r = AttentionCore(ctx, q, {k, v}, p.config);
    tape.Backward(ctx, r.out, p.q);
    return std::vector<Tensor>{tape.Gradient(q), tape.Gradient(k),
                               tape.Gradient(v)};
  };
  const std::vector<Tensor> one = gradient(1);
  for (int threads : {2, 5}) {
    const std::vector<Tensor> many = gradient(threads);
    for (int i = 0; i < 3; ++i) EXPECT_TRUE(BitwiseEqual(one[i], many[i])) << i;
  }
}

using testing::ExpectRanksAddUp;
using testing::ExpectRefused;
using testing::MixerUnderTest;

// Masks that need whole sequences, which the conformance suite leaves out.
TEST(Attention, BidirectionalAndPrefixMatchReference) {
  const Batch batch = Batch::OfLengths(std::vector<int32_t>{70, 1, 9});
  for (const char* mask :
       {R"("bidirectional")", R"({"prefix": 6})", R"({"prefix": 0})"}) {
    for (const char* window : {"null", "5"}) {
      const std::string config =
          std::string(R"({"heads": 4, "kv_heads": 2, "head_dim": 6,
                          "rope": {"theta": 100}, "mask": )") +
          mask + R"(, "window": )" + window + "}";
      MixerUnderTest attention(&CreateAttention, config, 16);
      const Tensor x = attention.Input(batch);
      EXPECT_TRUE(testing::Near(attention.Run(batch, x, attention.weights),
                                attention.Reference(batch, x), 3e-6))
          << config;
      std::vector<Weight*> trainable;
      std::vector<const Weight*> handles;
      for (Weight& w : attention.weights) {
        trainable.push_back(&w);
        handles.push_back(&w);
      }
      Context ctx;
      ctx.batch = &batch;
      ctx.weights = handles;
      ExpectGradients(ctx, {x}, trainable,
                      [&](Context& c, const std::vector<Tensor>& in) {
                        return attention.mixer->Forward(c, in[0]);
                      });
    }
  }
}

TEST(Attention, RanksAddUp) {
  const Batch batch = Batch::OfLengths(std::vector<int32_t>{30, 4});
  const MixerUnderTest attention(
      &CreateAttention,
      R"({"heads": 12, "kv_heads": 6, "head_dim": 4, "bias": true,
          "rope": {"theta": 10000}, "qk_norm": {"type": "rms"},
          "sinks": true})",
      16);
  for (int size : {2, 3, 6}) ExpectRanksAddUp(attention, batch, size);
}

TEST(Attention, StateSaysWhatLaterTokensRead) {
  const auto state = [](const std::string& fields) {
    return MixerUnderTest(&CreateAttention,
                          R"({"heads": 4, "kv_heads": 2)" + fields + "}", 16)
        .mixer->state();
  };
  const std::vector<StateSpec> plain = state("");
  ASSERT_EQ(plain.size(), 2u);
  EXPECT_EQ(plain[0].name, "k");
  EXPECT_EQ(plain[1].name, "v");
  EXPECT_TRUE(plain[0].shape == Shape({2, 4}));
  EXPECT_EQ(plain[0].keep_last, 0);
  const std::vector<StateSpec> windowed =
      state(R"(, "window": 9, "mask": {"prefix": 3})");
  EXPECT_EQ(windowed[0].keep_first, 3);
  EXPECT_EQ(windowed[1].keep_last, 9);
  EXPECT_TRUE(state(R"(, "mask": "bidirectional")").empty());
}

TEST(Attention, RefusesBadConfigurations) {
  const testing::Creator create = &CreateAttention;
  ExpectRefused(create, "{}", "[attention] \"heads\" is missing");
  ExpectRefused(create, R"({"heads": 4, "kv_heads": 3})", "multiple of");
  ExpectRefused(create, R"({"heads": 3})", "\"head_dim\" is missing");
  ExpectRefused(create, R"({"heads": 2, "head_dim": 5, "rope": {}})",
                "must be even");
  ExpectRefused(create, R"({"heads": 2, "rope": {"dim": 12}})",
                "\"rope.dim\" must be at most a head's 8 channels");
  ExpectRefused(create, R"({"heads": 2, "mask": "diagonal"})", "\"mask\"");
  ExpectRefused(create, R"({"heads": 2, "mask": {"prefix": -1}})", "prefix");
  ExpectRefused(create, R"({"heads": 2, "window": 0})", "\"window\"");
  ExpectRefused(create, R"({"heads": 2, "bias": {"z": true}})", "z");
  ExpectRefused(create, R"({"heads": 2, "scale": -1})", "\"scale\"");
  ExpectRefused(create, R"({"heads": 2, "num_heads": 2})", "num_heads");
}

}  // namespace
}  // namespace intarsia
