// Folders that a conversion writes: whole, or as they were before.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <map>
#include <set>

#include "intarsia/convert/test_convert.h"

namespace intarsia {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

std::set<std::string> FilesIn(const std::string& folder) {
  std::set<std::string> names;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (!entry.is_directory()) {
      names.insert(fs::relative(entry.path(), folder).string());
    }
  }
  return names;
}

std::map<std::string, std::string> Contents(const std::string& folder) {
  std::map<std::string, std::string> contents;
  for (const std::string& name : FilesIn(folder)) {
    contents[name] = ReadFile(folder + "/" + name);
  }
  return contents;
}

class WriteFolderTest : public testing::Test {
 protected:
  void SetUp() override {
    WriteHf(folder_ / "one", SmallConfig("llama"));
    WriteFile(folder_ / "one/chat_template.jinja", "ONE");
    Json other = SmallConfig("llama");
    other["rms_norm_eps"] = 0.25;
    WriteHf(folder_ / "two", other);
    WriteFile(folder_ / "two/generation_config.json", "{}");
  }

  Status Convert(const std::string& from, const std::string& to, bool native,
                 uint64_t shard = kShard) {
    const auto checkpoint = OpenPath(from);
    RETURN_IF_ERROR(CheckNotSource(*checkpoint, to, "convert"));
    if (native) {
      ASSIGN_OR_RETURN(const ModelFiles files, ReadModelFiles(*checkpoint));
      return WriteNativeFolder(*checkpoint, files, to, shard, false, nullptr);
    }
    ASSIGN_OR_RETURN(const HfModel model, ReadHfModel(*checkpoint));
    return WriteHfFolder(model, to, shard);
  }

  TempFolder folder_;
};

TEST_F(WriteFolderTest, NothingOfAnOlderModelStays) {
  for (const bool native : {false, true}) {
    const std::string out = folder_ / (native ? "native" : "hf");
    ASSERT_TRUE(Convert(folder_ / "one", out, native, 4 << 10).ok());
    EXPECT_TRUE(FilesIn(out).contains("model.safetensors.index.json"));
    EXPECT_TRUE(FilesIn(out).contains("chat_template.jinja"));
    WriteFile(out + "/notes.txt", "mine");
    ASSERT_TRUE(Convert(folder_ / "two", out, native).ok());
    EXPECT_EQ(FilesIn(out),
              (std::set<std::string>{native ? "intarsia.json" : "config.json",
                                     "notes.txt", "generation_config.json",
                                     "model.safetensors"}));
    // And from one file to shards.
    ASSERT_TRUE(Convert(folder_ / "one", out, native, 4 << 10).ok());
    EXPECT_FALSE(FilesIn(out).contains("model.safetensors"));
    EXPECT_FALSE(FilesIn(out).contains("generation_config.json"));
    EXPECT_TRUE(OpenPath(out)->Find(native ? "embedding"
                                           : "model.embed_tokens.weight"));
  }
}

// A tensor that cannot be made, and a process that ends there.
TEST_F(WriteFolderTest, CutOffTheOlderModelStays) {
  const std::string out = folder_ / "hf";
  ASSERT_TRUE(Convert(folder_ / "one", out, false, 4 << 10).ok());
  const auto before = Contents(out);
  const auto checkpoint = OpenPath(folder_ / "two");
  const auto whole = ReadHfModel(*checkpoint);
  ASSERT_TRUE(whole.ok());
  for (size_t at = 0; at < whole->tensors.size(); ++at) {
    HfModel model = *whole;
    model.tensors[at].values = []() -> Result<Tensor> {
      return DataLoss("[test] the source has gone");
    };
    for (const uint64_t shard : {kShard, uint64_t{4} << 10}) {
      EXPECT_FALSE(WriteHfFolder(model, out, shard).ok());
      ASSERT_EQ(Contents(out), before) << at;
    }
    if (at % 5 != 0) continue;
    const pid_t child = ::fork();
    if (child == 0) {
      model.tensors[at].values = []() -> Result<Tensor> { ::_exit(9); };
      (void)WriteHfFolder(model, out, 4 << 10);
      ::_exit(0);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_EQ(WEXITSTATUS(status), 9);
    for (const auto& [name, text] : before) {
      ASSERT_EQ(ReadFile(out + "/" + name), text) << name;
    }
    ASSERT_TRUE(Checkpoint::Open(out).ok());
  }
  // The next run takes away what the ended ones left.
  ASSERT_TRUE(Convert(folder_ / "two", out, false).ok());
  EXPECT_EQ(FilesIn(out),
            (std::set<std::string>{"config.json", "generation_config.json",
                                   "model.safetensors"}));
}

TEST_F(WriteFolderTest, ModelsOfTheOtherKindStay) {
  ASSERT_TRUE(Convert(folder_ / "one", folder_ / "native", true).ok());
  const auto native = Contents(folder_ / "native");
  const auto hf = Contents(folder_ / "two");
  const Status over_native =
      Convert(folder_ / "two", folder_ / "native", false);
  EXPECT_NE(over_native.message().find("intarsia.json"), std::string::npos);
  const Status over_hf = Convert(folder_ / "one", folder_ / "two", true);
  EXPECT_NE(over_hf.message().find("config.json"), std::string::npos);
  EXPECT_EQ(Contents(folder_ / "native"), native);
  EXPECT_EQ(Contents(folder_ / "two"), hf);
}

TEST_F(WriteFolderTest, TheSourceIsNoOutput) {
  const std::string one = folder_ / "one";
  fs::create_directory_symlink(one, folder_ / "link");
  for (const std::string& out :
       {one, one + "/", one + "/.", folder_ / "link"}) {
    EXPECT_FALSE(Convert(one, out, false).ok()) << out;
    EXPECT_FALSE(Convert(one + "/model.safetensors", out, true).ok()) << out;
  }
  const auto checkpoint = OpenPath(one);
  const auto model = ToGgufModel(*checkpoint);
  ASSERT_TRUE(model.ok());
  fs::create_directories(folder_ / "g");
  const auto paths = WriteGgufParts(folder_ / "g/m.gguf", model->metadata,
                                    model->tensors, 40 << 10);
  ASSERT_TRUE(paths.ok());
  ASSERT_GT(paths->size(), 1u);
  const auto parts = OpenPath(paths->front());
  // Its parts would be written again; a folder with one model stands for it.
  EXPECT_FALSE(CheckNotSource(*parts, folder_ / "g/m.gguf", "convert").ok());
  EXPECT_FALSE(CheckNotSource(*parts, paths->back(), "convert").ok());
  EXPECT_FALSE(
      CheckNotSource(*OpenPath(folder_ / "g"), paths->front(), "convert").ok());
  EXPECT_TRUE(CheckNotSource(*parts, folder_ / "g/other.gguf", "convert").ok());
  EXPECT_TRUE(CheckNotSource(*parts, folder_ / "new", "convert").ok());
  EXPECT_TRUE(CheckNotSource(*checkpoint, folder_ / "two", "convert").ok());
}

TEST_F(WriteFolderTest, LinkedWeightsAreNotReplaced) {
  const std::string out = folder_ / "out";
  fs::create_directory(out);
  fs::create_symlink(folder_ / "two/model.safetensors",
                     out + "/model.safetensors");
  const auto before = Contents(folder_ / "two");
  EXPECT_FALSE(Convert(folder_ / "one", out, false).ok());
  EXPECT_EQ(Contents(folder_ / "two"), before);
  EXPECT_TRUE(fs::is_symlink(out + "/model.safetensors"));
}

}  // namespace
}  // namespace intarsia
