// Forward kernels: the recurrent step and the chunked form.
#include <hwy/aligned_allocator.h>

#include <cmath>
#include <cstring>
#include <vector>

#include "intarsia/mixers/common/gated_linear_kernels.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "intarsia/mixers/common/gated_linear_cpu.cc"
#include <hwy/foreach_target.h>
// Comes after foreach_target.
#include <hwy/highway.h>

#include "intarsia/mixers/common/gated_linear_chunk-inl.h"
#include "intarsia/mixers/common/small_matmul-inl.h"

HWY_BEFORE_NAMESPACE();
namespace intarsia::gated_linear::HWY_NAMESPACE {

using namespace intarsia::HWY_NAMESPACE;  // NOLINT: the -inl helpers

using Chunk = GatedLinearPlan::Chunk;

// kVectors vectors of value channels from j on, all keys: contiguous stretches
// of S, wide enough for the prefetcher.
template <int kVectors>
HWY_INLINE void StepStrip(const Args& args, const float* q, const float* k,
                          const float* v, float gate, int64_t j, float* s,
                          float* out) {
  const hn::ScalableTag<float> d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  const auto g = hn::Set(d, gate);
  decltype(hn::Zero(d)) sum[kVectors];
  for (int r = 0; r < kVectors; ++r) sum[r] = hn::Zero(d);
  for (int64_t i = 0; i < args.key_dim; ++i) {
    float* row = s + i * args.value_dim + j;
    const auto key = hn::Set(d, k[i]), query = hn::Set(d, q[i]);
    for (int r = 0; r < kVectors; ++r) {
      const auto cell = hn::MulAdd(key, hn::LoadU(d, v + j + r * lanes),
                                   hn::Mul(g, hn::LoadU(d, row + r * lanes)));
      hn::StoreU(cell, d, row + r * lanes);
      sum[r] = hn::MulAdd(query, cell, sum[r]);
    }
  }
  for (int r = 0; r < kVectors; ++r) {
    hn::StoreU(hn::Mul(hn::Set(d, args.scale), sum[r]), d, out + j + r * lanes);
  }
}

// One token with S [K, V].
void StepKeyMajor(const Args& args, const float* q, const float* k,
                  const float* v, float gate, float* s, float* out) {
  const hn::ScalableTag<float> d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  const int64_t V = args.value_dim;
  int64_t j = 0;
  for (; j + 8 * lanes <= V; j += 8 * lanes) {
    StepStrip<8>(args, q, k, v, gate, j, s, out);
  }
  for (; j + 2 * lanes <= V; j += 2 * lanes) {
    StepStrip<2>(args, q, k, v, gate, j, s, out);
  }
  for (; j < V; j += lanes) {
    const auto mask = hn::FirstN(d, std::min(lanes, V - j));
    const auto value = hn::MaskedLoad(mask, d, v + j);
    auto sum = hn::Zero(d);
    for (int64_t i = 0; i < args.key_dim; ++i) {
      float* row = s + i * V + j;
      const auto cell =
          hn::MulAdd(hn::Set(d, k[i]), value,
                     hn::Mul(hn::Set(d, gate), hn::MaskedLoad(mask, d, row)));
      hn::BlendedStore(cell, mask, d, row);
      sum = hn::MulAdd(hn::Set(d, q[i]), cell, sum);
    }
    hn::BlendedStore(hn::Mul(hn::Set(d, args.scale), sum), mask, d, out + j);
  }
}

// One token with S [V, K]: a value channel at a time, all keys.
void StepValueMajor(const Args& args, const float* q, const float* k,
                    const float* v, float gate, float* s, float* out) {
  const hn::ScalableTag<float> d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  const int64_t K = args.key_dim;
  const auto g = hn::Set(d, gate);
  for (int64_t j = 0; j < args.value_dim; ++j) {
    float* row = s + j * K;
    const auto value = hn::Set(d, v[j]);
    auto sum = hn::Zero(d);
    int64_t i = 0;
    for (; i + lanes <= K; i += lanes) {
      const auto cell = hn::MulAdd(value, hn::LoadU(d, k + i),
                                   hn::Mul(g, hn::LoadU(d, row + i)));
      hn::StoreU(cell, d, row + i);
      sum = hn::MulAdd(hn::LoadU(d, q + i), cell, sum);
    }
    if (i < K) {
      const auto mask = hn::FirstN(d, K - i);
      const auto cell =
          hn::MulAdd(value, hn::MaskedLoad(mask, d, k + i),
                     hn::Mul(g, hn::MaskedLoad(mask, d, row + i)));
      hn::BlendedStore(cell, mask, d, row + i);
      sum = hn::MulAdd(hn::MaskedLoad(mask, d, q + i), cell, sum);
    }
    out[j] = args.scale * hn::GetLane(hn::SumOfLanes(d, sum));
  }
}

// The states of a task's heads while it runs: in the caller's memory and
// layout for single rows, [K, V] in scratch for chunks.
class States {
 public:
  States(const Args& args, int64_t heads, float* outside)
      : args_(args),
        out_(outside),
        scratch_(hwy::AllocateAligned<float>(heads * args.state_size())),
        in_scratch_(heads, false) {}

  float* Outside(int64_t i) {
    if (in_scratch_[i]) Store(i);
    return out_ + i * args_.state_size();
  }
  float* Scratch(int64_t i) {
    float* scratch = scratch_.get() + i * args_.state_size();
    if (in_scratch_[i]) return scratch;
    in_scratch_[i] = true;
    CopyState(args_, out_ + i * args_.state_size(), scratch, /*load=*/true);
    return scratch;
  }

 private:
  void Store(int64_t i) {
    in_scratch_[i] = false;
    CopyState(args_, scratch_.get() + i * args_.state_size(),
              out_ + i * args_.state_size(), /*load=*/false);
  }

  const Args& args_;
  float* out_;
  hwy::AlignedFreeUniquePtr<float[]> scratch_;
  std::vector<bool> in_scratch_;
};

// One chunk of one head, S in scratch.
void ChunkForward(const Args& args, const Chunk& chunk, int64_t h,
                  const KeyBlock& keys, HeadBlock& head, float* s, float* out) {
  const int64_t rows = chunk.end - chunk.begin;
  const int64_t H = args.heads, K = args.key_dim, V = args.value_dim;
  const int64_t group = h / (H / args.groups);
  const float* q = args.q + (chunk.begin * args.groups + group) * K;
  const float* v = args.v + (chunk.begin * H + h) * V;
  float* o = out + (chunk.begin * H + h) * V;

  head.Decays(args, chunk, h);
  head.Scores(keys, rows, args.scale);
  // What the incoming state gives, then the chunk itself.
  Multiply({.a = q,
            .lda = args.groups * K,
            .b = s,
            .ldb = V,
            .c = o,
            .ldc = H * V,
            .m = rows,
            .n = V,
            .k = K,
            .row_scale = head.enter.get()});
  Multiply({.a = head.scores.get(),
            .lda = keys.ld,
            .b = v,
            .ldb = H * V,
            .c = o,
            .ldc = H * V,
            .m = rows,
            .n = V,
            .k = rows,
            .keep = 1.0f,
            .shape = Shape2::kLowerA});
  head.ScaleValues(args, v, rows);
  Multiply({.a = keys.transposed.get(),
            .lda = keys.ld,
            .b = head.values.get(),
            .ldb = V,
            .c = s,
            .ldc = V,
            .m = K,
            .n = V,
            .k = rows,
            .keep = head.total});
}

// One token of one head, S in the caller's layout.
HWY_INLINE void StepForward(const Args& args, int64_t t, int64_t h, float* s,
                            float* out) {
  const int64_t H = args.heads, K = args.key_dim, V = args.value_dim;
  const int64_t group = h / (H / args.groups);
  const float* q = args.q + (t * args.groups + group) * K;
  const float* k = args.k + (t * args.groups + group) * K;
  const float* v = args.v + (t * H + h) * V;
  const float gate = std::exp(LogDecay(args, t, h));
  float* o = out + (t * H + h) * V;
  if (args.value_major) {
    StepValueMajor(args, q, k, v, gate, s, o);
  } else {
    StepKeyMajor(args, q, k, v, gate, s, o);
  }
}

// Heads [h0, h1) where some chunk has several rows.
void ChunksForward(const Args& args, std::span<const Chunk> chunks, int64_t h0,
                   int64_t h1, float* state, float* out) {
  const int64_t group = h0 / (args.heads / args.groups), K = args.key_dim;
  States states(args, h1 - h0, state);
  const int64_t longest = LongestChunk(chunks);
  KeyBlock keys(args, longest);
  HeadBlock head(args, longest);
  for (const Chunk& chunk : chunks) {
    const int64_t t = chunk.begin;
    if (chunk.end - t == 1) {
      for (int64_t h = h0; h < h1; ++h) {
        StepForward(args, t, h, states.Outside(h - h0), out);
      }
      continue;
    }
    keys.Load(args, chunk, args.q + (t * args.groups + group) * K,
              args.k + (t * args.groups + group) * K);
    for (int64_t h = h0; h < h1; ++h) {
      ChunkForward(args, chunk, h, keys, head, states.Scratch(h - h0), out);
    }
  }
  for (int64_t h = h0; h < h1; ++h) states.Outside(h - h0);
}

void Forward(const Args& args, std::span<const Chunk> chunks, int64_t h0,
             int64_t h1, const float* state_in, float* state_out, float* out,
             float* decay) {
  const int64_t offset = h0 * args.state_size();
  const size_t bytes = (h1 - h0) * args.state_size() * sizeof(float);
  float* state = state_out + offset;
  if (state_in == nullptr) {
    std::memset(state, 0, bytes);
  } else if (state_in != state_out) {
    std::memcpy(state, state_in + offset, bytes);
  }
  if (LongestChunk(chunks) > 1) {
    ChunksForward(args, chunks, h0, h1, state, out);
  } else {
    for (int64_t h = h0; h < h1; ++h) {
      for (const Chunk& chunk : chunks) {
        StepForward(args, chunk.begin, h, state_out + h * args.state_size(),
                    out);
      }
    }
  }
  if (decay == nullptr) return;
  for (int64_t h = h0; h < h1; ++h) {
    double total = 0.0;
    for (const Chunk& chunk : chunks) total += SumOfDecays(args, chunk, h);
    decay[h] = static_cast<float>(std::exp(total));
  }
}

}  // namespace intarsia::gated_linear::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace intarsia::gated_linear {

HWY_EXPORT(Forward);

void Forward(const Args& args, std::span<const GatedLinearPlan::Chunk> chunks,
             int64_t h0, int64_t h1, const float* state_in, float* state_out,
             float* out, float* decay) {
  HWY_DYNAMIC_DISPATCH(Forward)
  (args, chunks, h0, h1, state_in, state_out, out, decay);
}

}  // namespace intarsia::gated_linear
#endif  // HWY_ONCE
