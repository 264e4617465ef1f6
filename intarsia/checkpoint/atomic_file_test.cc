// What may become of a path that is written to, and what is left when that
// fails.
#include "intarsia/checkpoint/atomic_file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <set>
#include <thread>

#include "intarsia/checkpoint/mapped_file.h"
#include "intarsia/checkpoint/test_files.h"

namespace intarsia {
namespace {

namespace fs = std::filesystem;

class AtomicFileTest : public testing::Test {
 protected:
  std::string Path(const std::string& name) const { return folder_ / name; }
  void Put(const std::string& name, const std::string& text) const {
    WriteFile(Path(name), text);
  }
  static Status Write(const std::string& path, std::string_view text) {
    AtomicFile file(path, "test");
    RETURN_IF_ERROR(file.Open());
    RETURN_IF_ERROR(file.Write(text));
    return file.Commit();
  }
  static void ExpectFault(const std::string& path, const std::string& fault) {
    const Status written = Write(path, "new"),
                 checked = AtomicFile::Check(path, "test");
    EXPECT_FALSE(written.ok()) << path;
    EXPECT_EQ(written.message().rfind("[test] " + path + ": ", 0), 0u)
        << written.message();
    EXPECT_NE(written.message().find(fault), std::string::npos)
        << written.message();
    EXPECT_EQ(checked.message(), written.message());
  }
  std::set<std::string> Names() const {
    std::set<std::string> names;
    for (const auto& entry : fs::directory_iterator(folder_)) {
      names.insert(entry.path().filename());
    }
    return names;
  }

  const TempFolder temporary_;
  const fs::path folder_ = temporary_.path();
};

TEST_F(AtomicFileTest, ReplacesAFileAndKeepsItsPermissions) {
  for (const mode_t mode : {0600, 0640, 0664}) {
    Put("a", "old");
    ASSERT_EQ(::chmod(Path("a").c_str(), mode), 0);
    ASSERT_TRUE(Write(Path("a"), "new").ok());
    struct stat info {};
    ASSERT_EQ(::stat(Path("a").c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 07777, mode);
    EXPECT_EQ(ReadFile(Path("a")), "new");
  }
  AtomicFile secret(Path("b"), "test", 0600);
  ASSERT_TRUE(secret.Open().ok());
  ASSERT_TRUE(secret.Commit().ok());
  struct stat info {};
  ASSERT_EQ(::stat(Path("b").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, mode_t{0600});
  EXPECT_EQ(Names(), (std::set<std::string>{"a", "b"}));
}

TEST_F(AtomicFileTest, WhatIsNotCommittedLeavesNoTrace) {
  Put("a", "old");
  {
    AtomicFile file(Path("a"), "test");
    ASSERT_TRUE(file.Open().ok());
    ASSERT_TRUE(file.Write("new").ok());
    EXPECT_EQ(Names().size(), 2u);
  }
  EXPECT_EQ(ReadFile(Path("a")), "old");
  EXPECT_EQ(Names(), std::set<std::string>{"a"});
}

TEST_F(AtomicFileTest, ALinkStaysALink) {
  fs::create_directory(folder_ / "elsewhere");
  Put("elsewhere/a", "old");
  fs::create_symlink("elsewhere/a", folder_ / "link");
  fs::create_symlink("link", folder_ / "second");
  ASSERT_TRUE(Write(Path("second"), "new").ok());
  EXPECT_TRUE(fs::is_symlink(folder_ / "link"));
  EXPECT_TRUE(fs::is_symlink(folder_ / "second"));
  EXPECT_FALSE(fs::is_symlink(folder_ / "elsewhere/a"));
  EXPECT_EQ(ReadFile(Path("elsewhere/a")), "new");
  // A link to a folder on the way is none of ours.
  fs::create_directory_symlink("elsewhere", folder_ / "there");
  ASSERT_TRUE(Write(Path("there/b"), "more").ok());
  EXPECT_EQ(ReadFile(Path("elsewhere/b")), "more");
}

TEST_F(AtomicFileTest, WhatIsNoFileIsRefused) {
  fs::create_directory(folder_ / "folder");
  fs::create_symlink("nothing", folder_ / "dangling");
  fs::create_symlink("loop", folder_ / "loop");
  fs::create_directory_symlink("folder", folder_ / "to_folder");
  sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = {}};
  const std::string socket_path = Path("socket");
  ASSERT_LT(socket_path.size(), sizeof(address.sun_path));
  socket_path.copy(address.sun_path, socket_path.size());
  const int socket = ::socket(AF_UNIX, SOCK_STREAM, 0);
  ASSERT_EQ(
      ::bind(socket, reinterpret_cast<sockaddr*>(&address), sizeof(address)),
      0);
  const std::set<std::string> before = Names();
  ExpectFault(Path("folder"), "is a folder");
  ExpectFault(Path("folder/"), "name of a folder");
  ExpectFault(Path("to_folder"), "is a folder");
  ExpectFault(Path("dangling"), "is a link to " + Path("nothing"));
  ExpectFault(Path("loop"), "links");
  ExpectFault(Path("socket"), "is a socket");
  ExpectFault(Path("no/such"), "the folder " + Path("no"));
  ExpectFault("", "name");
  EXPECT_EQ(Names(), before);
  EXPECT_TRUE(fs::is_symlink(folder_ / "dangling"));
  EXPECT_TRUE(fs::is_socket(folder_ / "socket"));
  ::close(socket);
}

TEST_F(AtomicFileTest, ADeviceStaysADevice) {
  ASSERT_TRUE(Write("/dev/null", "gone").ok());
  EXPECT_TRUE(fs::is_character_file("/dev/null"));
  fs::create_symlink("/dev/null", folder_ / "null");
  ASSERT_TRUE(Write(Path("null"), "gone").ok());
  EXPECT_TRUE(fs::is_symlink(folder_ / "null"));
  const Status full = Write("/dev/full", "gone");
  EXPECT_NE(full.message().find("[test] /dev/full: no space to write it"),
            std::string::npos)
      << full.message();
  EXPECT_TRUE(fs::is_character_file("/dev/full"));
}

TEST_F(AtomicFileTest, AFifoIsWrittenThrough) {
  ASSERT_EQ(::mkfifo(Path("fifo").c_str(), 0600), 0);
  std::string got;
  std::thread reader([&] { got = ReadFile(Path("fifo")); });
  const Status status = Write(Path("fifo"), std::string(200'000, 'x'));
  reader.join();
  EXPECT_TRUE(status.ok()) << status.message();
  EXPECT_EQ(got, std::string(200'000, 'x'));
  EXPECT_TRUE(fs::is_fifo(folder_ / "fifo"));
  const Status alone = Write(Path("fifo"), "x");
  EXPECT_NE(alone.message().find("nobody reads it"), std::string::npos);
  EXPECT_TRUE(fs::is_fifo(folder_ / "fifo"));
}

TEST_F(AtomicFileTest, ADescriptorGoesOnWhereItIs) {
  Put("a", "old ");
  const int fd = ::open(Path("a").c_str(), O_WRONLY | O_APPEND);
  ASSERT_GE(fd, 0);
  fs::create_symlink("/dev/fd/" + std::to_string(fd), folder_ / "given");
  EXPECT_TRUE(Write(Path("given"), "new ").ok());
  EXPECT_TRUE(Write("/proc/self/fd/" + std::to_string(fd), "more").ok());
  EXPECT_EQ(ReadFile(Path("a")), "old new more");
  EXPECT_EQ(::write(fd, "!", 1), 1);  // the caller's is still open
  ::close(fd);
  const int read_only = ::open(Path("a").c_str(), O_RDONLY);
  ExpectFault("/dev/fd/" + std::to_string(read_only), "not open for writing");
  ::close(read_only);
}

// In a child, for root may write everything and limits are a process's.
template <typename Body>
int InChild(const Body& body) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(body());
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST_F(AtomicFileTest, AFolderThatMayNotBeWrittenIsNamed) {
  fs::create_directory(folder_ / "mine");
  Put("mine/a", "old");
  ASSERT_EQ(::chmod(Path("mine/a").c_str(), 0666), 0);
  ASSERT_EQ(::chmod(Path("mine").c_str(), 0555), 0);
  Put("protected", "old");
  ASSERT_EQ(::chmod(Path("protected").c_str(), 0444), 0);
  ASSERT_EQ(::chmod(folder_.c_str(), 0777), 0);
  EXPECT_EQ(
      InChild([&] {
        if (::geteuid() == 0 && ::seteuid(65534) != 0) return 1;
        for (const char* name : {"mine/a", "mine/b"}) {
          const std::string says = Path("mine");
          for (const Status& status : {Write(Path(name), "new"),
                                       AtomicFile::Check(Path(name), "test")}) {
            if (status.ok() ||
                status.message().find("folder " + says) == std::string::npos) {
              return 2;
            }
          }
        }
        const Status status = Write(Path("protected"), "new");
        return status.message().find("may not be written") != std::string::npos
                   ? 0
                   : 3;
      }),
      0);
  EXPECT_EQ(ReadFile(Path("mine/a")), "old");
  EXPECT_EQ(ReadFile(Path("protected")), "old");
}

TEST_F(AtomicFileTest, AFullDiskCostsNothing) {
  Put("a", "old");
  EXPECT_EQ(InChild([&] {
              const rlimit limit = {4096, 4096};
              ::signal(SIGXFSZ, SIG_IGN);
              if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) return 1;
              const Status status = Write(Path("a"), std::string(5000, 'x'));
              const std::string says = Path("a") + ": no space to write it";
              return status.message().find(says) != std::string::npos ? 0 : 2;
            }),
            0);
  EXPECT_EQ(ReadFile(Path("a")), "old");
  EXPECT_EQ(Names(), std::set<std::string>{"a"});
}

TEST_F(AtomicFileTest, LeftoversOfTheKilledGoAndOthersStay) {
  // A process that is killed amid writing.
  const auto killed = [&](const std::string& name) {
    const pid_t child = ::fork();
    if (child == 0) {
      AtomicFile file(Path(name), "test");
      if (file.Open().ok()) ::kill(::getpid(), SIGKILL);
      ::_exit(1);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    EXPECT_TRUE(WIFSIGNALED(status));
  };
  killed("a");
  killed("b-00001-of-00003.gguf");
  killed("c");
  EXPECT_EQ(Names().size(), 3u);
  Put("a.tmp-1", "a user's");
  Put("a.tmp-x-0", "a user's");
  ASSERT_EQ(::mkfifo(Path("a.tmp-2-0").c_str(), 0600), 0);
  AtomicFile running(Path("a"), "test");
  ASSERT_TRUE(running.Open().ok());
  EXPECT_EQ(Names().size(), 6u);  // one came, one went
  ASSERT_TRUE(Write(Path("a"), "new").ok());
  ASSERT_TRUE(Write(Path("b-00002-of-00002.gguf"), "new").ok());
  // That of `c`, which nobody writes, stays, as does what is being written.
  const std::set<std::string> names = Names();
  EXPECT_EQ(names.size(), 7u);
  EXPECT_TRUE(names.contains("a.tmp-1") && names.contains("a.tmp-x-0") &&
              names.contains("a.tmp-2-0"));
  EXPECT_FALSE(names.contains("b-00001-of-00003.gguf"));
  ASSERT_TRUE(running.Commit().ok());
  EXPECT_EQ(Names().size(), 6u);
}

TEST_F(AtomicFileTest, ALongNameHasRoomForTheTemporary) {
  const std::string name(255, 'n');
  ASSERT_TRUE(Write(Path(name), "new").ok());
  EXPECT_EQ(Names(), std::set<std::string>{name});
}

TEST_F(AtomicFileTest, ASignalsHandlerRemovesWhatIsBeingWritten) {
  Put("a", "old");
  EXPECT_EQ(InChild([&] {
              AtomicFile first(Path("a"), "test"), second(Path("b"), "test");
              if (!first.Open().ok() || !second.Open().ok()) return 1;
              if (Names().size() != 3) return 2;
              RemoveTemporaries();
              return Names().size() == 1 ? 0 : 3;
            }),
            0);
  EXPECT_EQ(ReadFile(Path("a")), "old");
}

TEST_F(AtomicFileTest, ASetAppearsWhole) {
  const auto add = [&](FileSet* set, const std::string& name,
                       const std::string& text) {
    AtomicFile& file = set->Add(Path(name), "test");
    RETURN_IF_ERROR(file.Open());
    return file.Write(text);
  };
  Put("index", "old");
  Put("shard", "old");
  Put("stale", "old");
  fs::create_directory(folder_ / "folder");
  {
    FileSet set;
    ASSERT_TRUE(add(&set, "shard", "new").ok());
    ASSERT_TRUE(add(&set, "index", "new").ok());
  }
  EXPECT_EQ(ReadFile(Path("shard")), "old");
  EXPECT_EQ(Names().size(), 4u);
  // Cut off between two moves: without the entry.
  {
    FileSet set;
    ASSERT_TRUE(add(&set, "shard", "new").ok());
    ASSERT_TRUE(add(&set, "other", "new").ok());
    ASSERT_TRUE(add(&set, "index", "new").ok());
    fs::create_directory(folder_ / "other");
    EXPECT_FALSE(set.Commit().ok());
  }
  EXPECT_FALSE(fs::exists(folder_ / "index"));
  EXPECT_EQ(ReadFile(Path("shard")), "new");
  fs::remove(folder_ / "other");
  FileSet set;
  ASSERT_TRUE(add(&set, "shard", "newer").ok());
  ASSERT_TRUE(add(&set, "index", "newer").ok());
  set.Remove(Path("stale"));
  set.Remove(Path("folder"));
  set.Remove(Path("no_such"));
  ASSERT_TRUE(set.Commit().ok());
  EXPECT_EQ(Names(), (std::set<std::string>{"folder", "index", "shard"}));
  EXPECT_EQ(ReadFile(Path("index")), "newer");
}

TEST_F(AtomicFileTest, AnInputThatShrinksIsBlamedItself) {
  Put("input", std::string(3 * 4096, 'x'));
  const auto input = MappedFile::Open(Path("input"));
  ASSERT_TRUE(input.ok());
  EXPECT_EQ(MappedFileAt((*input)->bytes().data() + 5), Path("input"));
  EXPECT_EQ(MappedFileAt(&input), nullptr);
  ASSERT_EQ(::truncate(Path("input").c_str(), 10), 0);
  const Status status = Write(Path("output"), (*input)->text());
  EXPECT_EQ(status.message(), "[checkpoint] " + Path("input") +
                                  ": became shorter while it was read");
  EXPECT_EQ(Names(), std::set<std::string>{"input"});
}

}  // namespace
}  // namespace intarsia
