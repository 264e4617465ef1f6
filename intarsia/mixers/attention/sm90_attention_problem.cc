#include <algorithm>
#include <cmath>

#include "intarsia/mixers/attention/sm90_attention_bench.h"

namespace intarsia::bench {

using Use = GpuCase::Use;

double VisiblePairs(const AttentionShape& s) {
  double pairs = 0;
  for (const auto& [m, n] : s.lengths) {
    if (s.causal && s.window < 0 && m == n) {
      pairs += 0.5 * m * n;
      continue;
    }
    for (int i = 0; i < m; ++i) {
      const int position = i + n - m;
      const int high = s.causal ? std::min(n, position + 1) : n;
      const int low = s.window >= 0 ? std::max(0, position - s.window) : 0;
      pairs += std::max(0, high - low);
    }
  }
  return pairs;
}

AttentionProblem::AttentionProblem(const AttentionShape& s, uint64_t seed)
    : shape(s) {
  for (const auto& [m, n] : s.lengths) {
    cu_q.push_back(cu_q.back() + m);
    cu_k.push_back(cu_k.back() + n);
    args.max_seqlen_q = std::max(args.max_seqlen_q, m);
    args.max_seqlen_k = std::max(args.max_seqlen_k, n);
  }
  args.sequences = static_cast<int>(s.lengths.size());
  args.total_q = cu_q.back();
  args.total_k = cu_k.back();
  args.heads = s.heads;
  args.kv_heads = s.kv_heads;
  args.head_dim = s.head_dim;
  args.scale = 1 / std::sqrt(static_cast<float>(s.head_dim));
  args.causal = s.causal;
  args.window_left = s.window;
  const int64_t d = s.head_dim;
  const int64_t q_row = (s.heads + (s.fused ? 2 * s.kv_heads : 0)) * d;
  const int64_t kv_row = s.fused ? q_row : s.kv_heads * d;
  args.q_row_stride = q_row;
  args.k_row_stride = args.v_row_stride = kv_row;
  args.out_row_stride = s.heads * d;
  args.q_head_stride = args.k_head_stride = args.v_head_stride =
      args.out_head_stride = d;
  q = NormalBuffer<__nv_bfloat16>(args.total_q * q_row, seed * 3);
  args.q = q.data();
  if (s.fused) {
    args.k = q.data() + s.heads * d;
    args.v = q.data() + (s.heads + s.kv_heads) * d;
  } else {
    k = NormalBuffer<__nv_bfloat16>(args.total_k * kv_row, seed * 3 + 1);
    v = NormalBuffer<__nv_bfloat16>(args.total_k * kv_row, seed * 3 + 2);
    args.k = k.data();
    args.v = v.data();
    if (s.broken_sequence >= 0) {
      const int64_t begin = cu_k[s.broken_sequence] * kv_row;
      const int64_t bytes = (cu_k[s.broken_sequence + 1] * kv_row - begin) * 2;
      Ensure(cudaMemset(k.data() + begin, 0xFF, bytes), "memset");
      Ensure(cudaMemset(v.data() + begin, 0xFF, bytes), "memset");
    }
  }
  out = Bf16Buffer(args.total_q * args.out_row_stride);
  lse = FloatBuffer(int64_t{s.heads} * args.total_q);
  cu_q_device = DeviceBuffer<int32_t>(cu_q);
  cu_k_device = DeviceBuffer<int32_t>(cu_k);
  counter = DeviceBuffer<int32_t>(std::vector<int32_t>{0});
  args.out = out.data();
  args.lse = lse.data();
  args.cu_seqlens_q = cu_q_device.data();
  args.cu_seqlens_k = cu_k_device.data();
  args.tile_counter = counter.data();
}

std::pair<int, int> AttentionProblem::Visible(
    int query, std::pair<int, int> lengths) const {
  const int position = query + lengths.second - lengths.first;
  return {
      shape.window >= 0 ? std::max(0, position - shape.window) : 0,
      shape.causal ? std::min(lengths.second, position + 1) : lengths.second};
}

int AttentionProblem::SequenceOf(const std::vector<int32_t>& cu,
                                 int64_t row) const {
  return static_cast<int>(std::upper_bound(cu.begin(), cu.end(), row) -
                          cu.begin()) -
         1;
}

AttentionInputs::AttentionInputs(const AttentionProblem& problem)
    : args(problem.args) {
  const int64_t d = args.head_dim;
  q = Rows(args.q, 1, 0,
           (args.total_q - 1) * args.q_row_stride + args.heads * d);
  k = Rows(args.k, 1, 0,
           (args.total_k - 1) * args.k_row_stride + args.kv_heads * d);
  v = Rows(args.v, 1, 0,
           (args.total_k - 1) * args.v_row_stride + args.kv_heads * d);
}

const float* AttentionInputs::Q(int64_t row, int head) const {
  return &q[row * args.q_row_stride + head * args.q_head_stride];
}
const float* AttentionInputs::K(int64_t row, int kv_head) const {
  return &k[row * args.k_row_stride + kv_head * args.k_head_stride];
}
const float* AttentionInputs::V(int64_t row, int kv_head) const {
  return &v[row * args.v_row_stride + kv_head * args.v_head_stride];
}

double Dot(const float* a, const float* b, int n) {
  double sum = 0;
  for (int i = 0; i < n; ++i) sum += double{a[i]} * b[i];
  return sum;
}

namespace {

std::vector<AttentionShape> CheckShapes(int d, bool quick) {
  const std::vector<std::pair<int, int>> ragged = {
      {1, 1}, {63, 63}, {64, 64}, {65, 65}, {200, 200}, {500, 500}};
  std::vector<AttentionShape> shapes = {
      {"full 256", {{256, 256}}, 2, 2, d},
      {"causal 384", {{384, 384}}, 2, 2, d, true},
      {"ragged causal gqa", ragged, 4, 2, d, true},
  };
  if (quick) return shapes;
  const std::vector<AttentionShape> more = {
      {"ragged full", ragged, 3, 3, d},
      {"keys longer, causal",
       {{70, 300}, {1, 517}, {129, 1000}},
       4,
       1,
       d,
       true},
      {"queries longer, causal", {{300, 70}, {140, 3}}, 2, 1, d, true},
      {"queries longer, full", {{300, 70}, {5, 1}}, 2, 2, d},
      {"window 100 causal", {{777, 777}, {64, 500}}, 2, 2, d, true, 100},
      {"window 0 causal", {{300, 300}}, 2, 2, d, true, 0},
      {"window 300 not causal", {{777, 777}}, 2, 1, d, false, 300},
      {"broken neighbour",
       {{100, 100}, {50, 50}, {70, 70}},
       2,
       2,
       d,
       true,
       -1,
       1},
      {"broken neighbour full",
       {{130, 130}, {500, 500}, {70, 70}},
       2,
       2,
       d,
       false,
       -1,
       1},
      {"fused qkv, causal", ragged, 6, 2, d, true, -1, -1, true},
      {"no keys", {{40, 0}, {100, 100}}, 2, 2, d},
      {"many short", std::vector<std::pair<int, int>>(150, {17, 17}), 3, 3, d,
       true},
      {"long causal", {{6000, 6000}, {3000, 3000}}, 8, 8, d, true},
      {"long full", {{2048, 2048}, {2048, 2048}}, 16, 4, d},
  };
  shapes.insert(shapes.end(), more.begin(), more.end());
  return shapes;
}

std::vector<AttentionShape> TimeShapes(int d, bool quick) {
  const int heads = 2048 / d;
  if (quick) {
    return {{"causal 2048",
             {{2048, 2048}},
             heads,
             heads,
             d,
             true,
             -1,
             -1,
             false,
             Use::kTable}};
  }
  std::vector<AttentionShape> shapes;
  for (const bool causal : {false, true}) {
    for (const int length : {2048, 4096, 8192, 16384}) {
      const std::vector<std::pair<int, int>> lengths(16384 / length,
                                                     {length, length});
      shapes.push_back({(causal ? "causal " : "full ") + std::to_string(length),
                        lengths, heads, heads, d, causal});
      const bool shown = length == 16384 ? causal || d == 128
                                         : length == 2048 && causal && d == 128;
      shapes.back().use = shown ? Use::kTable : Use::kTimed;
    }
  }
  shapes.push_back({"causal 8192 gqa 32:8",
                    {{8192, 8192}, {8192, 8192}},
                    32,
                    8,
                    d,
                    true,
                    -1,
                    -1,
                    false,
                    d == 128 ? Use::kTable : Use::kTimed});
  shapes.push_back({"ragged causal",
                    {{8000, 8000},
                     {100, 100},
                     {3000, 3000},
                     {17, 17},
                     {5000, 5000},
                     {900, 900}},
                    heads,
                    heads,
                    d,
                    true,
                    -1,
                    -1,
                    false,
                    Use::kTimed});
  shapes.push_back({"window 1024 causal 16384",
                    {{16384, 16384}},
                    heads,
                    heads,
                    d,
                    true,
                    1024,
                    -1,
                    false,
                    Use::kTimed});
  return shapes;
}

}  // namespace

std::vector<AttentionShape> AttentionShapes(int d, bool quick) {
  std::vector<AttentionShape> shapes = CheckShapes(d, quick);
  for (AttentionShape& shape : TimeShapes(d, quick)) {
    shapes.push_back(std::move(shape));
  }
  return shapes;
}

}  // namespace intarsia::bench
