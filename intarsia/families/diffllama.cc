// DiffLlama: Llama with differential attention.
#include <cmath>

#include "intarsia/families/decoder.h"

namespace intarsia {
namespace {

void Edit(DecoderDraft* d) {
  const bool bias = d->fields.BoolOr("attention_bias", false);
  d->first.mixer = "diff_attention";
  d->attention["bias"] = bias;
  d->attention["eps"] = d->norm.eps;
  for (int i = 0; i < d->layers; ++i) {
    d->own.push_back({{"lambda_init", 0.8 - 0.6 * std::exp(-0.3 * i)}});
  }
  for (const std::string name :
       {"lambda_q1", "lambda_k1", "lambda_q2", "lambda_k2"}) {
    d->names.rows.push_back({"0." + name, "self_attn." + name});
  }
  d->json.Ignore({"lambda_std_dev"});  // of training's start
}

constexpr DecoderTraits kTraits = {.family = "diffllama", .edit = Edit};

}  // namespace

Family DiffllamaFamily() {
  return {.name = "diffllama",
          .model_types = {"diffllama"},
          .gguf_architectures = {},
          .from_config = DecoderFromConfig<kTraits>,
          .from_gguf = nullptr,
          .defaults = {{"rms_norm_eps", "1e-05"}}};
}

}  // namespace intarsia
