// Names of one model in Hugging Face's and GGUF's files, joined through ours.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "intarsia/core/status.h"
#include "intarsia/core/tensor.h"

namespace intarsia {

struct NamePair {
  std::string native, hf, gguf;
  // Heads whose rows GGUF keeps in pairs; 0: the order is the same.
  int64_t paired_heads = 0;
};

// GGUF's metadata that a config.json gives, and the other way round, for the
// architectures llama, qwen2 and qwen3. Refuses what GGUF would lose.
Result<nlohmann::json> GgufFieldsOf(const nlohmann::json& config);
Result<nlohmann::json> ConfigOfGguf(const nlohmann::json& fields);

// All tensors of the model that `config` and `fields` describe.
Result<std::vector<NamePair>> JoinNames(const nlohmann::json& config,
                                        const nlohmann::json& fields);

// Rows [heads · n, ...] in GGUF's order from Hugging Face's: row 2 i + p of a
// head from row i + p n / 2; or back.
Tensor PairRows(const Tensor& bytes, int64_t rows, int64_t heads, bool back);

}  // namespace intarsia
