// Importance matrices: for each matrix of a model the mean square of every
// input that it was multiplied with on some text. Quantising weighs errors by
// them.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "intarsia/checkpoint/mapped_file.h"
#include "intarsia/core/status.h"

namespace intarsia {

class ImportanceMatrix {
 public:
  // llama.cpp's two forms, told apart by their first bytes: GGUF (tensors
  // NAME.in_sum2 and NAME.counts) and the older .dat. The file is untrusted:
  // counts, sizes and values (finite, not negative) are checked.
  static Result<ImportanceMatrix> Open(const std::string& path);
  static Result<ImportanceMatrix> Read(std::shared_ptr<const MappedFile> file);

  // Of a tensor by its GGUF name: K values, or experts × K. Empty: not there.
  const std::vector<float>& Of(const std::string& tensor) const;
  size_t size() const { return values_.size(); }

 private:
  Status ReadGgufForm(std::shared_ptr<const MappedFile> file);
  Status ReadOldForm(const MappedFile& file);
  Status Add(const std::string& where, std::string name,
             std::vector<float> values);

  std::map<std::string, std::vector<float>> values_;
};

}  // namespace intarsia
