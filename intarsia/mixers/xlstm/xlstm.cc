#include "intarsia/mixers/xlstm/xlstm.h"

#include <cmath>

#include "intarsia/ops/elementwise/elementwise.h"
#include "intarsia/ops/norm/norm.h"

namespace intarsia {
namespace {

enum StateIndex : size_t { kMatrix, kLargest };

}  // namespace

void XlstmConfig::Visit(Fields& f) {
  f.Int("heads", &heads, {1, 1 << 12});
  f.Int("key_dim", &key_dim, {1, 1 << 14});
  f.Int("value_dim", &value_dim, {1, 1 << 14});
  f.NumberOr("gate_softcap", &gate_softcap);
  f.NumberOr("eps", &eps);
  f.NumberOr("norm_eps", &norm_eps);
  f.IntOr("chunk", &chunk, {1, 1 << 12});
  f.Require(gate_softcap > 0 && gate_softcap <= 40,
            "\"gate_softcap\" must lie in (0, 40]: the state holds "
            "exponentials of gates as they are");
  f.Require(eps >= 0 && norm_eps >= 0,
            "\"eps\" and \"norm_eps\" must not be negative");
  f.Require(dim > 0, "the width of the residual must be positive");
}

// Heads are what tensor parallelism cuts.
Xlstm::Xlstm(const XlstmConfig& config) : config_(config) {
  const int64_t dim = config.dim, heads = config.heads;
  const int64_t K = config.key_dim, V = config.value_dim;
  q_ = book_.Matrix("q_proj", {heads * K, dim}, Rows(K));
  k_ = book_.Matrix("k_proj", {heads * K, dim}, Rows(K));
  v_ = book_.Matrix("v_proj", {heads * V, dim}, Rows(V));
  o_ = book_.Matrix("o_gate", {heads * V, dim}, Rows(V));
  i_.w = book_.Matrix("i_gate", {heads, dim}, Rows());
  i_.bias = book_.Bias(i_.w);
  f_.w = book_.Matrix("f_gate", {heads, dim}, Rows());
  f_.bias = book_.Bias(f_.w);
  norm_ = book_.Vector("norm", {heads * V}, Constant(1), Rows(V));
  out_ = book_.Matrix("out_proj", {dim, heads * V}, Columns(V));
}

std::vector<StateSpec> Xlstm::state() const {
  StateSpec matrix;
  matrix.name = "C";
  matrix.role = StateSpec::Role::kMatrix;
  matrix.shape = Shape({config_.heads, config_.key_dim, config_.value_dim + 1});
  matrix.shard_axis = 0;
  StateSpec largest = matrix;
  largest.name = "m";
  largest.shape = Shape({config_.heads});
  return {matrix, largest};
}

Tensor Xlstm::Forward(Context& ctx, const Tensor& x) const {
  const auto in = Linears(ctx, x, {{q_}, {k_}, {v_}, {o_}, i_, f_});
  const auto heads = [&](const Tensor& y, int64_t channels) {
    return ReshapeView(ctx, y, {y.dim(0), y.dim(1) / channels, channels});
  };
  const auto capped = [&](const Tensor& gate) {
    return SoftCap(ctx, gate, config_.gate_softcap);
  };
  const Tensor q = heads(in[0], config_.key_dim);
  const Tensor k = heads(in[1], config_.key_dim);
  const XlstmGates gates = OpenGates(
      ctx, capped(in[4]), capped(in[5]), heads(in[2], config_.value_dim),
      config_.eps, ctx.state ? &ctx.state->sequence(kLargest) : nullptr);
  GatedLinearOptions options;
  options.scale = 1.0f / std::sqrt(static_cast<float>(config_.key_dim));
  options.chunk = config_.chunk;
  const Tensor sums =
      ctx.state == nullptr
          ? GatedLinear(ctx, q, k, gates.value, gates.log_decay, Tensor(),
                        options)
                .out
          : GatedLinearInPlace(ctx, q, k, gates.value, gates.log_decay,
                               &ctx.state->sequence(kMatrix), options);
  const Tensor h = LayerNorm(ctx, DivideSums(ctx, sums, gates.floor),
                             &ctx.weight(norm_), nullptr, config_.norm_eps);
  const Tensor y = ReshapeView(ctx, h, in[2].shape());
  return OutLinear(ctx, GatedActivation(ctx, Activation::kSigmoid, in[3], y),
                   out_);
}

Result<std::unique_ptr<Mixer>> CreateXlstm(const Json& json, int dim) {
  return MakeMixer<Xlstm, XlstmConfig>(json, "xlstm", dim);
}

void XlstmFields(Fields& f, int dim) { VisitFresh<XlstmConfig>(f, dim); }

std::vector<MixerExample> XlstmExamples() {
  return {{.name = "published",
           .config = R"({"heads": 2, "key_dim": 16, "value_dim": 32})",
           .dim = 32},
          {.name = "odd_sizes",
           .config = R"({"heads": 4, "key_dim": 9, "value_dim": 7,
                         "gate_softcap": 4, "eps": 1e-5, "norm_eps": 1e-5,
                         "chunk": 24})",
           .dim = 20}};
}

}  // namespace intarsia
