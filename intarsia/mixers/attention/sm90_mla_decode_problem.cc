#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>

#include "intarsia/mixers/attention/sm90_mla_decode_bench.h"

namespace intarsia::bench {
namespace {

int PagesOf(int length, int page_size) {
  return (length + page_size - 1) / page_size;
}

std::vector<int> Rows(int batch, int length) {
  return std::vector<int>(batch, length);
}

// Between half of `longest` and all of it.
std::vector<int> Ragged(int batch, int longest) {
  std::mt19937 random(7);
  std::vector<int> lengths(batch);
  for (int& length : lengths) {
    length = longest / 2 + 1 + static_cast<int>(random() % (longest / 2));
  }
  lengths.back() = longest;
  return lengths;
}

}  // namespace

std::vector<MlaShape> MlaShape::All(bool quick) {
  using Use = GpuCase::Use;
  const std::vector<int> ragged = {1, 63, 64, 65, 0, 513, 1000, 2049};
  std::vector<MlaShape> shapes = {
      {ragged, 128},
      {ragged, 64},
      {ragged, 16, 16},
      {ragged, 5, 32, 1, 64},
      {ragged, 80, 128},
      {ragged, 129, 16, 1, 8},
      {{7, 3, 129, 640}, 16, 64, 3},
      {{200, 2, 64, 65}, 64, 32, 2},
      {{1}, 128},
      {{0, 0}, 16},
      {{3000}, 128, 64, 1, 0},
      {{5000, 0, 0, 6001}, 16, 256},
  };
  if (quick) {
    shapes.push_back({Rows(8, 1024), 128, 64, 1, 0, Use::kTable});
    return shapes;
  }
  for (const int heads : {128, 64, 16}) {
    for (const int length : {4096, 32768}) {
      shapes.push_back({Rows(128, length), heads, 64, 1, 0, Use::kTable});
    }
    for (const int batch : {1, 16, 64}) {
      shapes.push_back({Rows(batch, 8192), heads, 64, 1, 0, Use::kTable});
    }
    for (const int batch : {1, 128}) {
      shapes.push_back({Rows(batch, 1024), heads, 64, 1, 0, Use::kTimed});
    }
    shapes.push_back({Rows(1, 32768), heads, 64, 1, 0, Use::kTimed});
    shapes.push_back({Ragged(128, 8192), heads, 64, 1, 0, Use::kTimed});
  }
  shapes.push_back({Rows(128, 4096), 16, 64, 4, 0, Use::kTimed});
  shapes.push_back({Rows(128, 4096), 128, 16, 1, 0, Use::kTimed});
  return shapes;
}

std::string MlaShape::Name() const {
  const auto [least, most] =
      std::minmax_element(lengths.begin(), lengths.end());
  std::string name = "B" + std::to_string(lengths.size()) + " S" +
                     std::to_string(*most) + " heads " + std::to_string(heads) +
                     " page " + std::to_string(page_size);
  if (*least != *most) name += " ragged";
  if (query_tokens > 1) name += " queries " + std::to_string(query_tokens);
  if (spare > 0) name += " spare " + std::to_string(spare);
  return name;
}

GpuCase MlaShape::Case(std::string name) const {
  const double latents =
      std::accumulate(lengths.begin(), lengths.end(), int64_t{0});
  const double rows = double(query_tokens) * heads;
  GpuCase c;
  c.name = std::move(name);
  c.shape = Name();
  c.bytes = 2 * kMlaKeyChannels * latents +
            2 * rows * lengths.size() * (kMlaKeyChannels + kMlaValueChannels);
  // 64 rows or fewer: memory alone.
  if (rows > 64) {
    c.flops = 2 * (kMlaKeyChannels + kMlaValueChannels) * rows * latents;
  }
  c.use = use;
  return c;
}

MlaProblem::MlaProblem(const MlaShape& s, uint64_t seed) : shape(s) {
  int stride = 1, count = 0;
  for (const int length : s.lengths) {
    stride = std::max(stride, PagesOf(length, s.page_size));
    count += PagesOf(length, s.page_size);
  }
  count = std::max(count, 1);
  std::vector<int32_t> order(count);
  std::iota(order.begin(), order.end(), 0);
  std::shuffle(order.begin(), order.end(), std::mt19937_64(seed));
  host_table.assign(s.lengths.size() * stride, -1);
  size_t next = 0;
  for (size_t b = 0; b < s.lengths.size(); ++b) {
    for (int i = 0; i < PagesOf(s.lengths[b], s.page_size); ++i) {
      host_table[b * stride + i] = order[next++];
    }
  }
  args.batch = static_cast<int>(s.lengths.size());
  args.query_tokens = s.query_tokens;
  args.heads = s.heads;
  args.page_count = count;
  args.page_size = s.page_size;
  args.page_table_stride = stride;
  args.token_stride = kMlaKeyChannels + s.spare;
  args.page_stride = s.page_size * args.token_stride;
  // Large enough that some latents matter more than others.
  args.scale = 2.5f / std::sqrt(float(kMlaKeyChannels));
  args.max_length = *std::max_element(s.lengths.begin(), s.lengths.end());
  const size_t rows = s.lengths.size() * s.query_tokens * s.heads;
  q = NormalBuffer<__nv_bfloat16>(rows * kMlaKeyChannels, seed * 3);
  pages = NormalBuffer<__nv_bfloat16>(count * args.page_stride, seed * 3 + 1);
  for (int b = 0; b < args.batch; ++b) {
    const int length = s.lengths[b];
    for (int t = length; t < PagesOf(length, s.page_size) * s.page_size; ++t) {
      const int64_t at =
          host_table[b * stride + t / s.page_size] * args.page_stride +
          t % s.page_size * args.token_stride;
      Ensure(cudaMemset(pages.data() + at, 0xFF, 2 * kMlaKeyChannels),
             "memset");
    }
  }
  out = Bf16Buffer(rows * kMlaValueChannels);
  lse = FloatBuffer(rows);
  table = DeviceBuffer<int32_t>(host_table);
  lengths = DeviceBuffer<int32_t>(
      std::vector<int32_t>(s.lengths.begin(), s.lengths.end()));
  workspace = DeviceBuffer<char>(Sm90MlaDecodeWorkspaceBytes(args) + 16);
  args.q = q.data();
  args.pages = pages.data();
  args.page_table = table.data();
  args.kv_lengths = lengths.data();
  args.out = out.data();
  args.lse = lse.data();
  args.workspace = workspace.data();
  plan = DeviceBuffer<char>(Sm90MlaDecodePlanBytes(args));
  args.plan = plan.data();
  Ensure(LaunchSm90MlaDecodePlan(args, nullptr), "MLA plan");
  Ensure(cudaDeviceSynchronize(), "MLA plan");
}

void MlaProblem::Launch(cudaStream_t stream) const {
  Ensure(LaunchSm90MlaDecode(args, stream), "MLA decode");
}

std::vector<OutputError> CompareMla(const MlaProblem& p) {
  const Sm90MlaDecodeArgs& a = p.args;
  ErrorNorm out_error, lse_error;
  // All sequences; four where they are long, and of those four rows each.
  const bool large = a.max_length * int64_t{a.batch} > 20000;
  for (const int64_t b : Sample(a.batch, large ? 4 : 256)) {
    const int length = p.shape.lengths[b];
    std::vector<float> latents;
    for (int t = 0; t < length; t += a.page_size) {
      const int32_t page =
          p.host_table[b * a.page_table_stride + t / a.page_size];
      const std::vector<float> part = bench::Rows(
          a.pages + page * a.page_stride, std::min(a.page_size, length - t),
          a.token_stride, kMlaKeyChannels);
      latents.insert(latents.end(), part.begin(), part.end());
    }
    const int rows = a.query_tokens * a.heads;
    const int64_t first = b * rows;
    const std::vector<float> q = bench::Rows(
        a.q + first * kMlaKeyChannels, 1, 0, int64_t{rows} * kMlaKeyChannels);
    const std::vector<float> out =
        bench::Rows(p.out.data() + first * kMlaValueChannels, 1, 0,
                    int64_t{rows} * kMlaValueChannels);
    const std::vector<float> lse =
        bench::Rows(p.lse.data() + first, 1, 0, rows);
    const std::vector<int64_t> sample = Sample(rows, large ? 4 : rows);
    std::vector<std::vector<double>> want(sample.size());
    std::vector<double> want_lse(sample.size());
    InParallel(sample.size(), [&](int64_t i) {
      const float* row = &q[sample[i] * kMlaKeyChannels];
      const int seen = std::max<int64_t>(
          0, length - a.query_tokens + 1 + sample[i] / a.heads);
      std::vector<double> scores(seen);
      for (int t = 0; t < seen; ++t) {
        double dot = 0;
        for (int c = 0; c < kMlaKeyChannels; ++c) {
          dot += double{row[c]} * latents[int64_t{t} * kMlaKeyChannels + c];
        }
        scores[t] = dot * a.scale;
      }
      want[i].assign(kMlaValueChannels, 0);
      want_lse[i] = -std::numeric_limits<double>::infinity();
      if (seen == 0) return;
      const double max = *std::max_element(scores.begin(), scores.end());
      double sum = 0;
      for (const double score : scores) sum += std::exp(score - max);
      want_lse[i] = max + std::log(sum);
      for (int t = 0; t < seen; ++t) {
        const double weight = std::exp(scores[t] - want_lse[i]);
        for (int c = 0; c < kMlaValueChannels; ++c) {
          want[i][c] += weight * latents[int64_t{t} * kMlaKeyChannels + c];
        }
      }
    });
    for (size_t i = 0; i < sample.size(); ++i) {
      const auto begin = out.begin() + sample[i] * kMlaValueChannels;
      out_error.Add(std::vector<float>(begin, begin + kMlaValueChannels),
                    want[i]);
      lse_error.Add(lse[sample[i]], want_lse[i]);
    }
  }
  return {out_error.Relative("out", 5e-3),
          lse_error.Relative("log-sum-exp", 1e-4)};
}

}  // namespace intarsia::bench
