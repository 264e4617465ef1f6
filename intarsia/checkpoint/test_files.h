// Files for the tests: a temporary folder, and builders of small safetensors
// and GGUF files whose every field can be made wrong.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>

namespace intarsia {

class TempFolder {
 public:
  TempFolder() {
    std::string name =
        (std::filesystem::temp_directory_path() / "intarsia-XXXXXX").string();
    path_ = ::mkdtemp(name.data());
  }
  ~TempFolder() {
    std::error_code error;
    std::filesystem::remove_all(path_, error);
  }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;

  std::string operator/(std::string_view name) const {
    return (path_ / name).string();
  }
  std::string path() const { return path_.string(); }

 private:
  std::filesystem::path path_;
};

inline void WriteFile(const std::string& path, std::string_view bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

inline std::string ReadFile(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

template <typename T>
std::string Raw(T value) {
  return {reinterpret_cast<const char*>(&value), sizeof(T)};
}

// A safetensors file of this header text and data.
inline std::string Safetensors(const std::string& header,
                               const std::string& data) {
  return Raw<uint64_t>(header.size()) + header + data;
}

// GGUF in the making. Counts are what was added unless set.
struct GgufBytes {
  std::string magic = "GGUF";
  uint32_t version = 3;
  int64_t tensors = 0;
  int64_t keys = 0;
  std::string key_bytes, tensor_bytes, data;
  uint64_t alignment = 32;

  static std::string String(std::string_view text) {
    return Raw<uint64_t>(text.size()) + std::string(text);
  }
  GgufBytes& Key(std::string_view key, uint32_t type, std::string value) {
    key_bytes += String(key) + Raw(type) + value;
    ++keys;
    return *this;
  }
  GgufBytes& Array(std::string_view key, uint32_t type, uint64_t count,
                   std::string items) {
    return Key(key, 9, Raw(type) + Raw(count) + items);
  }
  // Dimensions innermost first, as in the file.
  GgufBytes& Info(std::string_view name, std::initializer_list<uint64_t> dims,
                  uint32_t type, uint64_t offset) {
    tensor_bytes += String(name) + Raw(static_cast<uint32_t>(dims.size()));
    for (uint64_t d : dims) tensor_bytes += Raw(d);
    tensor_bytes += Raw(type) + Raw(offset);
    ++tensors;
    return *this;
  }
  std::string Bytes() const {
    std::string out =
        magic + Raw(version) + Raw(tensors) + Raw(keys) + key_bytes;
    out += tensor_bytes;
    if (!data.empty()) {
      while (out.size() % alignment != 0) out += '\0';
    }
    return out + data;
  }
};

}  // namespace intarsia
