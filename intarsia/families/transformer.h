// What the Llama-shaped families share: pre-norm blocks of attention and a
// gated MLP (or experts), under Hugging Face's names and GGUF's.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "intarsia/core/json_reader.h"
#include "intarsia/families/family.h"
#include "intarsia/families/rows.h"

namespace intarsia {

// The differences among them; the fields every one has are read from the
// configuration.
struct TransformerTraits {
  const char* family = "";
  bool qkv_bias = false;     // q, k, v biases whatever the configuration says
  bool qk_norm = false;      // RMS norm of each head's queries and keys
  bool qk_norm_all = false;  // that norm, over all heads together
  // Where norms stand: before a mixer, after it, or both.
  enum class Norms { kBefore, kAfter, kBoth } norms = Norms::kBefore;
  // Gemma 2's fields; the stored scales of norms are (scale − 1).
  bool gemma2 = false;
  // Which layers "sliding_window" is for: none, all, those of "layer_types" or
  // all, those of "layer_types" or every other one from the first on, or those
  // that Qwen's further fields choose.
  enum class Window {
    kNone,
    kAll,
    kTypes,
    kAlternate,
    kChosen
  } window = Window::kNone;
  // Fields that the family's configuration has.
  bool declares_attention_bias = false, declares_mlp_bias = false;
  double default_theta = 10000.0;
  int default_positions = 32768;
  bool experts = false;           // Mixtral's sparse blocks
  bool interleaved_gguf = false;  // GGUF keeps q, k rows paired for RoPE
  bool gguf_experts = false;      // GGUF's files may have Mixtral's experts
};

Result<FamilyModel> TransformerFromConfig(const TransformerTraits& traits,
                                          const Json& config);
Result<FamilyModel> TransformerFromGguf(const TransformerTraits& traits,
                                        const std::string& architecture,
                                        const Json& metadata);

// Llama's fields and tensors, which most decoders share.
std::span<const FieldRow> LlamaFields();
const TensorNames& LlamaNames();

// How convert writes such a family as GGUF. Its rows are those of the readers.
GgufForm TransformerGguf(const char* class_name);

// The model's name and the ids that begin and end text, as GGUF has them.
void ReadGgufIds(const Json& metadata, ModelConfig* config);

// Fields that never change what a model computes at inference.
void IgnoreBookkeeping(JsonReader* reader);

// {"type": "rms", "eps": eps}.
NormConfig RmsNormConfig(double eps);

// Attention and an MLP side by side on one norm of the residual; their
// configurations.
BlockConfig ParallelBlock(const NormConfig& norm, const Json& attention,
                          const Json& mlp);

// A norm's epsilon, which must be in [0, 1).
double ReadEps(JsonReader* reader, const std::string& name, double fallback);
// The same of a GGUF file: llama.cpp refuses one without it.
double RequiredEps(JsonReader* reader, const std::string& name);

}  // namespace intarsia
