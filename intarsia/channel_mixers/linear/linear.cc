#include "intarsia/channel_mixers/linear/linear.h"

#include <nlohmann/json.hpp>

#include "intarsia/core/json_reader.h"

namespace intarsia {

LinearMixer::LinearMixer(const LinearConfig& config) : config_(config) {
  weight_ = book_.Matrix("weight", {config.out, config.dim});
  bias_ = book_.Bias(weight_, config.bias);
}

Tensor LinearMixer::Forward(Context& ctx, const Tensor& x) const {
  return Linear(ctx, x, weight_, bias_);
}

Result<std::unique_ptr<Mixer>> CreateLinear(const Json& json, int dim) {
  JsonReader reader(json, "linear");
  LinearConfig config;
  config.dim = dim;
  config.out = reader.IntOr("out_dim", dim, 1, 1 << 24);
  config.bias = reader.BoolOr("bias", false);
  RETURN_IF_ERROR(reader.Finish());
  return std::unique_ptr<Mixer>(new LinearMixer(config));
}

std::vector<MixerExample> LinearExamples() {
  return {{.name = "plain", .config = "{}", .dim = 12},
          {.name = "bias", .config = R"({"bias": true})", .dim = 20}};
}

}  // namespace intarsia
