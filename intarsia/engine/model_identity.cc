#include "intarsia/engine/model_identity.h"

#include <nlohmann/json.hpp>
#include <vector>

#include "intarsia/core/sha256.h"

namespace intarsia {
namespace {

constexpr size_t kWhole = 64 << 20;  // of all weights
constexpr size_t kPieces = 16, kPiece = 16 << 10;

void Update(const std::string& text, Sha256* hash) {
  // With its end, so that two texts are not one.
  hash->Update(std::as_bytes(std::span(text.c_str(), text.size() + 1)));
}

// Bytes [begin, begin + size) of a tensor.
void Update(const Tensor& values, size_t begin, size_t size, Sha256* hash) {
  const size_t offset =
      static_cast<size_t>(values.raw() - values.storage()->data()) + begin;
  const Tensor host = Tensor::Wrap(values.storage(), offset,
                                   {static_cast<int64_t>(size)}, DType::kU8)
                          .To(Cpu());
  hash->Update({host.raw(), size});
}

std::string WeightHash(const std::string& path, const Weight& weight,
                       bool whole) {
  Sha256 hash;
  Update(path, &hash);
  Update(std::string(weight.format().name()), &hash);
  Update(weight.shape().ToString(), &hash);
  const Tensor values = weight.values().Contiguous();
  const size_t bytes = values.nbytes();
  if (whole || bytes <= kPieces * kPiece) {
    Update(values, 0, bytes, &hash);
  } else {
    for (size_t i = 0; i < kPieces; ++i) {
      Update(values, (bytes - kPiece) / (kPieces - 1) * i, kPiece, &hash);
    }
    Update(values, bytes - kPiece, kPiece, &hash);
  }
  return hash.Hex();
}

}  // namespace

std::string ModelIdentity(const Model& model, ThreadPool& threads) {
  std::vector<std::string> hashes(model.paths().size());
  size_t total = 0;
  bool host = true;
  for (const std::string& path : model.paths()) {
    const Tensor& values = model.Find(path)->values();
    total += values.nbytes();
    host = host && values.device().is_cpu();
  }
  const auto task = [&](int64_t i) {
    const std::string& path = model.paths()[i];
    hashes[i] = WeightHash(path, *model.Find(path), total <= kWhole);
  };
  const auto count = static_cast<int64_t>(hashes.size());
  if (host) {
    threads.Run(count, task);
  } else {  // copies from a device go one after the other
    for (int64_t i = 0; i < count; ++i) task(i);
  }
  Json config = ToJson(model.config());
  for (const char* key : {"name", "bos_id", "eos_ids"}) config.erase(key);
  Sha256 all;
  Update(config.dump(), &all);
  for (const std::string& hash : hashes) Update(hash, &all);
  return all.Hex();
}

}  // namespace intarsia
