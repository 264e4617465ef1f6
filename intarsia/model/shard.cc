#include "intarsia/model/shard.h"

#include "intarsia/distributed/tensor_parallel.h"

namespace intarsia {

Result<std::unique_ptr<Model>> ShardModel(const Model& whole, int rank,
                                          int size) {
  CHECK(rank >= 0 && rank < size) << rank << " of " << size;
  ASSIGN_OR_RETURN(std::unique_ptr<Model> part, Model::Create(whole.config()));
  for (const std::string& path : whole.paths()) {
    const Weight& source = *whole.Find(path);
    CHECK(source.defined()) << path << " has no values";
    WeightSpec spec = source.spec();
    // Only mixers know how to work with a part of their weights.
    const bool in_mixer =
        (path.starts_with("blocks.") || path.starts_with("shared.")) &&
        spec.shard.axis >= 0 && size > 1;
    if (!in_mixer) {
      RETURN_IF_ERROR(part->SetWeight(path, source.format(), source.values()));
      continue;
    }
    auto values =
        ShardWeight(spec, source.format(), source.values(), rank, size);
    if (!values.ok()) {
      return Status(values.status().code(),
                    values.status().message() + " (" + path + ")");
    }
    spec.shape =
        spec.shape.With(spec.shard.axis, spec.shape[spec.shard.axis] / size);
    Weight cut(std::move(spec), &source.format(), std::move(values).value());
    cut.trainable = source.trainable;
    *part->Find(path) = std::move(cut);
  }
  for (const std::string& path : whole.paths()) {
    part->Find(path)->trainable = whole.Find(path)->trainable;
  }
  return part;
}

}  // namespace intarsia
