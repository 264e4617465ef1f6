// Files that are something else than their readers expect: what the message
// calls them.
#include "intarsia/checkpoint/foreign.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <vector>

#include "intarsia/checkpoint/checkpoint.h"
#include "intarsia/checkpoint/json_input.h"
#include "intarsia/checkpoint/test_files.h"

namespace intarsia {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr char kPointer[] =
    "version https://git-lfs.github.com/spec/v1\n"
    "oid sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789ab\n"
    "size 4976698672\n";

struct Case {
  std::string bytes;
  std::string what;  // part of the message
};

std::vector<Case> Foreign() {
  const auto tail = [](std::string start, size_t bytes = 600) {
    start.resize(bytes, '\x7e');
    return start;
  };
  std::string tar(600, 'n');
  tar.replace(257, 5, "ustar");
  const std::string local = std::string("PK\x03\x04") + std::string(26, '\1');
  return {
      {kPointer, "is a Git LFS pointer to a file of 4976698672 bytes"},
      {tail(local + "model/data.pkl"), "is a PyTorch checkpoint (a zip"},
      {tail(local + "model.safetensors"), "is a zip archive"},
      {tail("\x80\x02}q"), "is a Python pickle"},
      {tail("\x1f\x8b\x08"), "is a gzip archive"},
      {tail(std::string("\xfd\x37zXZ\0", 6)), "is an xz archive"},
      {tail("\x28\xb5\x2f\xfd"), "is a zstd archive"},
      {tail("BZh9"), "is a bzip2 archive"},
      {tar, "is a tar archive"},
      {tail("\x89HDF\r\n\x1a\n"), "is an HDF5 file"},
      {tail("\x93NUMPY"), "is a NumPy array"},
      {tail(std::string("\x1c\0\0\0TFL3", 8)), "is a TensorFlow Lite model"},
      {tail("lmgg\1"), "is an old GGML file"},
      {tail("fmgg\1"), "is an old GGML file"},
      {tail("tjgg\3"), "is an old GGML file (ggjt"},
      {tail("algg\1"), "is an adapter"},
      {tail("\x08\x08\x12\x07pytorch\x1a"), "is an ONNX model"},
      {"<!DOCTYPE html>\n<html><body>Sign in</body></html>", "is an HTML page"},
      {"\xef\xbb\xbf\r\n <HTML>", "is an HTML page"},
      {"<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code></Error>",
       "is an XML document"},
  };
}

TEST(ForeignFiles, WeightsAreNamed) {
  TempFolder folder;
  for (const char* name : {"m.safetensors", "m.gguf", "m.bin"}) {
    for (const auto& [bytes, what] : Foreign()) {
      WriteFile(folder / name, bytes);
      const auto opened = Checkpoint::Open(folder / name);
      ASSERT_FALSE(opened.ok()) << what;
      EXPECT_THAT(opened.status().message(),
                  AllOf(HasSubstr(folder / name), HasSubstr(what)));
    }
    const std::vector<Case> others = {
        {"", "is empty (0 bytes)"},
        {std::string(5000, '\0'), "begins with zeros"},
        {"Entry not found", "is text (\"Entry not found\"), not weights"},
        {R"({"error":"Repository not found"})", "is JSON"},
    };
    for (const auto& [bytes, what] : others) {
      WriteFile(folder / name, bytes);
      const auto opened = Checkpoint::Open(folder / name);
      ASSERT_FALSE(opened.ok()) << what;
      EXPECT_THAT(opened.status().message(),
                  AllOf(HasSubstr(folder / name), HasSubstr(what)));
    }
  }
}

TEST(ForeignFiles, WrongSuffix) {
  TempFolder folder;
  const std::string tensors = Safetensors("{}", "");
  WriteFile(folder / "m.gguf", tensors);
  EXPECT_THAT(Checkpoint::Open(folder / "m.gguf").status().message(),
              HasSubstr("is a safetensors file, not a GGUF file"));
  WriteFile(folder / "config.json", "{}");
  WriteFile(folder / "model.safetensors", GgufBytes().Bytes());
  EXPECT_THAT(Checkpoint::Open(folder.path()).status().message(),
              HasSubstr("is a GGUF file, not a safetensors file"));
}

TEST(ForeignFiles, ConfigurationsAndIndexesAreNamed) {
  TempFolder folder;
  WriteFile(folder / "config.json", kPointer);
  EXPECT_THAT(Checkpoint::Open(folder.path()).status().message(),
              AllOf(HasSubstr("config.json: is a Git LFS pointer"),
                    HasSubstr("git lfs pull")));
  WriteFile(folder / "config.json", "{}");
  WriteFile(folder / "model.safetensors.index.json", kPointer);
  EXPECT_THAT(Checkpoint::Open(folder.path()).status().message(),
              HasSubstr("index.json: is a Git LFS pointer"));
  WriteFile(folder / "model.safetensors", kPointer);
  EXPECT_THAT(Checkpoint::Open(folder.path()).status().message(),
              HasSubstr("model.safetensors: is a Git LFS pointer"));
}

// A header that begins with the bytes of a pickle or a pointer's first letters
// is still a header.
TEST(ForeignFiles, SafetensorsComeFirst) {
  std::string header = "{\"__metadata__\":{\"a\":\"";
  header += std::string(0x280 - header.size() - 3, 'x') + "\"}}";
  ASSERT_EQ(header.size(), 0x280u);  // bytes 80 02
  TempFolder folder;
  WriteFile(folder / "m.safetensors", Safetensors(header, ""));
  const auto opened = Checkpoint::Open(folder / "m.safetensors");
  EXPECT_TRUE(opened.ok()) << opened.status().message();
}

TEST(Folders, OtherWeightsAreNamed) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"pytorch_model.bin", "runs code when it is read"},
      {"consolidated.00.pth", "runs code when it is read"},
      {"tf_model.h5", "is of Keras or TensorFlow"},
      {"flax_model.msgpack", "is of Flax"},
      {"model.onnx", "is ONNX"},
      {"model-00001-of-00002.safetensors", "has a name that is not looked for"},
      {"model.safetensors.part", "is a download that has not ended"},
  };
  for (const auto& [name, what] : cases) {
    TempFolder folder;
    WriteFile(folder / "config.json", "{}");
    WriteFile(folder / "training_args.bin", "x");
    WriteFile(folder / name, "x");
    EXPECT_THAT(Checkpoint::Open(folder.path()).status().message(),
                AllOf(HasSubstr("neither model.safetensors nor"),
                      HasSubstr("; " + name + " " + what)));
  }
  TempFolder folder;
  WriteFile(folder / "config.json", "{}");
  WriteFile(folder / "training_args.bin", "x");
  EXPECT_THAT(Checkpoint::Open(folder.path()).status().message(),
              ::testing::Not(HasSubstr("training_args")));
}

// What cannot be looked at is not absent.
TEST(Folders, LinksThatLeadNowhere) {
  namespace fs = std::filesystem;
  TempFolder folder;
  fs::create_symlink("blobs/0123", folder / "config.json");
  EXPECT_THAT(Checkpoint::Open(folder.path()).status().message(),
              HasSubstr("config.json: is a link to blobs/0123, which is not "
                        "there"));
  fs::remove(folder / "config.json");
  fs::create_symlink("config.json", folder / "config.json");
  EXPECT_THAT(Checkpoint::Open(folder.path()).status().message(),
              HasSubstr("config.json: Too many levels of symbolic links"));
  fs::remove(folder / "config.json");
  WriteFile(folder / "config.json", "{}");
  fs::create_symlink("x", folder / "model.safetensors");
  EXPECT_THAT(Checkpoint::Open(folder.path()).status().message(),
              HasSubstr("model.safetensors: is a link to x"));
  EXPECT_THAT(
      Checkpoint::Open(folder / std::string(300, 'n')).status().message(),
      HasSubstr("File name too long"));
}

}  // namespace
}  // namespace intarsia
