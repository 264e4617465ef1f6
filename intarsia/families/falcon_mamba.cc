// Falcon Mamba: Mamba whose steps, B and C have RMS norms without weights.
#include <nlohmann/json.hpp>

#include "intarsia/families/hybrid_parts.h"

namespace intarsia {

Family FalconMambaFamily() {
  return {.name = "falcon_mamba",
          .model_types = {"falcon_mamba"},
          .gguf_architectures = {},
          .from_config =
              [](const Json& json) {
                return MambaFromConfig("falcon_mamba", json);
              },
          .from_gguf = nullptr,
          .base = "backbone.",
          .defaults = {{"layer_norm_epsilon", "1e-05"},
                       {"mixer_rms_eps", "1e-06"}}};
}

}  // namespace intarsia
