// Attention of one token over a paged cache.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "bench/kernels/gpu/memory_bound.h"
#include "intarsia/mixers/attention/sm90_paged_decode.h"

namespace intarsia::bench {
namespace {

struct Shape {
  std::vector<int> lengths;
  int query_heads, kv_heads, head_dim, page_size;
  bool heads_first;  // pages are [head, token, dim]
  int window, keys_per_split;
};

int PagesOf(int length, int page_size) {
  return (length + page_size - 1) / page_size;
}

// A page table with the pages in random order; entries past a sequence's last
// page stay -1, and so does everything the kernel must not follow.
struct Pages {
  std::vector<int32_t> table;
  int stride = 0;
  int count = 0;
};

Pages MakePages(const std::vector<int>& lengths, int page_size, uint64_t seed) {
  Pages pages;
  for (const int length : lengths) {
    pages.stride = std::max(pages.stride, PagesOf(length, page_size));
    pages.count += PagesOf(length, page_size);
  }
  std::vector<int32_t> order(pages.count);
  std::iota(order.begin(), order.end(), 0);
  std::shuffle(order.begin(), order.end(), std::mt19937_64(seed));
  pages.table.assign(lengths.size() * pages.stride, -1);
  size_t next = 0;
  for (size_t b = 0; b < lengths.size(); ++b) {
    for (int i = 0; i < PagesOf(lengths[b], page_size); ++i) {
      pages.table[b * pages.stride + i] = order[next++];
    }
  }
  return pages;
}

Sm90PagedDecodeArgs MakeArgs(const Shape& s, const Pages& pages) {
  Sm90PagedDecodeArgs args;
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
  return args;
}

int64_t OffsetOf(const Sm90PagedDecodeArgs& a, const Pages& pages, int b,
                 int token, int head) {
  return pages.table[b * pages.stride + token / a.page_size] * a.page_stride +
         token % a.page_size * a.token_stride + head * a.head_stride;
}

void Reference(const Shape& s, const Sm90PagedDecodeArgs& a, const Pages& pages,
               const std::vector<float>& q, const std::vector<float>& k,
               const std::vector<float>& v, std::vector<double>* out,
               std::vector<double>* lse) {
  out->assign(q.size(), 0);
  lse->assign(q.size() / s.head_dim, -std::numeric_limits<double>::infinity());
  for (int b = 0; b < a.batch; ++b) {
    const int length = s.lengths[b];
    const int first = s.window > 0 ? std::max(0, length - s.window) : 0;
    if (length == 0) continue;
    for (int h = 0; h < s.query_heads; ++h) {
      const int kv_head = h / (s.query_heads / s.kv_heads);
      const size_t row = size_t(b) * s.query_heads + h;
      std::vector<double> scores;
      for (int t = first; t < length; ++t) {
        const float* key = &k[OffsetOf(a, pages, b, t, kv_head)];
        double dot = 0;
        for (int i = 0; i < s.head_dim; ++i) {
          dot += double(q[row * s.head_dim + i]) * key[i];
        }
        scores.push_back(dot * a.scale);
      }
      const double max = *std::max_element(scores.begin(), scores.end());
      double sum = 0;
      for (const double score : scores) sum += std::exp(score - max);
      (*lse)[row] = max + std::log(sum);
      for (int t = first; t < length; ++t) {
        const float* value = &v[OffsetOf(a, pages, b, t, kv_head)];
        const double p = std::exp(scores[t - first] - (*lse)[row]);
        for (int i = 0; i < s.head_dim; ++i) {
          (*out)[row * s.head_dim + i] += p * value[i];
        }
      }
    }
  }
}

// Bits of the output of one sequence run alone, to compare with the batch.
std::vector<__nv_bfloat16> RunAlone(Sm90PagedDecodeArgs args, int b,
                                    int length) {
  args.q += int64_t{b} * args.query_heads * args.head_dim;
  args.page_table += b * args.page_table_stride;
  args.kv_lengths += b;
  args.batch = 1;
  args.max_length = length;
  DeviceBuffer<__nv_bfloat16> out(size_t(args.query_heads) * args.head_dim);
  DeviceBuffer<char> workspace(Sm90PagedDecodeWorkspaceBytes(args) + 16);
  args.out = out.data();
  args.lse = nullptr;
  args.workspace = workspace.data();
  INTARSIA_BENCH_CUDA(LaunchSm90PagedDecode(args, nullptr));
  return out.Download();
}

void Check(const Options& options, Report* report, const Shape& s) {
  std::string name =
      "B" + std::to_string(s.lengths.size()) + " heads " +
      std::to_string(s.query_heads) + ":" + std::to_string(s.kv_heads) +
      " dim " + std::to_string(s.head_dim) + " page " +
      std::to_string(s.page_size) + (s.heads_first ? " heads first" : "") +
      " window " + std::to_string(s.window) + " split " +
      std::to_string(s.keys_per_split);
  if (!Wanted(options, name)) return;
  const Pages pages = MakePages(s.lengths, s.page_size, options.seed);
  Sm90PagedDecodeArgs args = MakeArgs(s, pages);
  const size_t nq = s.lengths.size() * s.query_heads * s.head_dim;
  const size_t nkv = pages.count * args.page_stride;
  const std::vector<float> q = RandomBf16(nq, options.seed, 2);
  std::vector<float> k = RandomBf16(nkv, options.seed + 1);
  std::vector<float> v = RandomBf16(nkv, options.seed + 2);
  std::vector<double> out, lse;
  Reference(s, args, pages, q, k, v, &out, &lse);
  // What lies past a sequence's end in its last page must not matter.
  for (size_t b = 0; b < s.lengths.size(); ++b) {
    const int end = PagesOf(s.lengths[b], s.page_size) * s.page_size;
    for (int t = s.lengths[b]; t < end; ++t) {
      for (int h = 0; h < s.kv_heads; ++h) {
        const int64_t at = OffsetOf(args, pages, static_cast<int>(b), t, h);
        const float nan = std::numeric_limits<float>::quiet_NaN();
        std::fill_n(k.begin() + at, s.head_dim, nan);
        std::fill_n(v.begin() + at, s.head_dim, nan);
      }
    }
  }
  DeviceBuffer<__nv_bfloat16> dq(ToBf16(q)), dk(ToBf16(k)), dv(ToBf16(v));
  DeviceBuffer<__nv_bfloat16> dout(nq);
  DeviceBuffer<float> dlse(nq / s.head_dim);
  DeviceBuffer<int32_t> dtable(pages.table);
  DeviceBuffer<int32_t> dlengths(
      std::vector<int32_t>(s.lengths.begin(), s.lengths.end()));
  DeviceBuffer<char> workspace(Sm90PagedDecodeWorkspaceBytes(args) + 16);
  args.q = dq.data();
  args.key_pages = dk.data();
  args.value_pages = dv.data();
  args.page_table = dtable.data();
  args.kv_lengths = dlengths.data();
  args.out = dout.data();
  args.lse = dlse.data();
  args.workspace = workspace.data();
  INTARSIA_BENCH_CUDA(LaunchSm90PagedDecode(args, nullptr));
  const std::vector<__nv_bfloat16> got = dout.Download();
  CheckClose(report, "paged_decode", name, ToFloat(got), out, 4e-3);
  CheckClose(report, "paged_decode", name + " lse", dlse.Download(), lse, 1e-4);
  bool same = true;
  const size_t per_row = size_t(s.query_heads) * s.head_dim;
  for (size_t b = 0; b < s.lengths.size(); ++b) {
    const std::vector<__nv_bfloat16> alone =
        RunAlone(args, static_cast<int>(b), s.lengths[b]);
    for (size_t i = 0; i < per_row; ++i) {
      same &=
          __bfloat162float(alone[i]) == __bfloat162float(got[b * per_row + i]);
    }
  }
  CheckTrue(report, "paged_decode", name + " same alone", same);
}

void Time(const Options& options, Report* report, int batch, int length,
          int head_dim, int page_size) {
  Shape s = {
      std::vector<int>(batch, length), 32, 8, head_dim, page_size, false, 0, 0};
  const Pages pages = MakePages(s.lengths, page_size, 1);
  Sm90PagedDecodeArgs args = MakeArgs(s, pages);
  const size_t nq = size_t(batch) * s.query_heads * head_dim;
  const size_t nkv = pages.count * args.page_stride;
  DeviceBuffer<__nv_bfloat16> q(nq), k(nkv), v(nkv), out(nq);
  FillNormal(q.data(), nq, 1);
  FillNormal(k.data(), nkv, 2);
  FillNormal(v.data(), nkv, 3);
  DeviceBuffer<int32_t> table(pages.table);
  DeviceBuffer<int32_t> lengths(s.lengths);
  args.q = q.data();
  args.key_pages = k.data();
  args.value_pages = v.data();
  args.page_table = table.data();
  args.kv_lengths = lengths.data();
  args.out = out.data();
  std::vector<BandwidthCase> cases;
  std::vector<int> splits = {0};
  if (!options.quick) splits = {0, 256, 512};
  DeviceBuffer<char> workspace(size_t{1} << 28);
  args.workspace = workspace.data();
  for (const int split : splits) {
    args.keys_per_split = split;
    cases.push_back(
        {"B" + std::to_string(batch) + " S" + std::to_string(length) + " dim " +
             std::to_string(head_dim) + " page " + std::to_string(page_size) +
             " split " + std::to_string(split),
         4.0 * nkv, [=](cudaStream_t stream) {
           INTARSIA_BENCH_CUDA(LaunchSm90PagedDecode(args, stream));
         }});
  }
  TimeBesideCopy(options, report, "paged_decode", cases);
}

}  // namespace

void PagedDecodeFamily(const Options& options, Report* report) {
  if (options.check) {
    const std::vector<int> ragged = {1, 15, 16, 17, 0, 513, 1000, 2049};
    Check(options, report, {ragged, 32, 8, 128, 16, false, 0, 0});
    Check(options, report, {ragged, 32, 8, 64, 64, true, 0, 64});
    Check(options, report, {ragged, 4, 4, 128, 32, false, 100, 0});
    Check(options, report, {ragged, 9, 3, 64, 16, false, 17, 32});
    Check(options, report, {ragged, 16, 1, 128, 128, true, 0, 0});
    Check(options, report, {ragged, 24, 2, 64, 16, true, 0, 256});
    Check(options, report, {{100, 7}, 8, 2, 128, 16, false, 0, 512});
    Check(options, report, {{20000}, 8, 2, 128, 256, false, 0, 0});
  }
  if (!options.time) return;
  Time(options, report, 64, 8192, 128, 16);
  Time(options, report, 1, 131072, 128, 16);
  if (options.quick) return;
  Time(options, report, 64, 8192, 128, 64);
  Time(options, report, 64, 8192, 64, 16);
  Time(options, report, 1, 131072, 64, 16);
}

}  // namespace intarsia::bench
