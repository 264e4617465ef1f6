// Arcee (AFM): Llama with an MLP of two matrices and squared ReLU.
#include "intarsia/families/decoder.h"

namespace intarsia {
namespace {

void Edit(DecoderDraft* d) {
  d->ReadBiases();
  d->TwoMatrices(d->fields.BoolOr("mlp_bias", false));
}

constexpr DecoderTraits kTraits = {
    .family = "arcee", .edit = Edit, .activation = "relu2", .positions = 4096};

Result<FamilyModel> FromGguf(const Json& metadata) {
  return ReadGgufDecoder(kTraits, "arcee", /*paired=*/true, metadata);
}

}  // namespace

Family ArceeFamily() {
  GgufForm form = DecoderGguf(kTraits, "ArceeForCausalLM", R"(["relu2"])");
  return {.name = "arcee",
          .model_types = {"arcee"},
          .gguf_architectures = {"arcee"},
          .from_config = DecoderFromConfig<kTraits>,
          .from_gguf = FromGguf,
          .defaults = {{"rms_norm_eps", "1e-05"}},
          .gguf = form};
}

}  // namespace intarsia
