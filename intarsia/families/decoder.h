// Dense decoders as rows: what a published configuration says of one, before it
// is a model. Llama's fields and names are the ground; a family states what is
// its own.
//
//   void Edit(DecoderDraft* d) {
//     d->ReadBiases();
//     d->first.residual_scale = d->second.residual_scale = d->Scale("...");
//   }
//   constexpr DecoderTraits kTraits = {.family = "granite", .edit = Edit};
//   ... .from_config = DecoderFromConfig<kTraits>
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "intarsia/families/family.h"
#include "intarsia/families/hybrid_parts.h"
#include "intarsia/families/rows.h"
#include "intarsia/families/transformer.h"

namespace intarsia {

// Fills its places while it is edited, and is then composed.
struct DecoderDraft {
  FieldReader& fields;
  JsonReader& json;  // the same fields by the file's names
  ModelConfig config = {};
  int layers = 0, heads = 0, head_dim = 0;
  std::vector<int> kv_heads = {}, hidden = {};  // by layer
  NormConfig norm = {};                         // of everything
  // Of every layer; heads, rotary positions and windows follow.
  nlohmann::json attention = {}, mlp = {};
  std::vector<nlohmann::json> own = {};  // of each layer's attention alone
  // Mixers, their norms and places: attention before glu, both on a norm of
  // their own.
  SublayerConfig first = {}, second = {};
  std::vector<int> windows = {};  // by layer; 0: none
  std::vector<bool> turns = {};   // by layer: rotary positions
  // Rotary parameters and windows are by layer type.
  bool typed = false;
  // By layer: experts, of the configuration `moe`, in place of the MLP.
  std::vector<bool> sparse = {};
  nlohmann::json moe = {};
  TensorNames names = {};
  std::vector<TensorNames> other_names = {};  // that the family also has
  std::vector<std::string> warnings = {};

  bool gguf() const { return fields.kind() == FileKind::kGguf; }
  // A number that multiplies something; 1 where absent.
  float Scale(const std::string& ours);
  void Bias(bool qkv, bool out);
  // "attention_bias" of all four projections, "mlp_bias" of all of the MLP.
  void ReadBiases();
  // All layers see "sliding_window" only.
  void ReadWindow();
  // Those that "layer_types" calls sliding; without it all but every
  // `pattern`-th.
  void ReadLayerTypes(int pattern);
  // One norm, and attention and the MLP side by side on it.
  void Parallel();
  // A norm behind each mixer: beside the one before it, or in its place.
  void NormsAfter(bool before_too);
  // Of queries and keys; `over`: "head", "all" heads together, or "each" head
  // with weights of its own.
  void QkNorm(const NormConfig& of, const std::string& over = "head");
  // An MLP of two matrices in place of the gated one.
  void TwoMatrices(bool bias);
  // Experts in all layers; `own`: what the mixer's configuration has besides.
  // Their tensors are below `block` of a layer, one an expert, or as
  // transformers 5 holds them in stacks, gate and up fused.
  void Experts(int experts, int top_k, int width, nlohmann::json own,
               const std::string& block = "mlp.");
  // One more expert, that sees every token; its tensors begin with `front`.
  void SharedExpert(int width, const std::string& front);
  // A row of the experts, whatever holds their matrices.
  void ExpertRow(const std::string& ours, const std::string& hf);
  // Qwen's: every "decoder_sparse_step"-th layer but "mlp_only_layers".
  void ReadSparseLayers();
  // Parts of one tensor of the file, one after the other.
  void Fuse(const std::vector<std::string>& ours, const std::string& hf,
            int64_t groups = 1);
  // q, k and v of each of `groups` groups of heads side by side in one tensor.
  void FuseQkv(const std::string& hf, int64_t groups = 1);
};

struct DecoderTraits {
  const char* family = "";
  void (*edit)(DecoderDraft*) = nullptr;
  void (*finish)(DecoderDraft*) = nullptr;  // with the blocks composed
  // What the family calls otherwise than Llama does, or has besides.
  std::span<const FieldRow> fields = {};
  NormConfig norm = {.kind = NormConfig::Kind::kRms, .eps = 1e-6f};
  const char* activation = "silu";
  double theta = 10000.0;
  int positions = 2048;
  bool rope = true;      // rotary positions
  bool partial = false;  // RopeDefaults'
  bool pairs = false;    // neighbouring channels turn together
  bool eps = true;       // a field says the norms' epsilon
};

Result<FamilyModel> ReadDecoder(const DecoderTraits& traits,
                                const nlohmann::json& config);
// The same from GGUF's metadata. `paired`: the file keeps rows of queries and
// keys in pairs, where config.json's model turns channels half a head apart.
Result<FamilyModel> ReadGgufDecoder(const DecoderTraits& traits,
                                    const std::string& architecture,
                                    bool paired,
                                    const nlohmann::json& metadata);
// How convert writes the family, with `fields` the traits'; `activation` is the
// one that GGUF's files of the architecture mean.
GgufForm DecoderGguf(const DecoderTraits& traits, const char* class_name,
                     const char* activation);

// Older files' rotary parameters by layer type: a flat scaling is of layers
// that see everything; sliding ones have none and a base of their own where
// `theta` names its field.
struct RopeOfSliding {
  double full_theta = 10000.0;
  const char* theta = "";
  double default_theta = 10000.0;
};
nlohmann::json RopesByType(nlohmann::json config, const RopeOfSliding& sliding);

template <const DecoderTraits& kTraits>
Result<FamilyModel> DecoderFromConfig(const nlohmann::json& config) {
  return ReadDecoder(kTraits, config);
}

}  // namespace intarsia
