// Which files a pull takes, and what it makes of odd files among its own.
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <csignal>
#include <fstream>

#include "intarsia/hub/test_hub_pull.h"

namespace intarsia {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class HubFilesTest : public HubPullTest {
 protected:
  // Stops a pull after some bytes, so that its part is there; then removes it.
  std::string PlaceOfPart() {
    server_.faults[kBig] = {.cut = 50'000};
    Failure();
    EXPECT_TRUE(std::filesystem::remove(Part()));
    return Part();
  }
};

TEST_F(HubFilesTest, WeightsUnderTheNamesOfTheIndex) {
  server_.large_files = {{"pytorch_model-1.safetensors", Noise(1000, 1)},
                         {"pytorch_model-2.safetensors", Noise(2000, 2)},
                         {"model-4bit.safetensors", Noise(3000, 3)}};
  server_.small_files = {{"config.json", "{}"},
                         {"model.safetensors.index.json",
                          R"({"weight_map": {"a": "pytorch_model-1.safetensors",
                          "b": "pytorch_model-2.safetensors"}})"}};
  const auto pulled = Run(kHub);
  ASSERT_TRUE(pulled.ok()) << pulled.status().message();
  for (const char* name :
       {"pytorch_model-1.safetensors", "pytorch_model-2.safetensors"}) {
    EXPECT_EQ(ReadFile(pulled->path + "/" + name), server_.large_files[name]);
  }
  EXPECT_FALSE(
      std::filesystem::exists(pulled->path + "/model-4bit.safetensors"));
}

TEST_F(HubFilesTest, AnIndexThatLiesIsNoPlan) {
  UseSafetensors();
  server_.faults["model.safetensors.index.json"] = {.body = "{}"};
  EXPECT_THAT(Failure(kHub), HasSubstr("the hub says sha1-"));
  ExpectNothing();
  server_.small_files["model.safetensors.index.json"] =
      R"({"weight_map": {"a": "../../x.safetensors"}})";
  EXPECT_THAT(Failure(kHub), HasSubstr("not the name of a safetensors file"));
  ExpectNothing();
}

TEST_F(HubFilesTest, AFifoAmongThePartsIsReplaced) {
  ASSERT_EQ(::mkfifo(PlaceOfPart().c_str(), 0600), 0);
  ExpectPulled();
}

TEST_F(HubFilesTest, LinksAmongThePartsAreNotFollowed) {
  const std::string mine = folder_ / "mine.txt";
  WriteFile(mine, "mine");
  std::filesystem::create_symlink(mine, PlaceOfPart());
  ExpectPulled();
  EXPECT_EQ(ReadFile(mine), "mine");
}

TEST_F(HubFilesTest, OtherNamesOfAPartKeepTheirBytes) {
  const std::string mine = folder_ / "mine.txt";
  WriteFile(mine, "mine");
  std::filesystem::create_hard_link(mine, PlaceOfPart());
  ExpectPulled();
  EXPECT_EQ(ReadFile(mine), "mine");
}

TEST_F(HubFilesTest, AFolderOfPartsBehindALinkIsLeft) {
  const std::filesystem::path parts =
      std::filesystem::path(PlaceOfPart()).parent_path();
  std::filesystem::remove_all(parts);
  const std::filesystem::path other(folder_ / "other");
  std::filesystem::create_directory(other);
  std::filesystem::create_directory_symlink(other, parts);
  ExpectPulled();
  EXPECT_TRUE(std::filesystem::is_empty(other));
}

TEST_F(HubFilesTest, ATricklingServerIsLeft) {
  server_.faults[kBig] = {.cut = 50'000, .trickle = true};
  stall_seconds_ = 1;
  EXPECT_THAT(Failure(), HasSubstr("Timeout"));
  stall_seconds_ = 60;
  ExpectLaterPull();
}

// A limit of this process stands for a disk that is full.
TEST_F(HubFilesTest, AFullDiskIsNotTheNetwork) {
  struct rlimit before {};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  struct rlimit small = before;
  small.rlim_cur = 60'000;
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const std::string message = Failure("hf:acme/Tiny-GGUF:Q8_0", 5);
  ::setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  EXPECT_THAT(message, HasSubstr(Part() + ": cannot write it: File too large"));
  EXPECT_THAT(message, Not(HasSubstr("network")));
  // It was not asked for again, and what came in is kept.
  EXPECT_EQ(server_.Fetched().size(), 1u);
  EXPECT_EQ(std::filesystem::file_size(Part()), 60'000u);
  ExpectPulled();
}

}  // namespace
}  // namespace intarsia
