#include "intarsia/model/pack.h"

namespace intarsia {
namespace {

// Matrices [groups, N, K] of a weight.
struct Matrices {
  int64_t groups = 1, n = 0, k = 0;
  explicit Matrices(const Shape& shape)
      : n(shape[shape.rank() - 2]), k(shape[shape.rank() - 1]) {
    for (int i = 0; i + 2 < shape.rank(); ++i) groups *= shape[i];
  }
};

size_t BytesOf(const Model& model, const std::string& path) {
  const Weight& weight = *model.Find(path);
  const bool product = weight.spec().role == WeightSpec::Role::kMatrix ||
                       (path == "embedding" && model.config().tied_head);
  if (!product || !weight.defined() || weight.shape().rank() < 2) return 0;
  const Matrices of(weight.shape());
  return PackedMatrices::Bytes(weight.format(), of.groups, of.n, of.k);
}

// In the block that all share.
size_t Aligned(size_t bytes) { return (bytes + 63) / 64 * 64; }

}  // namespace

size_t PackedBytes(const Model& model) {
  size_t bytes = 0;
  for (const std::string& path : model.paths()) {
    bytes += Aligned(BytesOf(model, path));
  }
  return bytes;
}

void PackWeights(Model* model, ThreadPool& pool,
                 const std::function<void()>& packed) {
  // One block: the system gives it large pages, and a step reads it in order.
  const Tensor block =
      Tensor::Empty({static_cast<int64_t>(PackedBytes(*model))}, DType::kU8);
  size_t end = 0;
  for (const std::string& path : model->paths()) {
    const size_t bytes = BytesOf(*model, path);
    if (bytes == 0) continue;
    const Tensor place = block.Slice(0, static_cast<int64_t>(end),
                                     static_cast<int64_t>(end + bytes));
    end += Aligned(bytes);
    Weight* weight = model->Find(path);
    CHECK(weight->values().device().is_cpu()) << path;
    const Matrices of(weight->shape());
    weight->set_packed(std::make_shared<PackedMatrices>(
        pool, weight->format(), weight->values().raw(), of.groups, of.n, of.k,
        place));
    if (packed) packed();
  }
}

}  // namespace intarsia
