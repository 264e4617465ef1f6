// From a checkpoint to a model, and back to the checkpoint's own names.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "intarsia/checkpoint/checkpoint.h"
#include "intarsia/core/status.h"
#include "intarsia/families/family.h"
#include "intarsia/model/model.h"

namespace intarsia {

struct LoadOptions {
  // Matrices and tables become this format; null keeps the stored one (mapped,
  // without a copy, where no slice or transpose is needed).
  const Format* matrices = nullptr;
  // OpenModel, on a CPU: also packs the weights for serving (model/pack.h), on
  // so many threads (0: all), unless that took more than half of the memory
  // that is available. The pages of the file leave the process.
  bool pack = false;
  int pack_threads = 0;
  // OpenModel: files are copied into memory, not mapped, so that none that
  // another process cuts short can end this one (checkpoint/mapped_file.h).
  bool copy_files = false;
  // Go on where tensors of the model, or fields of its configuration that
  // change what is computed, are not used; else that is an error.
  bool allow_unused = false;
  // Asked before any weight is read, with the model's states and shapes known:
  // `bytes` is what its tensors have in the file. An error ends the load.
  std::function<Status(const Model& model, size_t bytes)> admit = nullptr;
  // Called as weights are read, of `total` in all; false ends the load with
  // Unavailable.
  std::function<bool(size_t done, size_t total)> progress = nullptr;
};

struct LoadedModel {
  std::unique_ptr<Model> model;
  std::string family;              // "llama", or "intarsia" for native folders
  std::vector<TensorMap> tensors;  // the layout that the checkpoint has
  std::vector<std::vector<TensorMap>> layouts;  // all that the family knows
  // One line each: for whoever opened the model to show.
  std::vector<std::string> warnings;
  // What belongs to the model and is not used, all of it (allow_unused).
  std::vector<std::string> unused_tensors, unused_fields;
};

// Messages name the file, and the tensor or the field at fault.
Result<LoadedModel> LoadModel(const Checkpoint& checkpoint,
                              const LoadOptions& options = {});

// The first of `layouts` all of whose tensors `file` has, else the first.
const std::vector<TensorMap>& ChooseLayout(
    const std::vector<std::vector<TensorMap>>& layouts, const Checkpoint& file);

// Foreign tensors from ours through `maps`, fp32: `native` gives a path's
// values (weights or gradients); an undefined tensor stands for zeros.
using NativeValues = std::function<Tensor(const std::string& path)>;
std::vector<std::pair<std::string, Tensor>> ToForeign(
    const std::vector<TensorMap>& maps, const Model& model,
    const NativeValues& native);

}  // namespace intarsia
