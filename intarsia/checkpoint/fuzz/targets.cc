#include "intarsia/checkpoint/fuzz/targets.h"

#include "intarsia/checkpoint/checkpoint.h"
#include "intarsia/checkpoint/mapped_file.h"

namespace intarsia {
namespace {

// Reads every byte of the tensors, so that a sanitizer sees one out of place.
void Touch(const TensorTable& table, const MappedFile& file) {
  volatile unsigned sum = 0;
  for (const StoredTensor& tensor : table.tensors()) {
    const std::byte* begin = tensor.bytes.raw();
    const size_t size = tensor.bytes.nbytes();
    CHECK(size == 0 || (begin >= file.bytes().data() &&
                        begin + size <= file.bytes().data() + file.size()));
    for (size_t i = 0; i < size; ++i) {
      sum = sum + std::to_integer<unsigned>(begin[i]);
    }
    CHECK(table.Find(tensor.name) == &tensor);
    (void)tensor.ValidateBlocks();
    const Result<Tensor> plain = tensor.AsTensor();
    if (plain.ok()) CHECK_EQ(plain->nbytes(), size);
  }
}

// A status must say something and name the file.
void CheckMessage(const Status& status) {
  CHECK(status.message().find("fuzz.bin") != std::string::npos)
      << status.message();
}

void Touch(const GgufMetadata& metadata) {
  (void)metadata.ToJson().dump();  // throws unless all is UTF-8
  for (const auto& [key, value] : metadata.values()) {
    (void)metadata.Int(key);
    (void)metadata.Float(key);
    (void)metadata.Bool(key);
    (void)metadata.String(key);
    (void)metadata.Ints(key);
    (void)metadata.Floats(key);
    const auto strings = metadata.Strings(key);
    if (strings.ok()) CHECK_EQ(strings->size(), value.count);
  }
  (void)metadata.TokenTypes();
}

}  // namespace

bool FuzzSafetensors(std::span<const std::byte> input) {
  const auto file = MappedFile::OfBytes("fuzz.bin", input);
  TensorTable table;
  std::map<std::string, std::string> metadata;
  const Status status = ReadSafetensors(file, &table, &metadata);
  if (status.ok()) {
    Touch(table, *file);
  } else {
    CheckMessage(status);
  }
  return status.ok();
}

bool FuzzGguf(std::span<const std::byte> input) {
  const auto file = MappedFile::OfBytes("fuzz.bin", input);
  TensorTable table;
  std::unique_ptr<GgufMetadata> metadata;
  const Status status = ReadGguf(file, &table, &metadata);
  if (status.ok()) {
    Touch(table, *file);
    Touch(*metadata);
  } else {
    CheckMessage(status);
  }
  return status.ok();
}

bool FuzzShardIndex(std::span<const std::byte> input) {
  const std::string_view text(reinterpret_cast<const char*>(input.data()),
                              input.size());
  const auto shards = ReadShardIndex(text, "fuzz.bin");
  if (!shards.ok()) {
    CheckMessage(shards.status());
    return false;
  }
  for (const auto& [name, file] : *shards) {
    CHECK(file.find('/') == std::string::npos) << file;
  }
  return true;
}

}  // namespace intarsia
