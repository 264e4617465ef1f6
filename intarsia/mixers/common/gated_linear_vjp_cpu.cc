// The vector-Jacobian product of the chunked form. README.md has the algebra.
#include <hwy/aligned_allocator.h>

#include <cmath>
#include <cstring>
#include <vector>

#include "intarsia/mixers/common/gated_linear_kernels.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "intarsia/mixers/common/gated_linear_vjp_cpu.cc"
#include <hwy/foreach_target.h>
// Comes after foreach_target.
#include <hwy/highway.h>

#include "intarsia/mixers/common/gated_linear_chunk-inl.h"
#include "intarsia/mixers/common/small_matmul-inl.h"

HWY_BEFORE_NAMESPACE();
namespace intarsia::gated_linear::HWY_NAMESPACE {

using Chunk = GatedLinearPlan::Chunk;

HWY_INLINE Buffer Allocate(int64_t n) {
  return hwy::AllocateAligned<float>(std::max<int64_t>(n, 1));
}

HWY_INLINE double Dot(const float* a, const float* b, int64_t n) {
  double sum = 0.0;
  for (int64_t i = 0; i < n; ++i) sum += double{a[i]} * b[i];
  return sum;
}

// Working memory of one head of one segment. S and its gradient are [K, V].
class HeadBackward {
 public:
  HeadBackward(const Args& args, std::span<const Chunk> chunks, int64_t h,
               const Gradients& gradients)
      : args_(args),
        chunks_(chunks),
        h_(h),
        group_(h / (args.heads / args.groups)),
        g_(gradients),
        size_(args.state_size()),
        longest_(LongestChunk(chunks)),
        keys_(args, longest_),
        head_(args, longest_),
        ld_(keys_.ld),
        states_(Allocate((chunks.size() + 1) * size_)),
        ds_(Allocate(size_)),
        state_transposed_(Allocate(size_)),
        v_transposed_(Allocate(args.value_dim * ld_)),
        q_transposed_(Allocate(args.key_dim * ld_)),
        dproducts_(Allocate(longest_ * ld_)),
        fade_(Allocate(longest_ * ld_)),
        transposed_(Allocate(longest_ * ld_)),
        dout_(Allocate(longest_ * args.value_dim)),
        dcumulative_(longest_) {}

  void Run(const float* state_in) {
    RunStates(state_in);
    LoadStateGradient();
    double total = 0.0;
    for (const Chunk& chunk : chunks_) total += SumOfDecays(args_, chunk, h_);
    // The reported decay is exp of the sum of all a.
    const double ddecay = g_.decay ? g_.decay[h_] * std::exp(total) : 0.0;
    for (int64_t c = static_cast<int64_t>(chunks_.size()) - 1; c >= 0; --c) {
      BackwardChunk(c, ddecay);
    }
    if (g_.state_in != nullptr) {
      CopyState(args_, ds_.get(), g_.state_in + h_ * size_, /*load=*/false);
    }
  }

 private:
  const float* q(const Chunk& chunk) const {
    return args_.q + (chunk.begin * args_.groups + group_) * args_.key_dim;
  }
  const float* k(const Chunk& chunk) const {
    return args_.k + (chunk.begin * args_.groups + group_) * args_.key_dim;
  }
  const float* v(const Chunk& chunk) const {
    return args_.v + (chunk.begin * args_.heads + h_) * args_.value_dim;
  }
  float* state(int64_t c) const { return states_.get() + c * size_; }

  // states_[c] is S before chunk c, the last one S after all.
  void RunStates(const float* state_in) {
    if (state_in != nullptr) {
      CopyState(args_, state_in + h_ * size_, state(0), /*load=*/true);
    } else {
      std::memset(state(0), 0, size_ * sizeof(float));
    }
    const int64_t K = args_.key_dim, V = args_.value_dim;
    for (size_t c = 0; c < chunks_.size(); ++c) {
      const Chunk& chunk = chunks_[c];
      const int64_t rows = chunk.end - chunk.begin;
      head_.Decays(args_, chunk, h_);
      Transpose(k(chunk), args_.groups * K, rows, K, keys_.transposed.get(),
                ld_);
      head_.ScaleValues(args_, v(chunk), rows);
      std::memcpy(state(c + 1), state(c), size_ * sizeof(float));
      Multiply({.a = keys_.transposed.get(),
                .lda = ld_,
                .b = head_.values.get(),
                .ldb = V,
                .c = state(c + 1),
                .ldc = V,
                .m = K,
                .n = V,
                .k = rows,
                .keep = head_.total});
    }
  }

  void LoadStateGradient() {
    if (g_.state != nullptr) {
      CopyState(args_, g_.state + h_ * size_, ds_.get(), /*load=*/true);
    } else {
      std::memset(ds_.get(), 0, size_ * sizeof(float));
    }
  }

  // Entering: ds_ is the gradient of the state after the chunk; leaving, of
  // that before it.
  void BackwardChunk(int64_t c, double ddecay) {
    const Chunk& chunk = chunks_[c];
    const int64_t rows = chunk.end - chunk.begin;
    head_.Decays(args_, chunk, h_);
    keys_.Load(args_, chunk, q(chunk), k(chunk));
    LoadOutputGradient(chunk, rows);
    // A change of the last sum scales the whole outgoing state. The reported
    // decay depends on the sum of every chunk.
    std::fill_n(dcumulative_.begin(), rows, 0.0);
    dcumulative_[rows - 1] = Dot(ds_.get(), state(c + 1), size_) + ddecay;

    ThroughState(chunk, rows, state(c));
    WithinChunk(chunk, rows);
    // c_n sums a over rows 0..n, so da_i collects the rows from i on.
    double sum = 0.0;
    for (int64_t n = rows - 1; n >= 0; --n) {
      sum += dcumulative_[n];
      g_.a[(chunk.begin + n) * args_.heads + h_] = static_cast<float>(sum);
    }
    StateGradient(chunk, rows);
  }

  void LoadOutputGradient(const Chunk& chunk, int64_t rows) {
    const int64_t V = args_.value_dim, stride = args_.heads * V;
    for (int64_t n = 0; n < rows; ++n) {
      float* row = dout_.get() + n * V;
      if (g_.out == nullptr) {
        std::memset(row, 0, V * sizeof(float));
      } else {
        std::memcpy(row,
                    g_.out + (chunk.begin * args_.heads + h_) * V + n * stride,
                    V * sizeof(float));
      }
    }
  }

  // Terms of q, k, v and a that go through the incoming or outgoing state:
  //   dq_n = enter_n S dO_n    dk_m = leave_m dS v_m    dv_m = leave_m dSᵀ k_m
  void ThroughState(const Chunk& chunk, int64_t rows, const float* s) {
    const int64_t H = args_.heads, K = args_.key_dim, V = args_.value_dim;
    const int64_t stride = args_.groups * K;
    float* dq = g_.q + (chunk.begin * H + h_) * K;
    float* dk = g_.k + (chunk.begin * H + h_) * K;
    Transpose(s, V, K, V, state_transposed_.get(), K);
    Multiply({.a = dout_.get(),
              .lda = V,
              .b = state_transposed_.get(),
              .ldb = K,
              .c = dq,
              .ldc = H * K,
              .m = rows,
              .n = K,
              .k = V,
              .row_scale = head_.enter.get()});
    Transpose(ds_.get(), V, K, V, state_transposed_.get(), K);
    Multiply({.a = v(chunk),
              .lda = H * V,
              .b = state_transposed_.get(),
              .ldb = K,
              .c = dk,
              .ldc = H * K,
              .m = rows,
              .n = K,
              .k = V,
              .row_scale = head_.leave.get()});
    Multiply({.a = k(chunk),
              .lda = stride,
              .b = ds_.get(),
              .ldb = V,
              .c = g_.v + (chunk.begin * H + h_) * V,
              .ldc = H * V,
              .m = rows,
              .n = V,
              .k = K,
              .row_scale = head_.leave.get()});
    for (int64_t n = 0; n < rows; ++n) {
      dcumulative_[n] += Dot(q(chunk) + n * stride, dq + n * H * K, K) -
                         Dot(k(chunk) + n * stride, dk + n * H * K, K);
    }
  }

  // Terms between rows of the chunk. With F_nm = scale · exp(c_n − c_m):
  //   dv_m += Σ_n F_nm (q_n k_m) dO_n      E_nm = F_nm (dO_n v_m)
  //   dq_n += Σ_m E_nm k_m                 dk_m += Σ_n E_nm q_n
  // and W_nm = E_nm (q_n k_m) adds to dc_n and subtracts from dc_m.
  void WithinChunk(const Chunk& chunk, int64_t rows) {
    const int64_t H = args_.heads, K = args_.key_dim, V = args_.value_dim;
    const int64_t stride = args_.groups * K;
    head_.Scores(keys_, rows, args_.scale);
    TransposeLower(head_.scores.get(), rows);
    Multiply({.a = transposed_.get(),
              .lda = ld_,
              .b = dout_.get(),
              .ldb = V,
              .c = g_.v + (chunk.begin * H + h_) * V,
              .ldc = H * V,
              .m = rows,
              .n = V,
              .k = rows,
              .keep = 1.0f,
              .shape = Shape2::kUpperA});

    Transpose(v(chunk), H * V, rows, V, v_transposed_.get(), ld_);
    Multiply({.a = dout_.get(),
              .lda = V,
              .b = v_transposed_.get(),
              .ldb = ld_,
              .c = dproducts_.get(),
              .ldc = ld_,
              .m = rows,
              .n = rows,
              .k = V,
              .shape = Shape2::kLowerC});
    for (int64_t n = 0; n < rows; ++n) {
      float* e = fade_.get() + n * ld_;
      const float* products = keys_.products.get() + n * ld_;
      head_.Fade(dproducts_.get() + n * ld_, n, args_.scale, e);
      for (int64_t m = 0; m < n; ++m) {  // the diagonal cancels
        const double w = double{e[m]} * products[m];
        dcumulative_[n] += w;
        dcumulative_[m] -= w;
      }
    }
    Multiply({.a = fade_.get(),
              .lda = ld_,
              .b = k(chunk),
              .ldb = stride,
              .c = g_.q + (chunk.begin * H + h_) * K,
              .ldc = H * K,
              .m = rows,
              .n = K,
              .k = rows,
              .keep = 1.0f,
              .shape = Shape2::kLowerA});
    TransposeLower(fade_.get(), rows);
    Multiply({.a = transposed_.get(),
              .lda = ld_,
              .b = q(chunk),
              .ldb = stride,
              .c = g_.k + (chunk.begin * H + h_) * K,
              .ldc = H * K,
              .m = rows,
              .n = K,
              .k = rows,
              .keep = 1.0f,
              .shape = Shape2::kUpperA});
  }

  // transposed_ [m, n] = lower [n, m], with zeros where n < m.
  void TransposeLower(const float* lower, int64_t rows) {
    for (int64_t m = 0; m < rows; ++m) {
      for (int64_t n = 0; n < rows; ++n) {
        transposed_[m * ld_ + n] = n < m ? 0.0f : lower[n * ld_ + m];
      }
    }
  }

  // dS before the chunk = exp(c_last) dS + Σ_n enter_n q_nᵀ dO_n.
  void StateGradient(const Chunk& chunk, int64_t rows) {
    const int64_t K = args_.key_dim, V = args_.value_dim;
    Transpose(q(chunk), args_.groups * K, rows, K, q_transposed_.get(), ld_);
    for (int64_t n = 0; n < rows; ++n) {
      for (int64_t j = 0; j < V; ++j) dout_[n * V + j] *= head_.enter[n];
    }
    Multiply({.a = q_transposed_.get(),
              .lda = ld_,
              .b = dout_.get(),
              .ldb = V,
              .c = ds_.get(),
              .ldc = V,
              .m = K,
              .n = V,
              .k = rows,
              .keep = head_.total});
  }

  const Args& args_;
  std::span<const Chunk> chunks_;
  int64_t h_, group_;
  const Gradients& g_;
  int64_t size_, longest_;
  KeyBlock keys_;
  HeadBlock head_;
  int64_t ld_;
  Buffer states_, ds_, state_transposed_;
  Buffer v_transposed_, q_transposed_;
  Buffer dproducts_, fade_, transposed_, dout_;
  std::vector<double> dcumulative_;  // gradient of c_n
};

void Backward(const Args& args, std::span<const Chunk> chunks, int64_t h,
              const float* state_in, const Gradients& gradients) {
  HeadBackward(args, chunks, h, gradients).Run(state_in);
}

}  // namespace intarsia::gated_linear::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace intarsia::gated_linear {

HWY_EXPORT(Backward);

void Backward(const Args& args, std::span<const GatedLinearPlan::Chunk> chunks,
              int64_t h, const float* state_in, const Gradients& gradients) {
  HWY_DYNAMIC_DISPATCH(Backward)(args, chunks, h, state_in, gradients);
}

}  // namespace intarsia::gated_linear
#endif  // HWY_ONCE
