// The vector-Jacobian product: states of a chunk again, then its tokens
// backward. README.md has the algebra.
#include <hwy/aligned_allocator.h>

#include <cmath>
#include <cstring>

#include "intarsia/mixers/common/delta_rule_kernels.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "intarsia/mixers/common/delta_rule_vjp_cpu.cc"
#include <hwy/foreach_target.h>
// Comes after foreach_target.
#include <hwy/highway.h>

#include "intarsia/mixers/common/delta_rule_loops-inl.h"

HWY_BEFORE_NAMESPACE();
namespace intarsia::delta_rule::HWY_NAMESPACE {

// One head of one segment.
class HeadBackward {
 public:
  HeadBackward(const Args& args, std::span<const Chunk> chunks, int64_t h,
               const Gradients& gradients)
      : args_(args),
        chunks_(chunks),
        h_(h),
        g_(gradients),
        K_(args.key_dim),
        V_(args.value_dim),
        size_(args.state_size()),
        longest_(LongestChunk(chunks)),
        starts_(Allocate(chunks.size() * size_)),
        states_(Allocate((longest_ + 1) * size_)),
        erased_(Allocate(longest_ * V_)),
        ds_(Allocate(size_)),
        w_(Allocate(K_)),
        written_(Allocate(V_)),
        dvalue_(Allocate(V_)),
        derased_(Allocate(V_)) {}

  void Run(const float* state_in) {
    RunStates(state_in);
    if (g_.state != nullptr) {
      std::memcpy(ds_.get(), g_.state, size_ * sizeof(float));
    } else {
      std::fill_n(ds_.get(), size_, 0.0f);
    }
    for (int64_t c = static_cast<int64_t>(chunks_.size()) - 1; c >= 0; --c) {
      const Chunk& chunk = chunks_[c];
      std::memcpy(states_.get(), starts_.get() + c * size_,
                  size_ * sizeof(float));
      for (int64_t t = chunk.begin; t < chunk.end; ++t) {
        const int64_t n = t - chunk.begin;
        Move(t, states_.get() + n * size_, states_.get() + (n + 1) * size_,
             erased_.get() + n * V_);
      }
      for (int64_t t = chunk.end - 1; t >= chunk.begin; --t) {
        const int64_t n = t - chunk.begin;
        Token(t, states_.get() + n * size_, states_.get() + (n + 1) * size_,
              erased_.get() + n * V_);
      }
    }
    if (g_.state_in != nullptr) {
      std::memcpy(g_.state_in, ds_.get(), size_ * sizeof(float));
    }
  }

 private:
  // The state before each chunk.
  void RunStates(const float* state_in) {
    if (chunks_.empty()) return;
    if (state_in != nullptr) {
      std::memcpy(starts_.get(), state_in, size_ * sizeof(float));
    } else {
      std::fill_n(starts_.get(), size_, 0.0f);
    }
    for (size_t c = 0; c + 1 < chunks_.size(); ++c) {
      float *from = states_.get(), *to = from + size_;
      std::memcpy(from, starts_.get() + c * size_, size_ * sizeof(float));
      for (int64_t t = chunks_[c].begin; t < chunks_[c].end; ++t) {
        Move(t, from, to, erased_.get());
        std::swap(from, to);
      }
      std::memcpy(starts_.get() + (c + 1) * size_, from, size_ * sizeof(float));
    }
  }

  // One token forward; erased [V] is −e S', or −e S.
  void Move(int64_t t, const float* from, float* to, float* erased) {
    const Row row = RowAt(args_, t, h_);
    Factors(args_, t, h_, w_.get());
    if (row.erase != nullptr) {
      std::fill_n(erased, V_, 0.0f);
      for (int64_t i = 0; i < K_; ++i) {
        AddScaled(1.0f, -row.erase[i] * (args_.erase_before ? 1.0f : w_[i]),
                  from + i * V_, V_, erased);
      }
    }
    const float* x = row.removal ? row.removal : row.k;
    for (int64_t i = 0; i < K_; ++i) {
      float* cells = to + i * V_;
      Scaled(w_[i], from + i * V_, V_, cells);
      AddScaled(1.0f, row.k[i], row.v, V_, cells);
      if (row.erase != nullptr) AddScaled(1.0f, x[i], erased, V_, cells);
    }
  }

  void Token(int64_t t, const float* before, const float* after,
             const float* erased) {
    const Row row = RowAt(args_, t, h_);
    const int64_t keys = (t * args_.heads + h_) * K_;
    const int64_t values = (t * args_.heads + h_) * V_;
    const float* dout = g_.out ? g_.out + values : nullptr;
    Factors(args_, t, h_, w_.get());
    // What stands along k: v, and what is erased where x is k.
    const bool own = row.removal != nullptr;
    std::memcpy(written_.get(), row.v, V_ * sizeof(float));
    if (row.erase && !own) AddScaled(1.0f, 1.0f, erased, V_, written_.get());
    std::fill_n(dvalue_.get(), V_, 0.0f);
    std::fill_n(derased_.get(), V_, 0.0f);
    const float* seen = args_.before ? before : after;
    for (int64_t i = 0; i < K_; ++i) {
      float* ds = ds_.get() + i * V_;
      g_.q[keys + i] = dout ? args_.scale * Dot(seen + i * V_, dout, V_) : 0.0f;
      if (dout && !args_.before) {
        AddScaled(1.0f, args_.scale * row.q[i], dout, V_, ds);
      }
      g_.k[keys + i] = Dot(ds, written_.get(), V_);
      AddScaled(1.0f, row.k[i], ds, V_, dvalue_.get());
      if (own) {
        g_.removal[keys + i] = Dot(ds, erased, V_);
        AddScaled(1.0f, row.removal[i], ds, V_, derased_.get());
      }
    }
    std::memcpy(g_.v + values, dvalue_.get(), V_ * sizeof(float));
    const float* de = own ? derased_.get() : dvalue_.get();
    double sum = 0.0;
    for (int64_t i = 0; i < K_; ++i) {
      float* ds = ds_.get() + i * V_;
      const float* s = before + i * V_;
      if (row.erase) {
        const float w = args_.erase_before ? 1.0f : w_[i];
        g_.erase[keys + i] = -w * Dot(s, de, V_);
        if (!args_.erase_before) AddScaled(1.0f, -row.erase[i], de, V_, ds);
      }
      if (args_.decay != nullptr) {
        const float decay = w_[i] * Dot(ds, s, V_);
        sum += decay;
        if (args_.decay_dim == K_) g_.decay[keys + i] = decay;
      }
      Scaled(w_[i], ds, V_, ds);
      if (args_.erase_before) AddScaled(1.0f, -row.erase[i], de, V_, ds);
      if (dout && args_.before) {
        AddScaled(1.0f, args_.scale * row.q[i], dout, V_, ds);
      }
    }
    if (args_.decay != nullptr && args_.decay_dim == 1) {
      g_.decay[t * args_.heads + h_] = static_cast<float>(sum);
    }
  }

  const Args& args_;
  std::span<const Chunk> chunks_;
  int64_t h_;
  const Gradients& g_;
  int64_t K_, V_, size_, longest_;
  Buffer starts_;  // before each chunk
  Buffer states_;  // of one chunk, before each token and after the last
  Buffer erased_;  // of one chunk, [rows, V]
  Buffer ds_, w_, written_, dvalue_, derased_;
};

void Backward(const Args& args, std::span<const Chunk> chunks, int64_t h,
              const float* state_in, const Gradients& gradients) {
  HeadBackward(args, chunks, h, gradients).Run(state_in);
}

}  // namespace intarsia::delta_rule::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace intarsia::delta_rule {

HWY_EXPORT(Backward);

void Backward(const Args& args, std::span<const GatedLinearPlan::Chunk> chunks,
              int64_t h, const float* state_in, const Gradients& gradients) {
  HWY_DYNAMIC_DISPATCH(Backward)(args, chunks, h, state_in, gradients);
}

}  // namespace intarsia::delta_rule
#endif  // HWY_ONCE
