#include "intarsia/checkpoint/foreign.h"

#include <algorithm>
#include <cstdint>

#include "intarsia/checkpoint/checked.h"

namespace intarsia {
namespace {

using namespace std::string_view_literals;

struct Kind {
  size_t offset;
  std::string_view magic;
  std::string_view what;
};

constexpr std::string_view kUnpack = ": unpack it first";

constexpr Kind kKinds[] = {
    {0, "\x1f\x8b"sv, "is a gzip archive: unpack it first"},
    {0,
     "\xfd"
     "7zXZ\0"sv,
     "is an xz archive: unpack it first"},
    {0, "\x28\xb5\x2f\xfd"sv, "is a zstd archive: unpack it first"},
    {0, "BZh"sv, "is a bzip2 archive: unpack it first"},
    {0, "7z\xbc\xaf\x27\x1c"sv, "is a 7-Zip archive: unpack it first"},
    {0, "Rar!\x1a\x07"sv, "is a RAR archive: unpack it first"},
    {257, "ustar"sv, "is a tar archive: unpack it first"},
    {0, "\x89HDF\r\n\x1a\n"sv,
     "is an HDF5 file, of Keras or TensorFlow: convert it to safetensors"},
    {0, "\x93NUMPY"sv, "is a NumPy array: convert it to safetensors"},
    {4, "TFL3"sv, "is a TensorFlow Lite model, which is not read"},
    // 32-bit magic numbers, the low byte first.
    {0, "lmgg"sv,
     "is an old GGML file (ggml, before GGUF): convert the original model to "
     "GGUF"},
    {0, "fmgg"sv,
     "is an old GGML file (ggmf, before GGUF): convert the original model to "
     "GGUF"},
    {0, "tjgg"sv,
     "is an old GGML file (ggjt, before GGUF): convert the original model to "
     "GGUF"},
    {0, "algg"sv, "is an adapter in an old GGML format (ggla), not a model"},
    {0,
     "\x7f"
     "ELF"sv,
     "is a program (ELF), not a model"},
    {0, "%PDF"sv, "is a PDF document"},
};

// The first bytes without space, a byte order mark before it, in lower case.
std::string Start(std::string_view bytes, size_t length) {
  if (bytes.starts_with("\xef\xbb\xbf")) bytes.remove_prefix(3);
  while (!bytes.empty() && (bytes[0] == ' ' || bytes[0] == '\n' ||
                            bytes[0] == '\r' || bytes[0] == '\t')) {
    bytes.remove_prefix(1);
  }
  std::string start(bytes.substr(0, length));
  for (char& c : start) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return start;
}

bool IsSafetensors(std::string_view bytes) {
  return bytes.size() > 9 && bytes[8] == '{' &&
         bytes.substr(5, 3) == "\0\0\0"sv;
}

bool IsText(std::string_view bytes) {
  const std::string_view start = bytes.substr(0, 64);
  return std::ranges::all_of(start, [](char c) {
    return (c >= ' ' && c <= '~') || c == '\n' || c == '\r' || c == '\t';
  });
}

// The size that a pointer gives: "size 4976698672".
std::string PointedSize(std::string_view pointer) {
  const size_t at = pointer.find("\nsize ");
  if (at == std::string_view::npos) return "";
  std::string_view digits = pointer.substr(at + 6, 20);
  digits = digits.substr(0, digits.find_first_not_of("0123456789"));
  return digits.empty() ? "" : " of " + std::string(digits) + " bytes";
}

// ONNX is a protocol buffer without a magic number: field 1, a small version,
// then field 2, the producer's name.
bool IsOnnx(std::string_view bytes) {
  if (bytes.size() < 8 || bytes[0] != '\x08' || bytes[2] != '\x12') {
    return false;
  }
  const auto version = static_cast<uint8_t>(bytes[1]);
  const auto length = static_cast<uint8_t>(bytes[3]);
  return version >= 1 && version <= 32 && length >= 1 && length < 64 &&
         IsText(bytes.substr(4, std::min<size_t>(length, 8)));
}

std::string ZipKind(std::string_view bytes) {
  if (bytes.substr(0, 4096).find("data.pkl") != std::string_view::npos) {
    return "is a PyTorch checkpoint (a zip archive with a pickle), which runs "
           "code when it is read: convert it to safetensors";
  }
  return "is a zip archive" + std::string(kUnpack);
}

}  // namespace

std::string ForeignFile(std::string_view bytes) {
  if (bytes.starts_with("version https://git-lfs.github.com/spec/v")) {
    return "is a Git LFS pointer to a file" + PointedSize(bytes) +
           ", not the file itself (" + std::to_string(bytes.size()) +
           " bytes): run \"git lfs pull\" in its repository, or fetch it with "
           "\"intarsia pull\"";
  }
  if (IsSafetensors(bytes)) return "";
  if (bytes.starts_with("PK\x03\x04")) return ZipKind(bytes);
  if (bytes.size() > 2 && bytes[0] == '\x80' && bytes[1] >= 2 &&
      bytes[1] <= 5) {
    return "is a Python pickle, which runs code when it is read: convert it to "
           "safetensors";
  }
  for (const Kind& kind : kKinds) {
    if (bytes.size() >= kind.offset &&
        bytes.substr(kind.offset).starts_with(kind.magic)) {
      return std::string(kind.what);
    }
  }
  const std::string start = Start(bytes.substr(0, 4096), 15);
  if (start.starts_with("<!doctype html") || start.starts_with("<html")) {
    return "is an HTML page, as servers send in place of a file (an error, a "
           "login): fetch the file itself";
  }
  if (start.starts_with("<?xml") || start.starts_with("<error>")) {
    return "is an XML document, as storage servers send in place of a file: "
           "fetch the file itself";
  }
  if (IsOnnx(bytes)) {
    return "is an ONNX model, which is not read: take the model's safetensors "
           "or GGUF";
  }
  return "";
}

std::string NotWeights(std::string_view bytes) {
  if (bytes.empty()) return "is empty (0 bytes)";
  if (std::string kind = ForeignFile(bytes); !kind.empty()) return kind;
  if (bytes.starts_with("GGUF")) return "is a GGUF file";
  if (IsSafetensors(bytes)) return "is a safetensors file";
  const std::string_view start = bytes.substr(0, 64);
  if (std::ranges::all_of(start, [](char c) { return c == 0; })) {
    return "begins with zeros: a download that was cut off, or a damaged disk";
  }
  if (IsText(bytes)) {
    return std::string(Start(bytes, 1) == "{" ? "is JSON" : "is text") +
           " (\"" + Printable(start, 60) + "\"), not weights";
  }
  return "";
}

}  // namespace intarsia
