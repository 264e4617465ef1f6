// A family's fields and tensors as rows: our name, Hugging Face's, GGUF's. One
// table serves every direction: reading either kind of file, and writing it.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "intarsia/core/json_reader.h"
#include "intarsia/families/family.h"

namespace intarsia {

enum class FileKind : uint8_t { kHuggingFace, kGguf };

// A tensor; "" where a kind of file does not have it. Of names that begin with
// a number, "0.q_proj", each block has one: "blocks.7." stands before ours, the
// table's fronts before the file's. "%" in a file's name stands for the number
// of an element along the first axis of ours, which the file keeps as tensors
// of their own. Rows that name one tensor of a file are its parts, one after
// the other.
struct TensorRow {
  std::string ours;
  std::string hf;
  std::string gguf = "";
  bool transposed = false;  // Hugging Face's matrix is [in, out]
  int axis = 0;             // of the file's tensor, that the parts lie along
  int unsqueeze = -1;       // as TensorMap's
  int64_t groups = 1;       // as TensorMap's
  int64_t begin = 0;        // rows of the file's tensor before ours
};

struct TensorNames {
  std::string hf_block = "model.layers.";
  std::vector<TensorRow> rows = {};
  std::string gguf_block = "blk.";

  // A weight, and the bias beside it.
  void AddPair(const std::string& weight, const std::string& bias,
               const std::string& hf, const std::string& gguf = "",
               bool transposed = false);
};

// The maps of the model's weights. A row without a weight of that name is for
// other models of the family. A later row of the same `ours` takes the place of
// an earlier one. Empty for a configuration that no model can have.
std::vector<TensorMap> MapRows(const TensorNames& table, FileKind kind,
                               const ModelConfig& config);

// Reads a file's fields by our names, as JsonReader does by the file's. A field
// that this kind of file does not have is absent.
class FieldReader {
 public:
  // `prefix` is that of GGUF's keys, "llama.".
  FieldReader(const nlohmann::json& json, const std::string& room,
              std::span<const FieldRow> rows, FileKind kind,
              const std::string& prefix = "");

  int Int(const std::string& ours, int low = 1, int high = 1 << 24);
  int IntOr(const std::string& ours, int fallback, int low = 0,
            int high = 1 << 30);
  // One number for all layers, or in GGUF a list of them.
  std::vector<int> Ints(const std::string& ours, int layers, int high);
  // Empty when absent.
  std::vector<int> IntsOr(const std::string& ours, int layers, int high);
  bool BoolOr(const std::string& ours, bool fallback);
  double NumberOr(const std::string& ours, double fallback);
  std::string StringOr(const std::string& ours, const std::string& fallback);
  // A norm's epsilon, in [0, 1). GGUF must have it, as llama.cpp wants.
  double Eps(const std::string& ours, double fallback);

  FileKind kind() const { return kind_; }
  // The file's name of a field; "" where it has none.
  std::string NameOf(const std::string& ours) const;
  JsonReader& json() { return reader_; }
  const Status& status() const { return reader_.status(); }

 private:
  const std::span<const FieldRow> rows_;
  const FileKind kind_;
  JsonReader reader_;
};

}  // namespace intarsia
