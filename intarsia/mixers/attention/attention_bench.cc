#include "intarsia/mixers/attention/attention.h"
#include "intarsia/mixers/common/mixer_bench.h"

namespace intarsia::bench {
namespace {

std::vector<double> Wide(const Tensor& x) {
  return {x.data<float>(), x.data<float>() + x.numel()};
}

// The core alone over one sequence, checked on its first queries.
KernelBench CoreRow(int64_t tokens, int64_t heads, int64_t kv_heads,
                    int64_t head_dim) {
  const double n = double(tokens);
  return {.name = "attention.core",
          .shape = Shape({tokens, heads, head_dim}).ToString() + ", " +
                   std::to_string(kv_heads) + " groups",
          .bytes = 8 * n * double((heads + kv_heads) * head_dim),
          .flops = 4 * n * (n + 1) / 2 * double(heads * head_dim),
          .prepare = [=](const Context& ctx) {
            Batch batch = Batch::OfLengths(
                std::vector<int32_t>{static_cast<int32_t>(tokens)});
            if (ctx.device.is_cuda()) batch.Upload(ctx.device);
            const Tensor q = BenchValues({tokens, heads, head_dim}, 1, 2);
            const Tensor k = BenchValues({tokens, kv_heads, head_dim}, 2, 2);
            const Tensor v = BenchValues({tokens, kv_heads, head_dim}, 3);
            AttentionKeys keys;
            keys.k = k.To(ctx.device);
            keys.v = v.To(ctx.device);
            return CheckedRun(
                [ctx = ctx, batch, in = q.To(ctx.device), keys]() mutable {
                  ctx.batch = &batch;
                  return AttentionCore(ctx, in, keys, {}).out;
                },
                [=] {
                  const int64_t some = std::min<int64_t>(tokens, 150);
                  const Batch part = Batch::OfLengths(
                      std::vector<int32_t>{static_cast<int32_t>(some)});
                  return ReferenceAttentionCore(part, part, heads, kv_heads,
                                                Wide(q.Slice(0, 0, some)),
                                                Wide(k.Slice(0, 0, some)),
                                                Wide(v.Slice(0, 0, some)), {},
                                                nullptr)
                      .out;
                });
          }};
}

}  // namespace

// SmolLM2-135M's.
std::vector<KernelBench> attention(bool quick) {
  const int heads = quick ? 2 : 9, kv_heads = quick ? 1 : 3;
  const int head_dim = quick ? 16 : 64;
  std::vector<KernelBench> rows = MixerRows(
      {.room = "attention",
       .create = &CreateAttention,
       .config = R"({"rope": {"theta": 100000}, "heads": )" +
                 std::to_string(heads) + R"(, "kv_heads": )" +
                 std::to_string(kv_heads) + "}",
       .dim = heads * head_dim,
       .core_flops =
           [=](double before) { return 4 * (before + 1) * heads * head_dim; }},
      quick);
  rows.push_back(CoreRow(quick ? 80 : 2048, heads, kv_heads, head_dim));
  return rows;
}

}  // namespace intarsia::bench
