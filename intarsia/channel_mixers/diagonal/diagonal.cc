#include "intarsia/channel_mixers/diagonal/diagonal.h"

#include <algorithm>

#include "intarsia/autograd/op.h"

namespace intarsia {
namespace {

Tensor Times(const Tensor& x, const float* w) {
  Tensor y = Tensor::Empty(x.shape());
  const int64_t dim = x.dim(1);
  for (int64_t i = 0; i < y.numel(); ++i) {
    y.mutable_data<float>()[i] = w[i % dim] * x.data<float>()[i];
  }
  return y;
}

}  // namespace

Diagonal::Diagonal(const DiagonalConfig& config) {
  weight_ = book_.Vector("weight", {config.dim}, Constant(1));
}

Status Diagonal::Supports(Device device) const {
  if (!device.is_cuda()) return Status::Ok();
  return Unsupported(
      "[diagonal] has no CUDA kernel; run this model with --device cpu");
}

Tensor Diagonal::Forward(Context& ctx, const Tensor& x) const {
  const Weight& weight = ctx.weight(weight_);
  const Tensor in = x.Contiguous();
  return Run(
      ctx, CpuOnly("diagonal", "diagonal"), x.device(), {x},
      [&] { return Times(in, weight.f32()); },
      [in, &weight, tape = ctx.tape](Context& back,
                                     const std::vector<Tensor>& g) {
        const Tensor d = g[0].Contiguous();
        tape->QueueWeightGradient(weight, back, [=](Context&) {
          const int64_t dim = in.dim(1);
          std::vector<double> sums(dim, 0.0);
          for (int64_t i = 0; i < in.numel(); ++i) {
            sums[i % dim] += double{d.data<float>()[i]} * in.data<float>()[i];
          }
          Tensor out = Tensor::Empty({dim});
          std::ranges::copy(sums, out.mutable_data<float>());
          return out;
        });
        return std::vector<Tensor>{Times(d, weight.f32())};
      });
}

std::vector<double> Diagonal::Reference(
    const Batch&, const std::vector<std::vector<double>>& weights,
    const std::vector<double>& x) const {
  std::vector<double> y = x;
  const std::vector<double>& w = weights[weight_];
  for (size_t i = 0; i < y.size(); ++i) y[i] *= w[i % w.size()];
  return y;
}

Result<std::unique_ptr<Mixer>> CreateDiagonal(const Json& json, int dim) {
  return MakeMixer<Diagonal, DiagonalConfig>(json, "diagonal", dim);
}

void DiagonalFields(Fields& f, int dim) { VisitFresh<DiagonalConfig>(f, dim); }

std::vector<MixerExample> DiagonalExamples() {
  return {{.name = "plain", .config = "{}", .dim = 12}};
}

}  // namespace intarsia
