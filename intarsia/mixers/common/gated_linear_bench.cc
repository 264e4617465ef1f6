// The core at Mamba2-130M's shape: whole sequences by chunks and token by
// token, and the state update of a batch of decodes.
#include "intarsia/core/kernel_bench.h"
#include "intarsia/mixers/common/gated_linear.h"

namespace intarsia::bench {
namespace {

std::vector<double> Wide(const Tensor& x) {
  return {x.data<float>(), x.data<float>() + x.numel()};
}

// `sequences` of `length` tokens. With `stored` states go on in place.
KernelBench Row(const char* name, const GatedLinearDims& d, int32_t length,
                int32_t sequences, Form form, bool stored) {
  const int64_t H = d.heads, G = d.groups, K = d.key_dim, V = d.value_dim;
  const int64_t tokens = int64_t{sequences} * length;
  const double cells = double(H * K * V);
  return {
      .name = std::string("gated_linear.") + name,
      .shape = Shape({sequences, length, H, K, V}).ToString(),
      .bytes = 4.0 * double(tokens * (2 * G * K + 2 * H * V + H)) +
               (stored ? 8.0 : 4.0) * sequences * cells,
      .flops = 5.0 * double(tokens) * cells,
      .tolerance = 1e-4,
      .prepare = [=](const Context& ctx) {
        Batch batch = Batch::OfLengths(std::vector<int32_t>(sequences, length));
        if (ctx.device.is_cuda()) batch.Upload(ctx.device);
        const Tensor q = BenchValues({tokens, G, K}, 1);
        const Tensor k = BenchValues({tokens, G, K}, 2);
        const Tensor v = BenchValues({tokens, H, V}, 3);
        Tensor a = BenchValues({tokens, H}, 4, 0.05f);
        for (int64_t i = 0; i < a.numel(); ++i) {
          a.mutable_data<float>()[i] -= 0.05f;
        }
        const Tensor state = BenchValues({sequences, H, K, V}, 5);
        return CheckedRun(
            [ctx = ctx, batch, form, stored, q = q.To(ctx.device),
             k = k.To(ctx.device), v = v.To(ctx.device), a = a.To(ctx.device),
             states = state.Clone().To(ctx.device)]() mutable {
              ctx.batch = &batch;
              ctx.form = form;
              return stored ? GatedLinearInPlace(ctx, q, k, v, a, &states, {})
                            : GatedLinear(ctx, q, k, v, a, Tensor(), {}).out;
            },
            [=] {  // of the first tokens, where there are many
              const int32_t some = std::min(length, 70);
              const int64_t rows = int64_t{sequences} * some;
              const Batch part =
                  Batch::OfLengths(std::vector<int32_t>(sequences, some));
              std::vector<double> states = Wide(state);
              return GatedLinearReference(
                  part, d, 1.0, Wide(q.Slice(0, 0, rows)),
                  Wide(k.Slice(0, 0, rows)), Wide(v.Slice(0, 0, rows)),
                  Wide(a.Slice(0, 0, rows)), stored ? &states : nullptr);
            });
      }};
}

}  // namespace

std::vector<KernelBench> gated_linear(bool quick) {
  const GatedLinearDims d =
      quick ? GatedLinearDims{4, 1, 16, 16} : GatedLinearDims{24, 1, 128, 64};
  const int32_t length = quick ? 80 : 512;
  return {Row("chunked", d, length, 1, Form::kChunked, false),
          Row("recurrent", d, length, 1, Form::kRecurrent, false),
          Row("update", d, 1, quick ? 3 : 16, Form::kAuto, true)};
}

}  // namespace intarsia::bench
