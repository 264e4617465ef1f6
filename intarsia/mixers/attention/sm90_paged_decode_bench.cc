// Attention of one token over a paged cache, against the definition in double.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>

#include "intarsia/cuda/bench/device_data.h"
#include "intarsia/mixers/attention/sm90_paged_decode.h"

namespace intarsia::bench {
namespace {

struct Shape {
  std::vector<int> lengths;
  int query_heads, kv_heads, head_dim, page_size;
  bool heads_first = false;  // pages are [head, token, dim]
  int window = 0, keys_per_split = 0;
  GpuCase::Use use = GpuCase::Use::kChecked;
};

int PagesOf(int length, int page_size) {
  return (length + page_size - 1) / page_size;
}

// A page table with the pages in random order; entries past a sequence's last
// page stay -1, and so does everything the kernel must not follow.
struct Pages {
  Pages(const std::vector<int>& lengths, int page_size, uint64_t seed) {
    for (const int length : lengths) {
      stride = std::max(stride, PagesOf(length, page_size));
      count += PagesOf(length, page_size);
    }
    std::vector<int32_t> order(count);
    std::iota(order.begin(), order.end(), 0);
    std::shuffle(order.begin(), order.end(), std::mt19937_64(seed));
    table.assign(lengths.size() * stride, -1);
    size_t next = 0;
    for (size_t b = 0; b < lengths.size(); ++b) {
      for (int i = 0; i < PagesOf(lengths[b], page_size); ++i) {
        table[b * stride + i] = order[next++];
      }
    }
  }
  std::vector<int32_t> table;
  int stride = 0;
  int count = 0;
};

struct Problem {
  Problem(const Shape& s, uint64_t seed)
      : shape(s), pages(s.lengths, s.page_size, seed) {
    args.batch = static_cast<int>(s.lengths.size());
    args.query_heads = s.query_heads;
    args.kv_heads = s.kv_heads;
    args.head_dim = s.head_dim;
    args.page_size = s.page_size;
    args.page_table_stride = pages.stride;
    args.page_stride = int64_t{s.page_size} * s.kv_heads * s.head_dim;
    args.token_stride =
        s.heads_first ? s.head_dim : int64_t{s.kv_heads} * s.head_dim;
    args.head_stride =
        s.heads_first ? int64_t{s.page_size} * s.head_dim : s.head_dim;
    args.scale = 1 / std::sqrt(float(s.head_dim));
    args.window = s.window;
    args.keys_per_split = s.keys_per_split;
    args.max_length = *std::max_element(s.lengths.begin(), s.lengths.end());
    const size_t nq = s.lengths.size() * s.query_heads * s.head_dim;
    const size_t nkv = pages.count * args.page_stride;
    q = NormalBuffer<__nv_bfloat16>(nq, seed * 3, {2, 0, false});
    k = NormalBuffer<__nv_bfloat16>(nkv, seed * 3 + 1);
    v = NormalBuffer<__nv_bfloat16>(nkv, seed * 3 + 2);
    PoisonEnds();
    out = Bf16Buffer(nq);
    lse = FloatBuffer(nq / s.head_dim);
    table = DeviceBuffer<int32_t>(pages.table);
    lengths = DeviceBuffer<int32_t>(
        std::vector<int32_t>(s.lengths.begin(), s.lengths.end()));
    workspace = DeviceBuffer<char>(Sm90PagedDecodeWorkspaceBytes(args) + 16);
    args.q = q.data();
    args.key_pages = k.data();
    args.value_pages = v.data();
    args.page_table = table.data();
    args.kv_lengths = lengths.data();
    args.out = out.data();
    args.lse = lse.data();
    args.workspace = workspace.data();
  }

  int64_t OffsetOf(int b, int token, int head) const {
    return pages.table[b * pages.stride + token / args.page_size] *
               args.page_stride +
           token % args.page_size * args.token_stride + head * args.head_stride;
  }
  // What lies past a sequence's end in its last page must not matter.
  void PoisonEnds() const {
    for (int b = 0; b < args.batch; ++b) {
      const int length = shape.lengths[b];
      const int end = PagesOf(length, args.page_size) * args.page_size;
      for (int t = length; t < end; ++t) {
        for (int h = 0; h < args.kv_heads; ++h) {
          for (const Bf16Buffer* buffer : {&k, &v}) {
            Ensure(cudaMemset(buffer->data() + OffsetOf(b, t, h), 0xFF,
                              2 * args.head_dim),
                   "memset");
          }
        }
      }
    }
  }
  // Keys or values of one sequence and head, from `first` on, page by page.
  std::vector<float> Gather(const Bf16Buffer& from, int b, int head,
                            int first) const {
    std::vector<float> rows;
    for (int t = first; t < shape.lengths[b];) {
      const int page_end = (t / args.page_size + 1) * args.page_size;
      const int end = std::min(page_end, shape.lengths[b]);
      const std::vector<float> part =
          Rows(from.data() + OffsetOf(b, t, head), end - t, args.token_stride,
               args.head_dim);
      rows.insert(rows.end(), part.begin(), part.end());
      t = end;
    }
    return rows;
  }
  void Launch(cudaStream_t stream) const {
    Ensure(LaunchSm90PagedDecode(args, stream), "paged decode");
  }

  Shape shape;
  Pages pages;
  Sm90PagedDecodeArgs args;
  Bf16Buffer q, k, v, out;
  FloatBuffer lse;
  DeviceBuffer<int32_t> table, lengths;
  DeviceBuffer<char> workspace;
};

// One query head over keys and values [count][dim].
void Reference(const float* q, const std::vector<float>& k,
               const std::vector<float>& v, int dim, float scale,
               std::vector<double>* out, double* lse) {
  out->assign(dim, 0);
  *lse = -std::numeric_limits<double>::infinity();
  if (k.empty()) return;
  std::vector<double> scores;
  for (size_t at = 0; at < k.size(); at += dim) {
    double dot = 0;
    for (int i = 0; i < dim; ++i) dot += double{q[i]} * k[at + i];
    scores.push_back(dot * scale);
  }
  const double max = *std::max_element(scores.begin(), scores.end());
  double sum = 0;
  for (const double score : scores) sum += std::exp(score - max);
  *lse = max + std::log(sum);
  for (size_t t = 0; t < scores.size(); ++t) {
    const double weight = std::exp(scores[t] - *lse);
    for (int i = 0; i < dim; ++i) (*out)[i] += weight * v[t * dim + i];
  }
}

// Whether a sequence run alone gives the bits that it had in the batch.
bool SameAlone(const Problem& p, int b) {
  const int64_t row = int64_t{p.args.query_heads} * p.args.head_dim;
  Sm90PagedDecodeArgs args = p.args;
  args.q += b * row;
  args.page_table += int64_t{b} * args.page_table_stride;
  args.kv_lengths += b;
  args.batch = 1;
  args.max_length = p.shape.lengths[b];
  const Bf16Buffer out(row);
  const DeviceBuffer<char> workspace(Sm90PagedDecodeWorkspaceBytes(args) + 16);
  args.out = out.data();
  args.lse = nullptr;
  args.workspace = workspace.data();
  Ensure(LaunchSm90PagedDecode(args, nullptr), "paged decode");
  return Rows(out.data(), 1, 0, row) == Rows(p.out.data() + b * row, 1, 0, row);
}

std::vector<OutputError> Compare(const Problem& p) {
  p.Launch(nullptr);
  const Sm90PagedDecodeArgs& a = p.args;
  const int group = a.query_heads / a.kv_heads;
  // Sequences by heads of keys; four where a sequence is long.
  ErrorNorm out_error, lse_error;
  for (const int64_t item :
       Sample(int64_t{a.batch} * a.kv_heads, a.max_length > 4096 ? 4 : 256)) {
    const int b = static_cast<int>(item / a.kv_heads);
    const int kv_head = static_cast<int>(item % a.kv_heads);
    const int length = p.shape.lengths[b];
    const int first = a.window > 0 ? std::max(0, length - a.window) : 0;
    const std::vector<float> k = p.Gather(p.k, b, kv_head, first);
    const std::vector<float> v = p.Gather(p.v, b, kv_head, first);
    for (int h = kv_head * group; h < (kv_head + 1) * group; ++h) {
      const int64_t row = int64_t{b} * a.query_heads + h;
      const std::vector<float> q =
          Rows(a.q + row * a.head_dim, 1, 0, a.head_dim);
      std::vector<double> out;
      double lse = 0;
      Reference(q.data(), k, v, a.head_dim, a.scale, &out, &lse);
      out_error.Add(Rows(p.out.data() + row * a.head_dim, 1, 0, a.head_dim),
                    out);
      lse_error.Add(Rows(p.lse.data() + row, 1, 0, 1)[0], lse);
    }
  }
  bool same = true;
  for (const int64_t b : Sample(a.batch, 8)) {
    same &= SameAlone(p, static_cast<int>(b));
  }
  return {out_error.Relative("out", 4e-3),
          lse_error.Relative("log-sum-exp", 1e-4),
          Holds("the same bits alone", same)};
}

GpuCase MakeCase(const Shape& s) {
  GpuCase c;
  c.name = "attention.sm90.paged_decode";
  const int longest = *std::max_element(s.lengths.begin(), s.lengths.end());
  c.shape = "B" + std::to_string(s.lengths.size()) + " S" +
            std::to_string(longest) + " heads " +
            std::to_string(s.query_heads) + ":" + std::to_string(s.kv_heads) +
            " dim " + std::to_string(s.head_dim) + " page " +
            std::to_string(s.page_size);
  if (s.heads_first) c.shape += " heads first";
  if (s.window > 0) c.shape += " window " + std::to_string(s.window);
  if (s.keys_per_split > 0) {
    c.shape += " split " + std::to_string(s.keys_per_split);
  }
  for (const int length : s.lengths) {
    c.bytes += 4.0 * length * s.kv_heads * s.head_dim;
  }
  c.use = s.use;
  c.prepare = PrepareWith<Problem>(s, &Compare);
  return c;
}

}  // namespace

std::vector<GpuCase> sm90_paged_decode(bool quick) {
  using Use = GpuCase::Use;
  const std::vector<int> ragged = {1, 15, 16, 17, 0, 513, 1000, 2049};
  const auto rows = [](int batch, int length) {
    return std::vector<int>(batch, length);
  };
  std::vector<Shape> shapes = {
      {ragged, 32, 8, 128, 16},
      {ragged, 32, 8, 64, 64, true, 0, 64},
      {ragged, 4, 4, 128, 32, false, 100},
      {ragged, 9, 3, 64, 16, false, 17, 32},
      {ragged, 16, 1, 128, 128, true},
      {ragged, 24, 2, 64, 16, true, 0, 256},
      {{100, 7}, 8, 2, 128, 16, false, 0, 512},
      {{20000}, 8, 2, 128, 256},
  };
  if (quick) {
    shapes.push_back(
        {rows(16, 1024), 32, 8, 128, 16, false, 0, 0, Use::kTable});
  } else {
    for (const int split : {0, 256, 512}) {
      for (const int dim : {128, 64}) {
        const Use use = split == 0 ? Use::kTable : Use::kTimed;
        shapes.push_back(
            {rows(64, 8192), 32, 8, dim, 16, false, 0, split, use});
        shapes.push_back(
            {rows(1, 131072), 32, 8, dim, 16, false, 0, split, use});
      }
    }
    shapes.push_back(
        {rows(64, 8192), 32, 8, 128, 64, false, 0, 0, Use::kTimed});
  }
  std::vector<GpuCase> cases;
  for (const Shape& s : shapes) cases.push_back(MakeCase(s));
  return cases;
}

}  // namespace intarsia::bench
