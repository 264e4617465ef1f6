// Forward kernels: the recurrent step and the chunked form.
#include <hwy/aligned_allocator.h>

#include <cmath>
#include <cstring>
#include <vector>

#include "intarsia/mixers/common/delta_rule_kernels.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "intarsia/mixers/common/delta_rule_cpu.cc"
#include <hwy/foreach_target.h>
// Comes after foreach_target.
#include <hwy/highway.h>

#include "intarsia/mixers/common/delta_rule_loops-inl.h"
#include "intarsia/mixers/common/small_matmul-inl.h"

HWY_BEFORE_NAMESPACE();
namespace intarsia::delta_rule::HWY_NAMESPACE {

using namespace intarsia::HWY_NAMESPACE;  // NOLINT: the -inl helpers

// Rows whose decays are multiplied pair by pair. Between blocks they go through
// the start of the later one, so that every factor is a product of decays.
constexpr int64_t kBlock = 16;

// What a step needs of a token, [K] each.
struct StepRow {
  explicit StepRow(const Args& args)
      : w(Allocate(args.key_dim)),
        read(Allocate(args.key_dim)),
        erase(Allocate(args.key_dim)) {}

  Buffer w;
  Buffer read;   // scale · q, times w unless it reads what comes in
  Buffer erase;  // −e, times w likewise
};

// kVectors vectors of value channels from j on, all keys, in two walks: what
// the rows read of S, then what they write.
template <int kVectors, bool kPartial>
HWY_INLINE void StepStrip(const Args& args, const Row& row,
                          const StepRow& scaled, const float* x, float qk,
                          float qx, int64_t j, float* s, float* out) {
  const hn::ScalableTag<float> d;
  using Vec = decltype(hn::Zero(d));
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  const int64_t V = args.value_dim;
  const auto mask = hn::FirstN(d, kPartial ? V - j : lanes);
  const auto load = [&](const float* p) {
    return kPartial ? hn::MaskedLoad(mask, d, p) : hn::LoadU(d, p);
  };
  const auto store = [&](Vec value, float* p) {
    if (kPartial) {
      hn::BlendedStore(value, mask, d, p);
    } else {
      hn::StoreU(value, d, p);
    }
  };
  Vec read[kVectors], erased[kVectors], written[kVectors];
  for (int r = 0; r < kVectors; ++r) read[r] = erased[r] = hn::Zero(d);
  for (int64_t i = 0; i < args.key_dim; ++i) {
    const float* cells = s + i * V + j;
    const Vec query = hn::Set(d, scaled.read[i]);
    const Vec key = hn::Set(d, row.erase ? scaled.erase[i] : 0.0f);
    for (int r = 0; r < kVectors; ++r) {
      const Vec cell = load(cells + r * lanes);
      read[r] = hn::MulAdd(query, cell, read[r]);
      erased[r] = hn::MulAdd(key, cell, erased[r]);
    }
  }
  for (int r = 0; r < kVectors; ++r) {
    written[r] = load(row.v + j + r * lanes);
    if (x == nullptr) written[r] = hn::Add(written[r], erased[r]);
    read[r] = hn::MulAdd(hn::Set(d, qk), written[r], read[r]);
    if (x != nullptr) read[r] = hn::MulAdd(hn::Set(d, qx), erased[r], read[r]);
    store(read[r], out + j + r * lanes);
  }
  for (int64_t i = 0; i < args.key_dim; ++i) {
    float* cells = s + i * V + j;
    const Vec fade = hn::Set(d, scaled.w[i]), key = hn::Set(d, row.k[i]);
    for (int r = 0; r < kVectors; ++r) {
      Vec cell =
          hn::MulAdd(key, written[r], hn::Mul(fade, load(cells + r * lanes)));
      if (x != nullptr) cell = hn::MulAdd(hn::Set(d, x[i]), erased[r], cell);
      store(cell, cells + r * lanes);
    }
  }
}

// One token of one head.
void Step(const Args& args, int64_t t, int64_t h, StepRow& scaled, float* s,
          float* out) {
  const hn::ScalableTag<float> d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  const int64_t K = args.key_dim, V = args.value_dim;
  const Row row = RowAt(args, t, h);
  Factors(args, t, h, scaled.w.get());
  Scaled(args.scale, row.q, K, scaled.read.get());
  float qk = 0.0f, qx = 0.0f;
  if (!args.before) {
    qk = Dot(scaled.read.get(), row.k, K);
    if (row.removal) qx = Dot(scaled.read.get(), row.removal, K);
    Product(scaled.read.get(), scaled.w.get(), K, scaled.read.get());
  }
  if (row.erase) {
    Scaled(-1.0f, row.erase, K, scaled.erase.get());
    if (!args.erase_before) {
      Product(scaled.erase.get(), scaled.w.get(), K, scaled.erase.get());
    }
  }
  float* o = out + (t * args.heads + h) * V;
  const float* x = row.removal;
  int64_t j = 0;
  for (; j + 4 * lanes <= V; j += 4 * lanes) {
    StepStrip<4, false>(args, row, scaled, x, qk, qx, j, s, o);
  }
  for (; j + lanes <= V; j += lanes) {
    StepStrip<1, false>(args, row, scaled, x, qk, qx, j, s, o);
  }
  if (j < V) StepStrip<1, true>(args, row, scaled, x, qk, qx, j, s, o);
}

// A chunk of one head: what its rows read of the incoming state and of each
// other, and what they leave behind. README.md has the names.
class HeadChunk {
 public:
  HeadChunk(const Args& args, int64_t longest)
      : args_(args),
        K_(args.key_dim),
        V_(args.value_dim),
        ld_((longest + kBlock - 1) / kBlock * kBlock),
        own_(args.removal != nullptr),
        q_(Allocate(longest * K_)),
        e_(Allocate(longest * K_)),
        w_(Allocate(longest * K_)),
        kt_(Allocate(K_ * ld_)),
        xt_(Allocate(own_ ? K_ * ld_ : 0)),
        qk_(Allocate(longest * ld_)),
        ek_(Allocate(args.erase ? longest * ld_ : 0)),
        qx_(Allocate(own_ ? longest * ld_ : 0)),
        ex_(Allocate(own_ ? longest * ld_ : 0)),
        total_(Allocate(K_)),
        prefix_(Allocate(K_)),
        fade_(Allocate(std::max(ld_, K_))),
        written_(Allocate(longest * V_)),
        erased_(Allocate(own_ ? longest * V_ : 0)) {}

  void Run(const Chunk& chunk, int64_t h, float* s, float* out) {
    begin_ = chunk.begin;
    h_ = h;
    rows_ = chunk.end - chunk.begin;
    Load();
    if (args_.decay != nullptr && args_.decay_dim == K_ && K_ > 1) {
      ScoresByChannel();
    } else {
      ScoresByHead();
    }
    const int64_t stride = args_.heads * V_;
    const float* v = args_.v + (begin_ * args_.heads + h_) * V_;
    float* o = out + (begin_ * args_.heads + h_) * V_;
    Apply(q_.get(), K_, s, V_, o, stride, K_, 0.0f, Shape2::kFull);
    const float* values = v;
    int64_t values_stride = stride;
    if (own_) {
      Apply(e_.get(), K_, s, V_, erased_.get(), V_, K_, 0.0f, Shape2::kFull);
      Apply(ek_.get(), ld_, v, stride, erased_.get(), V_, rows_, 1.0f,
            Shape2::kLowerA);
      Solve(ex_.get(), erased_.get());
      Apply(qx_.get(), ld_, erased_.get(), V_, o, stride, rows_, 1.0f,
            Shape2::kLowerA);
    } else if (args_.erase != nullptr) {
      Apply(e_.get(), K_, s, V_, written_.get(), V_, K_, 0.0f, Shape2::kFull);
      for (int64_t n = 0; n < rows_; ++n) {
        AddScaled(1.0f, 1.0f, v + n * stride, V_, written_.get() + n * V_);
      }
      Solve(ek_.get(), written_.get());
      values = written_.get();
      values_stride = V_;
    }
    Apply(qk_.get(), ld_, values, values_stride, o, stride, rows_, 1.0f,
          Shape2::kLowerA);
    for (int64_t i = 0; i < K_; ++i) {
      Scaled(total_[i], s + i * V_, V_, s + i * V_);
    }
    Leave(kt_.get(), values, values_stride, s);
    if (own_) Leave(xt_.get(), erased_.get(), V_, s);
  }

 private:
  // c [rows, V] = keep · c + a b.
  void Apply(const float* a, int64_t lda, const float* b, int64_t ldb, float* c,
             int64_t ldc, int64_t k, float keep, Shape2 shape) {
    Multiply({.a = a,
              .lda = lda,
              .b = b,
              .ldb = ldb,
              .c = c,
              .ldc = ldc,
              .m = rows_,
              .n = V_,
              .k = k,
              .keep = keep,
              .shape = shape});
  }

  void Leave(const float* keys, const float* values, int64_t stride, float* s) {
    Multiply({.a = keys,
              .lda = ld_,
              .b = values,
              .ldb = stride,
              .c = s,
              .ldc = V_,
              .m = K_,
              .n = V_,
              .k = rows_,
              .keep = 1.0f});
  }

  // d ← (I − scores)⁻¹ d, scores strictly lower.
  void Solve(const float* scores, float* d) {
    for (int64_t begin = 0; begin < rows_; begin += kBlock) {
      const int64_t end = std::min(begin + kBlock, rows_);
      if (begin > 0) {
        Multiply({.a = scores + begin * ld_,
                  .lda = ld_,
                  .b = d,
                  .ldb = V_,
                  .c = d + begin * V_,
                  .ldc = V_,
                  .m = end - begin,
                  .n = V_,
                  .k = begin,
                  .keep = 1.0f});
      }
      for (int64_t n = begin + 1; n < end; ++n) {
        Multiply({.a = scores + n * ld_ + begin,
                  .lda = ld_,
                  .b = d + begin * V_,
                  .ldb = V_,
                  .c = d + n * V_,
                  .ldc = V_,
                  .m = 1,
                  .n = V_,
                  .k = n - begin,
                  .keep = 1.0f});
      }
    }
  }

  void Load() {
    for (int64_t n = 0; n < rows_; ++n) {
      const Row row = RowAt(args_, begin_ + n, h_);
      Scaled(args_.scale, row.q, K_, q_.get() + n * K_);
      if (row.erase) Scaled(-1.0f, row.erase, K_, e_.get() + n * K_);
      Factors(args_, begin_ + n, h_, w_.get() + n * K_);
    }
    for (float* scores :
         {qk_.get(), args_.erase ? ek_.get() : nullptr,
          own_ ? qx_.get() : nullptr, own_ ? ex_.get() : nullptr}) {
      if (scores != nullptr) std::fill_n(scores, rows_ * ld_, 0.0f);
    }
    std::fill_n(total_.get(), K_, 1.0f);
  }

  // Of the keys: k, and x where it is another.
  struct Side {
    float* transposed;  // [K, ld]: rows as they leave the block
    float *of_q, *of_e;
    const float* (*row)(const Row&);
  };
  std::vector<Side> Sides() {
    std::vector<Side> sides = {{kt_.get(), qk_.get(),
                                args_.erase ? ek_.get() : nullptr,
                                [](const Row& row) { return row.k; }}};
    if (own_) {
      sides.push_back({xt_.get(), qx_.get(), ex_.get(),
                       [](const Row& row) { return row.removal; }});
    }
    return sides;
  }

  // One decay a head: scores are products times a factor of both rows.
  void ScoresByHead() {
    const std::vector<Side> sides = Sides();
    for (const Side& side : sides) {
      const Row first = RowAt(args_, begin_, h_);
      const int64_t stride =
          (side.row(first) == first.k ? args_.groups : args_.heads) * K_;
      Transpose(side.row(first), stride, rows_, K_, side.transposed, ld_);
      for (auto [from, to] :
           {std::pair(q_.get(), side.of_q), std::pair(e_.get(), side.of_e)}) {
        if (to == nullptr) continue;
        Multiply({.a = from,
                  .lda = K_,
                  .b = side.transposed,
                  .ldb = ld_,
                  .c = to,
                  .ldc = ld_,
                  .m = rows_,
                  .n = rows_,
                  .k = K_,
                  .shape = Shape2::kLowerC});
      }
    }
    // fade[m]: what has faded since row m, over the rows m + 1 .. n.
    float enter = 1.0f;
    float* fade = fade_.get();
    const auto enters = [&](Buffer& rows, int64_t n) {
      Scaled(enter, rows.get() + n * K_, K_, rows.get() + n * K_);
    };
    const auto scale = [&](float* scores, int64_t n, int64_t count) {
      if (scores == nullptr) return;
      float* row = scores + n * ld_;
      Product(row, fade, count, row);
      std::fill(row + count, row + ld_, 0.0f);
    };
    for (int64_t n = 0; n < rows_; ++n) {
      const float w = w_[n * K_];
      const bool fresh = args_.erase != nullptr && !args_.erase_before;
      if (args_.before) {
        for (const Side& side : sides) scale(side.of_q, n, n);
        enters(q_, n);
      }
      if (args_.erase_before) {
        for (const Side& side : sides) scale(side.of_e, n, n);
        enters(e_, n);
      }
      Scaled(w, fade, n, fade);
      fade[n] = 1.0f;
      enter *= w;
      for (const Side& side : sides) {
        if (!args_.before) scale(side.of_q, n, n + 1);
        if (fresh) scale(side.of_e, n, n);
      }
      if (!args_.before) enters(q_, n);
      if (fresh) enters(e_, n);
    }
    std::fill_n(total_.get(), K_, enter);
    for (const Side& side : sides) {
      for (int64_t i = 0; i < K_; ++i) {
        Product(side.transposed + i * ld_, fade, rows_,
                side.transposed + i * ld_);
      }
    }
  }

  // Scores of row n with the rows of its block before it, q that reads what
  // went in with its own too. y: the row's q or e, which takes the decays on
  // the way.
  void PairByPair(const std::vector<Side>& sides, int64_t n, int64_t begin,
                  bool of_q, float* y) {
    const bool before = of_q ? args_.before : args_.erase_before;
    const bool with_self = of_q && !before;
    for (int64_t m = with_self ? n : n - 1; m >= begin; --m) {
      // A row that reads what came in has not faded by its own decay.
      const int64_t faded = m + 1;
      if (faded <= (before ? n - 1 : n)) {
        Product(y, w_.get() + faded * K_, K_, y);
      }
      const Row row = RowAt(args_, begin_ + m, h_);
      for (const Side& side : sides) {
        float* scores = of_q ? side.of_q : side.of_e;
        if (scores == nullptr) continue;
        scores[n * ld_ + m] = Dot(y, side.row(row), K_);
      }
    }
  }

  void ScoresByChannel() {
    const std::vector<Side> sides = Sides();
    float* prefix = prefix_.get();
    for (int64_t begin = 0; begin < rows_; begin += kBlock) {
      const int64_t end = std::min(begin + kBlock, rows_);
      for (int64_t n = begin; n < end; ++n) {
        std::memcpy(prefix, q_.get() + n * K_, K_ * sizeof(float));
        PairByPair(sides, n, begin, /*of_q=*/true, prefix);
        if (args_.erase == nullptr) continue;
        std::memcpy(prefix, e_.get() + n * K_, K_ * sizeof(float));
        PairByPair(sides, n, begin, /*of_q=*/false, prefix);
      }
      // From the start of the block to each of its rows.
      std::fill_n(prefix, K_, 1.0f);
      for (int64_t n = begin; n < end; ++n) {
        float *q = q_.get() + n * K_, *e = e_.get() + n * K_;
        if (args_.before) Product(q, prefix, K_, q);
        if (args_.erase_before) Product(e, prefix, K_, e);
        Product(prefix, w_.get() + n * K_, K_, prefix);
        if (!args_.before) Product(q, prefix, K_, q);
        if (args_.erase && !args_.erase_before) Product(e, prefix, K_, e);
      }
      for (const Side& side : sides) {
        Across(q_.get(), side.transposed, begin, end, side.of_q);
        Across(e_.get(), side.transposed, begin, end, side.of_e);
        Append(side, begin, end, prefix);
      }
      for (int64_t n = begin; n < end; ++n) {
        Product(q_.get() + n * K_, total_.get(), K_, q_.get() + n * K_);
        if (args_.erase == nullptr) continue;
        Product(e_.get() + n * K_, total_.get(), K_, e_.get() + n * K_);
      }
      Product(total_.get(), prefix, K_, total_.get());
    }
  }

  // Scores of the rows of a block with those of all blocks before it.
  void Across(const float* from, const float* transposed, int64_t begin,
              int64_t end, float* scores) {
    if (begin == 0 || scores == nullptr) return;
    Multiply({.a = from + begin * K_,
              .lda = K_,
              .b = transposed,
              .ldb = ld_,
              .c = scores + begin * ld_,
              .ldc = ld_,
              .m = end - begin,
              .n = begin,
              .k = K_});
  }

  // Earlier rows fade over the block; its own join them.
  void Append(const Side& side, int64_t begin, int64_t end,
              const float* block) {
    for (int64_t i = 0; i < K_; ++i) {
      Scaled(block[i], side.transposed + i * ld_, begin,
             side.transposed + i * ld_);
    }
    float* fade = fade_.get();
    std::fill_n(fade, K_, 1.0f);
    for (int64_t m = end - 1; m >= begin; --m) {
      const float* row = side.row(RowAt(args_, begin_ + m, h_));
      for (int64_t i = 0; i < K_; ++i) {
        side.transposed[i * ld_ + m] = fade[i] * row[i];
      }
      Product(fade, w_.get() + m * K_, K_, fade);
    }
  }

  const Args& args_;
  const int64_t K_, V_, ld_;
  const bool own_;  // x is not k
  int64_t begin_ = 0, h_ = 0, rows_ = 0;
  Buffer q_, e_;    // [rows, K], e with the other sign; then as they read S
  Buffer w_;        // [rows, K]
  Buffer kt_, xt_;  // [K, ld]
  Buffer qk_, ek_, qx_, ex_;  // scores, [rows, ld]
  Buffer total_, prefix_, fade_;
  Buffer written_, erased_;  // [rows, V]; what is erased has the other sign
};

void Forward(const Args& args, std::span<const Chunk> chunks, int64_t h,
             const float* state_in, float* state_out, float* out) {
  const size_t bytes = args.state_size() * sizeof(float);
  if (state_in == nullptr) {
    std::memset(state_out, 0, bytes);
  } else if (state_in != state_out) {
    std::memcpy(state_out, state_in, bytes);
  }
  StepRow scaled(args);
  const int64_t longest = LongestChunk(chunks);
  if (longest == 1) {
    for (const Chunk& chunk : chunks) {
      Step(args, chunk.begin, h, scaled, state_out, out);
    }
    return;
  }
  HeadChunk head(args, longest);
  for (const Chunk& chunk : chunks) {
    if (chunk.end - chunk.begin == 1) {
      Step(args, chunk.begin, h, scaled, state_out, out);
    } else {
      head.Run(chunk, h, state_out, out);
    }
  }
}

}  // namespace intarsia::delta_rule::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace intarsia::delta_rule {

HWY_EXPORT(Forward);

void Forward(const Args& args, std::span<const GatedLinearPlan::Chunk> chunks,
             int64_t h, const float* state_in, float* state_out, float* out) {
  HWY_DYNAMIC_DISPATCH(Forward)(args, chunks, h, state_in, state_out, out);
}

}  // namespace intarsia::delta_rule
#endif  // HWY_ONCE
