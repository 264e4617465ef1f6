// The targets of targets.def.
#include <algorithm>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string_view>
#include <vector>

#include "intarsia/checkpoint/checked.h"
#include "intarsia/checkpoint/checkpoint.h"
#include "intarsia/checkpoint/json_input.h"
#include "intarsia/checkpoint/mapped_file.h"
#include "intarsia/core/fuzz/memory_file.h"

namespace intarsia {
namespace {

std::span<const std::byte> Bytes(std::string_view text) {
  return std::as_bytes(std::span<const char>(text));
}

// Reads every byte of a tensor, so that a sanitizer sees one out of place.
void Touch(const StoredTensor& tensor) {
  volatile unsigned sum = 0;
  const size_t size = tensor.bytes.nbytes();
  for (size_t i = 0; i < size; ++i) {
    sum = sum + std::to_integer<unsigned>(tensor.bytes.raw()[i]);
  }
  (void)tensor.ValidateBlocks();
  const Result<Tensor> plain = tensor.AsTensor();
  if (plain.ok()) CHECK_EQ(plain->nbytes(), size);
}

void Touch(const TensorTable& table, const MappedFile& file) {
  for (const StoredTensor& tensor : table.tensors()) {
    const std::byte* begin = tensor.bytes.raw();
    const size_t size = tensor.bytes.nbytes();
    CHECK(size == 0 || (begin >= file.bytes().data() &&
                        begin + size <= file.bytes().data() + file.size()));
    CHECK(table.Find(tensor.name) == &tensor);
    Touch(tensor);
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
  (void)metadata.Scores();
  CHECK(metadata.ToEntries().size() <= metadata.values().size());
}

}  // namespace

bool FuzzSafetensors(std::string_view input) {
  const auto file = MappedFile::OfBytes("fuzz.bin", Bytes(input));
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

bool FuzzGguf(std::string_view input) {
  const auto file = MappedFile::OfBytes("fuzz.bin", Bytes(input));
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

bool FuzzShardIndex(std::string_view input) {
  const auto shards = ReadShardIndex(input, "fuzz.bin");
  if (!shards.ok()) {
    CheckMessage(shards.status());
    return false;
  }
  for (const auto& [name, file] : *shards) {
    CHECK(file.find('/') == std::string::npos) << file;
  }
  return true;
}

bool FuzzJson(std::string_view input) {
  if (input.empty()) return false;
  const auto first = static_cast<unsigned char>(input[0]);
  const JsonLimits limits{.depth = first % 128, .non_finite = first >= 128};
  const auto json = ParseJson(input.substr(1), "[fuzz] fuzz.bin:", limits);
  if (!json.ok()) {
    CheckMessage(json.status());
    CHECK(IsUtf8(json.status().message()));
    return false;
  }
  const std::string text = json->dump();  // throws unless all is UTF-8
  // What is written is read again as the same, but for NaN, which is no number.
  const auto again = ParseJson(text, "[fuzz] fuzz.bin:", {.depth = 128});
  CHECK(again.ok()) << again.status().message();
  CHECK(again->dump() == text);
  return true;
}

bool FuzzCheckpointFolder(std::string_view input) {
  static constexpr const char* kNames[] = {
      "config.json",
      "intarsia.json",
      "model.safetensors",
      "model.safetensors.index.json",
      "a.safetensors",
      "b.safetensors",
      "m.gguf",
      "m-00001-of-00002.gguf",
      "m-00002-of-00002.gguf",
      "m-00001-of-00003.gguf",
      "m-00003-of-00003.gguf",
      "tokenizer.json",
      "tokenizer_config.json",
      "generation_config.json",
      "pytorch_model.bin",
  };
  static const FuzzFolder owned;  // removed at exit
  static const FuzzFolder* const folder = &owned;
  bool put[std::size(kNames)] = {};
  ByteReader in(Bytes(input));
  while (in.remaining() >= 3) {
    const size_t which = in.Read<uint8_t>() % std::size(kNames);
    const auto length = in.Read<uint16_t>();
    const auto bytes =
        AsText(in.Take(std::min<uint64_t>(length, in.remaining())));
    folder->Put(kNames[which], bytes);
    put[which] = true;
  }
  bool opened = false;
  std::vector<std::string> paths = {folder->path()};
  for (const size_t which : {3, 7, 9}) {
    if (put[which]) paths.push_back(folder->path() + "/" + kNames[which]);
  }
  for (const std::string& path : paths) {
    const auto checkpoint = Checkpoint::Open(path);
    if (!checkpoint.ok()) {
      CHECK(checkpoint.status().message().find(folder->path()) !=
            std::string::npos)
          << checkpoint.status().message();
      continue;
    }
    opened = true;
    (void)(*checkpoint)->config().dump();
    for (const StoredTensor& tensor : (*checkpoint)->tensors()) {
      CHECK((*checkpoint)->Find(tensor.name) == &tensor);
      Touch(tensor);
    }
    (void)(*checkpoint)->ValidateBlocks(8);
  }
  for (size_t i = 0; i < std::size(kNames); ++i) {
    if (put[i]) folder->Remove(kNames[i]);
  }
  return opened;
}

}  // namespace intarsia
