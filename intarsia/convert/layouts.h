// Names of one model in Hugging Face's and GGUF's files, joined through ours.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <type_traits>
#include <vector>

#include "intarsia/core/status.h"
#include "intarsia/core/tensor.h"
#include "intarsia/families/family.h"

namespace intarsia {

// A tensor of Hugging Face's and where GGUF has it.
struct NamePair {
  std::string hf, gguf;
  // Heads whose rows GGUF keeps in pairs; 0: the order is the same.
  int64_t paired_heads = 0;
  // One of them is [in, out].
  bool transposed = false;
  // It is this element of a stack of `stack_size` in GGUF; -1: all of it.
  int64_t stack = -1, stack_size = 0;
  // GGUF wants it in f32, whatever the source has.
  bool wide = false;
};

// A field of the type of `fallback`, which stands for one that is missing, null
// or of another type.
template <typename T>
T FieldOr(const nlohmann::json& json, const std::string& name, T fallback) {
  if (!json.is_object()) return fallback;
  const auto found = json.find(name);
  if (found == json.end()) return fallback;
  bool fits = found->is_number();
  if constexpr (std::is_same_v<T, bool>) fits = found->is_boolean();
  if constexpr (std::is_same_v<T, std::string>) fits = found->is_string();
  if constexpr (std::is_same_v<T, int64_t>) fits = found->is_number_integer();
  return fits ? found->template get<T>() : fallback;
}
inline std::string TextOr(const nlohmann::json& json, const std::string& name,
                          const char* fallback = "") {
  return FieldOr<std::string>(json, name, fallback);
}

// GGUF's metadata that a config.json gives, and the other way round, by the
// family's rows (GgufForm). Refuses what GGUF would lose.
Result<nlohmann::json> GgufFieldsOf(const nlohmann::json& config);
Result<nlohmann::json> ConfigOfGguf(const nlohmann::json& fields);

// The layouts that config.json and GGUF's metadata describe.
Result<FamilyModel> HfLayout(const nlohmann::json& config);
Result<FamilyModel> GgufLayout(const nlohmann::json& fields);

// Brings a layout to what a file has, by the file's own layout: a head, and
// biases that the configuration does not speak of, under the names that go with
// the other tensors'.
void FitLayout(const std::vector<TensorMap>& have, const char* head,
               std::vector<TensorMap>* layout);

// Hugging Face's tensors and GGUF's by our names, all of both.
Result<std::vector<NamePair>> JoinNames(const std::vector<TensorMap>& hf,
                                        const FamilyModel& gguf);

// What other programs that read GGUF do without, a sentence each.
std::vector<std::string> UnreadByOthers(const nlohmann::json& fields,
                                        const std::vector<NamePair>& pairs);

inline constexpr char kHfHead[] = "lm_head.weight";
inline constexpr char kGgufHead[] = "output.weight";

// [rows, cols] of numbers of `width` bytes as [cols, rows].
Tensor TransposeBytes(const Tensor& bytes, int64_t rows, int64_t cols,
                      int64_t width);

// Rows [heads · n, ...] in GGUF's order from Hugging Face's: row 2 i + p of a
// head from row i + p n / 2; or back.
Tensor PairRows(const Tensor& bytes, int64_t rows, int64_t heads, bool back);

}  // namespace intarsia
