// Time and memory of importance matrices, and of GGUF files on their way into
// another file.
#include <gtest/gtest.h>

#include <memory>
#include <span>

#include "intarsia/checkpoint/test_files.h"
#include "intarsia/convert/gguf_model.h"
#include "intarsia/convert/imatrix.h"
#include "intarsia/core/growth_testing.h"

namespace intarsia {
namespace {

std::shared_ptr<const MappedFile> File(const std::string& bytes) {
  return MappedFile::OfBytes("f", std::as_bytes(std::span(bytes)));
}

void ReadMatrix(const std::string& bytes) {
  const auto matrix = ImportanceMatrix::Read(File(bytes));
  EXPECT_TRUE(matrix.ok()) << matrix.status().message();
}

TEST(ConvertGrowth, ImportanceMatrices) {
  ExpectLinear("imatrix: entries of one value",
               [](size_t bytes) {
                 std::string entries;
                 int32_t count = 0;
                 while (entries.size() < bytes) {
                   const std::string name = std::to_string(count);
                   entries += Raw(static_cast<int32_t>(name.size())) + name +
                              Raw<int32_t>(1) + Raw<int32_t>(1) + Raw(1.0f);
                   ++count;
                 }
                 return Raw(count) + entries;
               },
               ReadMatrix, {.memory = 10});
  ExpectLinear("imatrix: GGUF, tensors of one value",
               [](size_t bytes) {
                 GgufBytes file;
                 while (file.tensor_bytes.size() < bytes / 2) {
                   const auto n = static_cast<uint64_t>(file.tensors);
                   const std::string name = std::to_string(n);
                   file.Info(name + ".in_sum2", {1}, 0, 32 * n);
                   file.Info(name + ".counts", {1}, 0, 32 * (n + 1));
                 }
                 file.data =
                     std::string(32 * static_cast<size_t>(file.tensors), '\1');
                 return file.Bytes();
               },
               ReadMatrix, {.memory = 12});
}

TEST(ConvertGrowth, GgufToBeWritten) {
  ExpectLinear(
      "GGUF to be written: keys and tensors",
      [](size_t bytes) {
        GgufBytes file;
        while (file.key_bytes.size() < bytes / 4 && file.keys < 60000) {
          file.Key("k" + std::to_string(file.keys), 4, Raw<uint32_t>(1));
        }
        while (file.tensor_bytes.size() < bytes / 3) {
          const auto n = static_cast<uint64_t>(file.tensors);
          file.Info(std::to_string(n), {1}, 0, 32 * n);
        }
        file.data = std::string(32 * static_cast<size_t>(file.tensors), '\1');
        return file.Bytes();
      },
      [](const std::string& bytes) {
        TempFolder folder;
        WriteFile(folder / "m.gguf", bytes);
        const auto file = Checkpoint::Open(folder / "m.gguf");
        ASSERT_TRUE(file.ok()) << file.status().message();
        auto model = ToGgufModel(**file);
        ASSERT_TRUE(model.ok()) << model.status().message();
        model->Set("general.name", std::string("x"));
        EXPECT_EQ(model->Text("general.name"), "x");
      },
      {.memory = 24});
}

}  // namespace
}  // namespace intarsia
