// StarCoder 2: LayerNorms, an MLP of two matrices, biases everywhere.
#include "intarsia/families/decoder.h"

namespace intarsia {
namespace {

void Edit(DecoderDraft* d) {
  const bool bias = d->json.BoolOr("use_bias", true);
  d->Bias(bias, bias);
  d->TwoMatrices(bias);
  d->ReadWindow();
  d->names.AddPair("1.up", "1.up_bias", "mlp.c_fc");
  d->names.AddPair("1.down", "1.down_bias", "mlp.c_proj");
  // Dropout is training's choice.
  d->json.Ignore(
      {"residual_dropout", "embedding_dropout", "norm_type", "mlp_type"});
}

constexpr FieldRow kFields[] = {{"eps", "norm_epsilon"}};
constexpr DecoderTraits kTraits = {
    .family = "starcoder2",
    .edit = Edit,
    .fields = kFields,
    .norm = {.kind = NormConfig::Kind::kLayer, .eps = 1e-5f},
    .activation = "gelu_pytorch_tanh",
    .positions = 4096};

}  // namespace

Family Starcoder2Family() {
  return {.name = "starcoder2",
          .model_types = {"starcoder2"},
          .gguf_architectures = {},
          .from_config = DecoderFromConfig<kTraits>,
          .from_gguf = nullptr,
          .defaults = {{"num_key_value_heads", "2"},
                       {"tie_word_embeddings", "true"}}};
}

}  // namespace intarsia
