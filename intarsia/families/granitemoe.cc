// Granite 3 MoE: Granite with experts, and with one more that sees every token.
#include <algorithm>

#include "intarsia/families/decoder.h"

namespace intarsia {
namespace {

void Edit(DecoderDraft* d) {
  const bool bias = d->fields.BoolOr("attention_bias", false);
  d->Bias(bias, bias);
  d->config.embedding_scale = d->Scale("embedding_scale");
  d->config.logit_scale = 1.0f / d->Scale("logit_scale");
  d->first.residual_scale = d->Scale("residual_scale");
  d->second.residual_scale = d->first.residual_scale;
  d->attention["scale"] = d->Scale("scale");
  const int experts = d->fields.IntOr("experts", 8, 1, 65536);
  const int top_k = d->fields.IntOr("top_k", 2, 1, experts);
  Json own = Json::object();
  const int shared = d->json.IntOr("shared_intermediate_size", 0, 0, 1 << 24);
  if (shared > 0) own["shared_hidden"] = shared;
  d->Experts(experts, top_k, d->hidden[0], own);
  d->other_names.clear();
  const std::string block = "block_sparse_moe.";
  d->names.rows.insert(d->names.rows.end(),
                       {{"1.router", block + "router.layer.weight"},
                        {"1.shared_down", "shared_mlp.output_linear.weight"}});
  std::erase_if(d->names.rows, [](const TensorRow& row) {
    return row.hf.find('%') != std::string::npos;
  });
  for (const std::string part : {"gate", "up"}) {
    d->names.rows.push_back(
        {.ours = "1." + part, .hf = block + "input_linear.weight", .axis = 1});
    d->names.rows.push_back(
        {"1.shared_" + part, "shared_mlp.input_linear.weight"});
  }
  d->names.rows.push_back({"1.down", block + "output_linear.weight"});
}

constexpr FieldRow kFields[] = {{"embedding_scale", "embedding_multiplier"},
                                {"residual_scale", "residual_multiplier"},
                                {"scale", "attention_multiplier"},
                                {"logit_scale", "logits_scaling"}};
constexpr DecoderTraits kTraits = {
    .family = "granitemoe", .edit = Edit, .fields = kFields};

}  // namespace

Family GraniteMoeFamily() {
  return {.name = "granitemoe",
          .model_types = {"granitemoe", "granitemoeshared"},
          .gguf_architectures = {},
          .from_config = DecoderFromConfig<kTraits>,
          .from_gguf = nullptr,
          .defaults = {{"rms_norm_eps", "1e-06"}}};
}

}  // namespace intarsia
