// The selective scan by vectors of channels: a lane is a channel, so that sums
// over states need no shuffles and a token's bits depend on its past alone.
#include <algorithm>
#include <vector>

#include "intarsia/mixers/mamba/mamba_kernels.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "intarsia/mixers/mamba/mamba_cpu.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "intarsia/ops/common/vector_loops-inl.h"
#include "intarsia/ops/common/vector_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace intarsia {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;

int64_t LaneCount() { return static_cast<int64_t>(hn::Lanes(D())); }

// The channels [first, first + count) as lanes; those past `count` are zero.
struct Lanes {
  int64_t first, count;
  V Load(const float* row) const {
    return count == LaneCount() ? hn::LoadU(D(), row + first)
                                : LoadTail(D(), row + first, count);
  }
  void Store(V v, float* row) const {
    if (count == LaneCount()) {
      hn::StoreU(v, D(), row + first);
    } else {
      StoreTail(D(), v, row + first, count);
    }
  }
  // [I, N] to [N, lanes] and back.
  void LoadStates(const float* in, int64_t states, float* out) const {
    const int64_t lanes = LaneCount();
    for (int64_t i = 0; i < lanes; ++i) {
      for (int64_t n = 0; n < states; ++n) {
        out[n * lanes + i] = i < count ? in[(first + i) * states + n] : 0.0f;
      }
    }
  }
  void StoreStates(const float* in, int64_t states, float* out) const {
    for (int64_t i = 0; i < count; ++i) {
      for (int64_t n = 0; n < states; ++n) {
        out[(first + i) * states + n] = in[n * LaneCount() + i];
      }
    }
  }
};

std::vector<Lanes> Cut(int64_t c0, int64_t c1) {
  std::vector<Lanes> parts;
  for (int64_t c = c0; c < c1; c += LaneCount()) {
    parts.push_back({c, std::min(LaneCount(), c1 - c)});
  }
  return parts;
}

// −exp(A_log) of the lanes, [N, lanes].
void LoadRates(const mamba::Args& args, const Lanes& part, float* a) {
  part.LoadStates(args.a_log, args.states, a);
  for (int64_t n = 0; n < args.states; ++n) {
    float* at = a + n * LaneCount();
    hn::StoreU(hn::Neg(Exp(D(), hn::LoadU(D(), at))), D(), at);
  }
}

void ScanImpl(const Batch& batch, const mamba::Args& args, int64_t c0,
              int64_t c1, float* states, float* y) {
  const D d;
  const int64_t lanes = LaneCount(), N = args.states, I = args.channels;
  const std::vector<Lanes> parts = Cut(c0, c1);
  const int64_t size = N * lanes;
  std::vector<float> rates(parts.size() * size), kept(rates.size());
  for (size_t p = 0; p < parts.size(); ++p) {
    LoadRates(args, parts[p], rates.data() + p * size);
  }
  for (int64_t s = 0; s < batch.segments(); ++s) {
    const int64_t slot = batch.slots[s];
    float* own =
        states != nullptr && slot >= 0 ? states + slot * I * N : nullptr;
    if (own == nullptr) std::fill(kept.begin(), kept.end(), 0.0f);
    for (size_t p = 0; own != nullptr && p < parts.size(); ++p) {
      parts[p].LoadStates(own, N, kept.data() + p * size);
    }
    for (int64_t t = batch.begin(s); t < batch.begin(s + 1); ++t) {
      const float *b = args.b + t * N, *c = args.c + t * N;
      for (size_t p = 0; p < parts.size(); ++p) {
        const Lanes& part = parts[p];
        const float* a = rates.data() + p * size;
        float* h = kept.data() + p * size;
        const V x = part.Load(args.x + t * I);
        const V step = Softplus(
            d, hn::Add(part.Load(args.dt + t * I), part.Load(args.dt_bias)));
        const V in = hn::Mul(step, x);
        V sum = hn::Mul(part.Load(args.d), x);
        for (int64_t n = 0; n < N; ++n) {
          const V fade = Exp(d, hn::Mul(step, hn::LoadU(d, a + n * lanes)));
          const V next = hn::MulAdd(fade, hn::LoadU(d, h + n * lanes),
                                    hn::Mul(in, hn::Set(d, b[n])));
          hn::StoreU(next, d, h + n * lanes);
          sum = hn::MulAdd(next, hn::Set(d, c[n]), sum);
        }
        if (args.z != nullptr) {
          const V z = part.Load(args.z + t * I);
          sum = hn::Mul(sum, hn::Mul(z, Sigmoid(d, z)));
        }
        part.Store(sum, y + t * I);
      }
    }
    for (size_t p = 0; own != nullptr && p < parts.size(); ++p) {
      parts[p].StoreStates(kept.data() + p * size, N, own);
    }
  }
}

// One vector of channels over one sequence, backwards in blocks of time whose
// states are computed again.
class Backward {
 public:
  static constexpr int64_t kTime = 32;

  Backward(const mamba::Args& args, const Lanes& part,
           const mamba::Gradients& g)
      : args_(args),
        part_(part),
        g_(g),
        size_(args.states * LaneCount()),
        rates_(size_),
        d_rates_(size_, 0.0),
        d_skip_(LaneCount(), 0.0),
        d_bias_(LaneCount(), 0.0) {
    LoadRates(args, part, rates_.data());
  }

  void Sequence(int64_t begin, int64_t end) {
    const int64_t blocks = (end - begin + kTime - 1) / kTime;
    // The state before each block.
    std::vector<float> before((blocks + 1) * size_, 0.0f);
    for (int64_t k = 0; k < blocks; ++k) {
      float* next = before.data() + (k + 1) * size_;
      std::copy_n(before.data() + k * size_, size_, next);
      const int64_t stop = std::min(end, begin + (k + 1) * kTime);
      for (int64_t t = begin + k * kTime; t < stop; ++t) {
        Step(t, next, nullptr, next);
      }
    }
    std::vector<float> carry(size_, 0.0f);  // of the state after the block
    for (int64_t k = blocks - 1; k >= 0; --k) {
      Block(begin + k * kTime, std::min(end, begin + (k + 1) * kTime),
            before.data() + k * size_, carry.data());
    }
  }

  // Adds what all sequences gave.
  void Finish() const {
    const int64_t lanes = LaneCount();
    for (int64_t i = 0; i < part_.count; ++i) {
      const int64_t at = part_.first + i;
      for (int64_t n = 0; n < args_.states; ++n) {
        // d(A) A, as A = −exp(A_log).
        g_.a_log[at * args_.states + n] =
            static_cast<float>(d_rates_[n * lanes + i] * rates_[n * lanes + i]);
      }
      g_.d[at] = static_cast<float>(d_skip_[i]);
      g_.dt_bias[at] = static_cast<float>(d_bias_[i]);
    }
  }

 private:
  // fades, if wanted, and the state after token t; `after` may be `h`.
  void Step(int64_t t, const float* h, float* fades, float* after) const {
    const D d;
    const int64_t lanes = LaneCount(), I = args_.channels;
    const V step = Softplus(d, Raw(t));
    const V in = hn::Mul(step, part_.Load(args_.x + t * I));
    for (int64_t n = 0; n < args_.states; ++n) {
      const int64_t at = n * lanes;
      const V fade = Exp(d, hn::Mul(step, hn::LoadU(d, rates_.data() + at)));
      if (fades != nullptr) hn::StoreU(fade, d, fades + at);
      const V b = hn::Set(d, args_.b[t * args_.states + n]);
      hn::StoreU(hn::MulAdd(fade, hn::LoadU(d, h + at), hn::Mul(in, b)), d,
                 after + at);
    }
  }
  V Raw(int64_t t) const {
    return hn::Add(part_.Load(args_.dt + t * args_.channels),
                   part_.Load(args_.dt_bias));
  }

  void Block(int64_t begin, int64_t end, const float* before, float* carry) {
    const D d;
    const int64_t lanes = LaneCount(), I = args_.channels, N = args_.states;
    const int64_t rows = end - begin;
    std::vector<float> h((rows + 1) * size_), fades(rows * size_);
    std::copy_n(before, size_, h.data());
    for (int64_t r = 0; r < rows; ++r) {
      Step(begin + r, h.data() + r * size_, fades.data() + r * size_,
           h.data() + (r + 1) * size_);
    }
    std::vector<float> d_rates(size_, 0.0f);
    V d_skip = hn::Zero(d), d_bias = hn::Zero(d);
    for (int64_t r = rows - 1; r >= 0; --r) {
      const int64_t t = begin + r;
      const float *earlier = h.data() + r * size_, *now = earlier + size_;
      const float* fade = fades.data() + r * size_;
      const float *b = args_.b + t * N, *c = args_.c + t * N;
      const V x = part_.Load(args_.x + t * I), raw = Raw(t);
      const V step = Softplus(d, raw), skip = part_.Load(args_.d);
      V dy = part_.Load(g_.y + t * I);
      if (args_.z != nullptr) {
        V y = hn::Mul(skip, x);
        for (int64_t n = 0; n < N; ++n) {
          y = hn::MulAdd(hn::LoadU(d, now + n * lanes), hn::Set(d, c[n]), y);
        }
        const V z = part_.Load(args_.z + t * I), open = Sigmoid(d, z);
        // silu' = σ (1 + z (1 − σ))
        const V slope = hn::Mul(
            open,
            hn::MulAdd(z, hn::Sub(hn::Set(d, 1.0f), open), hn::Set(d, 1.0f)));
        part_.Store(hn::Mul(hn::Mul(dy, y), slope), g_.z + t * I);
        dy = hn::Mul(dy, hn::Mul(z, open));
      }
      const V in = hn::Mul(step, x);
      V written = hn::Zero(d), faded = hn::Zero(d);
      for (int64_t n = 0; n < N; ++n) {
        const int64_t at = n * lanes;
        const V g = hn::MulAdd(dy, hn::Set(d, c[n]), hn::LoadU(d, carry + at));
        g_.c[t * N + n] +=
            hn::GetLane(hn::SumOfLanes(d, hn::Mul(dy, hn::LoadU(d, now + at))));
        g_.b[t * N + n] += hn::GetLane(hn::SumOfLanes(d, hn::Mul(g, in)));
        written = hn::MulAdd(g, hn::Set(d, b[n]), written);
        const V back = hn::Mul(g, hn::LoadU(d, fade + at));
        hn::StoreU(back, d, carry + at);
        const V q = hn::Mul(back, hn::LoadU(d, earlier + at));
        faded = hn::MulAdd(q, hn::LoadU(d, rates_.data() + at), faded);
        hn::StoreU(hn::MulAdd(q, step, hn::LoadU(d, d_rates.data() + at)), d,
                   d_rates.data() + at);
      }
      part_.Store(hn::MulAdd(dy, skip, hn::Mul(step, written)), g_.x + t * I);
      const V d_raw = hn::Mul(hn::MulAdd(x, written, faded), Sigmoid(d, raw));
      part_.Store(d_raw, g_.dt + t * I);
      d_bias = hn::Add(d_bias, d_raw);
      d_skip = hn::MulAdd(dy, x, d_skip);
    }
    HWY_ALIGN float skip[kMostLanes], bias[kMostLanes];
    hn::Store(d_skip, d, skip);
    hn::Store(d_bias, d, bias);
    for (int64_t i = 0; i < lanes; ++i) {
      d_skip_[i] += skip[i];
      d_bias_[i] += bias[i];
    }
    for (int64_t i = 0; i < size_; ++i) d_rates_[i] += d_rates[i];
  }

  const mamba::Args& args_;
  const Lanes part_;
  const mamba::Gradients& g_;
  const int64_t size_;
  std::vector<float> rates_;
  std::vector<double> d_rates_, d_skip_, d_bias_;
};

void ScanBackwardImpl(const Batch& batch, const mamba::Args& args, int64_t c0,
                      int64_t c1, const mamba::Gradients& gradients) {
  std::fill_n(gradients.b, batch.size() * args.states, 0.0f);
  std::fill_n(gradients.c, batch.size() * args.states, 0.0f);
  for (const Lanes& part : Cut(c0, c1)) {
    Backward backward(args, part, gradients);
    for (int64_t s = 0; s < batch.segments(); ++s) {
      backward.Sequence(batch.begin(s), batch.begin(s + 1));
    }
    backward.Finish();
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace intarsia
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace intarsia::mamba {

HWY_EXPORT(ScanImpl);
HWY_EXPORT(ScanBackwardImpl);

void Scan(const Batch& batch, const Args& args, int64_t c0, int64_t c1,
          float* states, float* y) {
  HWY_DYNAMIC_DISPATCH(ScanImpl)(batch, args, c0, c1, states, y);
}
void ScanBackward(const Batch& batch, const Args& args, int64_t c0, int64_t c1,
                  const Gradients& gradients) {
  HWY_DYNAMIC_DISPATCH(ScanBackwardImpl)(batch, args, c0, c1, gradients);
}

}  // namespace intarsia::mamba
#endif  // HWY_ONCE
