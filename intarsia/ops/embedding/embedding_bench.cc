#include "intarsia/ops/common/bench.h"
#include "intarsia/ops/embedding/embedding.h"

namespace intarsia::bench {

std::vector<KernelBench> embedding(bool quick) {
  const int64_t rows = quick ? 50 : 49152;
  const int64_t tokens = quick ? 9 : 512;
  std::vector<KernelBench> all;
  for (const Format* format : AllFormats()) {
    const int64_t dim = format->WholeBlocks(quick ? 64 : 576);
    const double row_bytes = double(format->row_bytes(dim));
    all.push_back(
        {.name = "embedding." + std::string(format->name()),
         .shape =
             std::to_string(tokens) + " of " + Shape({rows, dim}).ToString(),
         .bytes = double(tokens) * (row_bytes + 4.0 * dim),
         .prepare = [=](const Context& ctx) {
           Random random(1);
           std::vector<int32_t> ids(tokens);
           for (int32_t& id : ids) {
             id = static_cast<int32_t>(random.NextBelow(uint32_t(rows)));
           }
           Batch batch = Batch::Of({ids});
           if (ctx.device.is_cuda()) batch.Upload(ctx.device);
           const Weight table =
               WeightOf(ctx, BenchValues({rows, dim}, 2), *format);
           return CheckedRun(
               [ctx = ctx, batch, table]() mutable {
                 ctx.batch = &batch;
                 return Embedding(ctx, table, batch.tokens);
               },
               [=] {
                 const Tensor stored = table.values().To(Cpu());
                 std::vector<float> row(dim);
                 std::vector<double> want;
                 for (int32_t id : ids) {
                   format->DequantizeRow(
                       stored.raw() + id * format->row_bytes(dim), row.data(),
                       dim);
                   want.insert(want.end(), row.begin(), row.end());
                 }
                 return want;
               });
         }});
  }
  return all;
}

}  // namespace intarsia::bench
