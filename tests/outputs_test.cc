// What the program writes: only files are replaced, an old one stays until the
// new one is whole, nothing is left behind, and an input that is cut short is
// an error.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <functional>
#include <set>
#include <thread>

#include "tests/program.h"
#include "tests/small_models.h"

namespace intarsia {
namespace {

namespace fs = std::filesystem;

constexpr char kTiny[] = "tests/golden/tiny";

// The program in a process of its own; stdout and stderr go to files.
class Running {
 public:
  Running(const std::string& arguments, const std::string& folder)
      : out_(folder + "/running_out"), err_(folder + "/running_err") {
    // exec: the process is the program, not a shell.
    const std::string line = "exec " + std::string(INTARSIA_BINARY) + " " +
                             arguments + " >" + out_ + " 2>" + err_;
    child_ = fork();
    if (child_ == 0) {
      // Whoever runs the tests may ignore some.
      for (const int s : {SIGINT, SIGTERM, SIGHUP}) signal(s, SIG_DFL);
      execl("/bin/sh", "sh", "-c", line.c_str(), nullptr);
      _exit(127);
    }
  }
  ~Running() {
    if (child_ > 0) Signal(SIGKILL), Wait();
  }
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;

  pid_t pid() const { return child_; }
  void Signal(int signal) const { kill(child_, signal); }
  int Wait() {  // the status as a shell gives it
    int status = 0;
    waitpid(child_, &status, 0);
    child_ = -1;
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  }
  std::string out() const { return ReadAll(out_); }
  std::string err() const { return ReadAll(err_); }

 private:
  std::string out_, err_;
  pid_t child_ = -1;
};

testing::AssertionResult Until(const std::function<bool()>& met) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (!met()) {
    if (std::chrono::steady_clock::now() > end) {
      return testing::AssertionFailure() << "not within a minute";
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return testing::AssertionSuccess();
}

class OutputsTest : public testing::Test {
 protected:
  void SetUp() override {
    fs::create_directory(out());
    fs::create_directory(folder_ / "model");
    for (const auto& entry : fs::directory_iterator(kTiny)) {
      fs::copy(entry.path(), folder_ / "model");
    }
    std::string text;
    for (int i = 0; i < 40; ++i) text += "The weights of a model are many. ";
    WriteFile(folder_ / "text", text);
  }

  // Every verb that writes a file that the user names, with a place for it.
  std::vector<std::string> Verbs() const {
    const std::string model = folder_ / "model";
    return {
        "generate " + model + " --prompt a -n 1 --save-state OUT",
        "perplexity " + model + " --ctx 64 --text " + (folder_ / "text") +
            " --record OUT",
        "convert tests/golden/llama OUT --to gguf",
        "quantize tests/golden/llama OUT --type Q8_0",
        "chat " + model + " -n 1 < " + (folder_ / "commands"),
    };
  }
  Outcome Write(std::string verb, const std::string& out,
                const std::string& before = "") const {
    WriteFile(folder_ / "commands", "a\n/save " + out + "\n");
    if (const size_t at = verb.find("OUT"); at != std::string::npos) {
      verb.replace(at, 3, out);
    }
    return Invoke(verb, before);
  }
  std::string out() const { return folder_ / "out"; }
  std::set<std::string> Names() const {
    std::set<std::string> names;
    for (const auto& entry : fs::directory_iterator(out())) {
      names.insert(entry.path().filename());
    }
    return names;
  }

  TempFolder folder_;
};

TEST_F(OutputsTest, WhatIsNoFileStaysWhatItIs) {
  fs::create_directory(out() + "/folder");
  fs::create_symlink("nothing", out() + "/dangling");
  ASSERT_EQ(mkfifo((out() + "/fifo").c_str(), 0600), 0);
  const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = {}};
  const std::string path = out() + "/socket";
  ASSERT_LT(path.size(), sizeof(address.sun_path));
  path.copy(address.sun_path, path.size());
  ASSERT_EQ(bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)),
            0);
  const std::set<std::string> before = Names();
  for (const std::string& verb : Verbs()) {
    for (const auto& [name, fault] :
         std::vector<std::pair<std::string, std::string>>{
             {"folder", "is a folder"},
             {"dangling", "is a link to"},
             {"socket", "is a socket"},
             {"no/such", "no: No such file or directory"}}) {
      const Outcome outcome = Write(verb, out() + "/" + name);
      EXPECT_EQ(outcome.code, 1) << verb << name;
      EXPECT_NE(outcome.err.find(out() + "/" + name + ": "), std::string::npos)
          << outcome.err;
      EXPECT_NE(outcome.err.find(fault), std::string::npos) << outcome.err;
    }
    EXPECT_EQ(Write(verb, "/dev/null").code, 0) << verb;
    EXPECT_TRUE(fs::is_character_file("/dev/null"));
    const Outcome full = Write(verb, "/dev/full");
    EXPECT_EQ(full.code, 1) << verb;
    EXPECT_NE(full.err.find("/dev/full: no space"), std::string::npos)
        << full.err;
    EXPECT_TRUE(fs::is_character_file("/dev/full"));
  }
  const Outcome alone = Write(Verbs()[0], out() + "/fifo");
  EXPECT_EQ(alone.code, 1);
  EXPECT_NE(alone.err.find("nobody reads it"), std::string::npos) << alone.err;
  EXPECT_EQ(Names(), before);
  EXPECT_TRUE(fs::is_symlink(out() + "/dangling"));
  EXPECT_TRUE(fs::is_fifo(out() + "/fifo"));
  EXPECT_TRUE(fs::is_socket(out() + "/socket"));
  close(fd);
}

TEST_F(OutputsTest, ThroughLinksAndPipesComeTheSameBytes) {
  for (const std::string& verb : Verbs()) {
    for (const char* name : {"file", "target", "link", "piped"}) {
      fs::remove(out() + "/" + name);
    }
    WriteFile(out() + "/target", "old");
    ASSERT_EQ(chmod((out() + "/target").c_str(), 0640), 0);
    fs::create_symlink("target", out() + "/link");
    ASSERT_EQ(Write(verb, out() + "/file").code, 0) << verb;
    ASSERT_EQ(Write(verb, out() + "/link").code, 0) << verb;
    EXPECT_TRUE(fs::is_symlink(out() + "/link"));
    struct stat info {};
    ASSERT_EQ(stat((out() + "/target").c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 07777, mode_t{0640});
    const std::string fifo = out() + "/fifo";
    fs::remove(fifo);
    ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
    ASSERT_EQ(Write(verb, fifo, "cat " + fifo + " >" + out() + "/piped &").code,
              0)
        << verb;
    EXPECT_TRUE(fs::is_fifo(fifo));
    const std::string file = ReadAll(out() + "/file");
    EXPECT_FALSE(file.empty());
    EXPECT_TRUE(ReadAll(out() + "/target") == file) << verb;
    EXPECT_TRUE(Until([&] { return ReadAll(out() + "/piped") == file; }))
        << verb;
  }
  EXPECT_EQ(Names().size(), 5u);
}

TEST_F(OutputsTest, WithoutSpaceTheOldFileStays) {
  for (const std::string& verb : Verbs()) {
    const std::string path = out() + "/file";
    WriteFile(path, "old");
    // In blocks of 512 or 1024 bytes; the conversation is short.
    const bool chat = verb.starts_with("chat");
    const Outcome outcome = Write(chat ? verb + " 2>&1 | cat" : verb, path,
                                  chat ? "ulimit -f 0;" : "ulimit -f 4;");
    const std::string& says = chat ? outcome.out : outcome.err;
    EXPECT_EQ(outcome.code, chat ? 0 : 1) << verb;
    EXPECT_NE(says.find(path + ": no space to write it"), std::string::npos)
        << says;
    EXPECT_NE(says.find("unchanged"), std::string::npos) << says;
    EXPECT_EQ(ReadAll(path), "old") << verb;
    EXPECT_EQ(Names(), std::set<std::string>{"file"}) << verb;
  }
}

TEST_F(OutputsTest, SignalsLeaveNothingAndAKilledRunsRestGoes) {
  std::string text;
  for (int i = 0; i < 40000; ++i) text += "The weights of a model are many. ";
  WriteFile(folder_ / "long", text);
  const std::string path = out() + "/recording";
  WriteFile(path, "old");
  const std::string begin = "perplexity " + (folder_ / "model") +
                            " --ctx 64 --record " + path + " --text ";
  const auto interrupt = [&](int signal) {
    Running run(begin + (folder_ / "long"), folder_.path());
    EXPECT_TRUE(Until([&] { return Names().size() == 2; })) << run.err();
    run.Signal(signal);
    EXPECT_EQ(run.Wait(), 128 + signal);
    EXPECT_EQ(ReadAll(path), "old");
  };
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    interrupt(signal);
    EXPECT_EQ(Names(), std::set<std::string>{"recording"}) << signal;
  }
  interrupt(SIGKILL);
  EXPECT_EQ(Names().size(), 2u);
  {
    // A neighbour that runs keeps what it writes.
    Running neighbour(begin + (folder_ / "long"), folder_.path());
    const std::string its =
        "recording.tmp-" + std::to_string(neighbour.pid()) + "-0";
    EXPECT_TRUE(Until([&] { return Names().contains(its); }));
    const Outcome next = Invoke(begin + (folder_ / "text"));
    EXPECT_EQ(next.code, 0) << next.err;
    EXPECT_EQ(Names(), (std::set<std::string>{"recording", its}));
    neighbour.Signal(SIGTERM);
    neighbour.Wait();
  }
  EXPECT_EQ(Names(), std::set<std::string>{"recording"});
  EXPECT_NE(ReadAll(path), "old");
}

TEST_F(OutputsTest, AModelThatShrinksIsAnErrorThatNamesIt) {
  const std::string weights = folder_ / "model" + "/model.safetensors";
  Running run("generate " + (folder_ / "model") +
                  " --no-pack --prompt a --ignore-eos -n 200000 --ctx 200100",
              folder_.path());
  EXPECT_TRUE(Until([&] { return !run.out().empty(); })) << run.err();
  ASSERT_EQ(truncate(weights.c_str(), 4096), 0);
  EXPECT_EQ(run.Wait(), 1);
  EXPECT_NE(run.err().find("error: [checkpoint] " + weights +
                           ": became shorter while it was read"),
            std::string::npos)
      << run.err();
}

TEST_F(OutputsTest, AnInputThatShrinksWhileItIsConvertedIsBlamed) {
  const std::string source = folder_ / "source.gguf", fifo = out() + "/fifo";
  ASSERT_EQ(Invoke("convert tests/golden/llama " + source).code, 0);
  ASSERT_GT(fs::file_size(source), 2u << 16);
  for (const char* verb : {"convert ", "quantize --type Q8_0 "}) {
    const std::string input = folder_ / "input.gguf";
    fs::copy_file(source, input, fs::copy_options::overwrite_existing);
    fs::remove(fifo);
    ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
    // A pipe that nobody empties stops the writer amid the tensors.
    const int fd = open(fifo.c_str(), O_RDWR);
    ASSERT_GE(fd, 0);
    fcntl(fd, F_SETPIPE_SZ, 4096);
    const std::string to = *verb == 'c' ? " --to gguf" : "";
    Running run(verb + input + " " + fifo + to, folder_.path());
    char piece[4096];
    ASSERT_GT(read(fd, piece, 16), 0);
    ASSERT_EQ(truncate(input.c_str(), 100), 0);
    std::atomic<bool> done = false;
    std::thread reader([&] {
      while (!done) {
        pollfd ready{fd, POLLIN, 0};
        if (poll(&ready, 1, 10) > 0) {
          EXPECT_GT(read(fd, piece, sizeof(piece)), 0);
        }
      }
    });
    EXPECT_EQ(run.Wait(), 1) << verb;
    done = true;
    reader.join();
    close(fd);
    EXPECT_NE(run.err().find("[checkpoint] " + input + ": became shorter"),
              std::string::npos)
        << run.err();
  }
}

TEST_F(OutputsTest, AStateGoesOnlyWithItsModel) {
  const std::string model = folder_ / "model", state = out() + "/state";
  const std::string flags = " --temperature 0 --json ";
  ASSERT_EQ(Invoke("generate " + model + " --prompt 'The weights of' -n 300" +
                   flags + "--ignore-eos --save-state " + state)
                .code,
            0);
  // More tokens than the next run would have had room for.
  const Outcome same =
      Invoke("generate " + model + " --prompt ' a model' -n 2" + flags +
             "--load-state " + state);
  EXPECT_EQ(same.code, 0) << same.err;
  const Outcome small =
      Invoke("generate " + model +
             " --prompt ' a' -n 2 --ctx 100 --load-state " + state);
  EXPECT_EQ(small.code, 1);
  EXPECT_NE(small.err.find(state), std::string::npos) << small.err;
  EXPECT_NE(small.err.find("--ctx"), std::string::npos) << small.err;
  // The same name and shapes, one weight differs by a bit.
  const std::string weights = model + "/model.safetensors";
  std::string bytes = ReadAll(weights);
  bytes.back() = static_cast<char>(bytes.back() ^ 1);
  WriteFile(weights, bytes);
  const Outcome other = Invoke("generate " + model + " --prompt ' a' -n 2" +
                               flags + "--load-state " + state);
  EXPECT_EQ(other.code, 1);
  EXPECT_EQ(other.out, "");
  EXPECT_NE(other.err.find(state + ": the state belongs to another model"),
            std::string::npos)
      << other.err;
}

TEST_F(OutputsTest, AModelsFilesAreNoOutput) {
  const std::string parts = folder_ / "parts.gguf";
  const Outcome split = Invoke("convert tests/golden/llama " + parts +
                               " --split-max-size 60K --json");
  const std::string first = split.json()["files"][0];
  const std::string weights = folder_ / "model" + "/model.safetensors";
  const std::string before = ReadAll(weights), part = ReadAll(first);
  for (const std::string& arguments :
       {"generate " + (folder_ / "model") + " --prompt a -n 1 --save-state " +
            weights,
        "perplexity " + (folder_ / "model") + " --ctx 64 --text " +
            (folder_ / "text") + " --record " + weights,
        "quantize " + first + " " + first + " --type Q8_0",
        "quantize " + first + " " + parts +
            " --type Q8_0 --split-max-size 60K"}) {
    const Outcome outcome = Invoke(arguments);
    EXPECT_EQ(outcome.code, 1) << arguments;
    EXPECT_NE(outcome.err.find("is the model itself"), std::string::npos)
        << outcome.err;
  }
  // Nor are its tokenizer and configuration, from any verb.
  for (const char* name : {"/tokenizer.json", "/intarsia.json"}) {
    const std::string file = folder_ / "model" + name, told = ReadAll(file);
    WriteFile(folder_ / "commands", "/save " + file + "\n");
    for (const std::string& arguments :
         {"generate " + (folder_ / "model") + " --prompt a -n 1 --save-state " +
              file,
          "perplexity " + (folder_ / "model") + " --ctx 64 --text " +
              (folder_ / "text") + " --record " + file,
          "quantize " + (folder_ / "model") + " " + file + " --type Q8_0",
          "convert " + (folder_ / "model") + " " + file + " --to gguf",
          "chat " + (folder_ / "model") + " < " + (folder_ / "commands")}) {
      const Outcome outcome = Invoke(arguments);
      EXPECT_NE(outcome.err.find("is the model itself"), std::string::npos)
          << arguments << outcome.err;
      EXPECT_EQ(ReadAll(file), told) << arguments;
    }
  }
  const std::string text = folder_ / "text", told = ReadAll(text);
  for (const std::string& arguments :
       {"generate " + (folder_ / "model") + " -n 1 --prompt-file " + text +
            " --save-state " + text,
        "perplexity " + (folder_ / "model") + " --ctx 64 --text " + text +
            " --record " + text,
        "quantize " + first + " " + text + " --type Q4_0 --imatrix " + text}) {
    const Outcome outcome = Invoke(arguments);
    EXPECT_EQ(outcome.code, 1) << arguments;
    EXPECT_NE(outcome.err.find(text + ": is an input too"), std::string::npos)
        << outcome.err;
  }
  EXPECT_EQ(ReadAll(text), told);
  EXPECT_TRUE(ReadAll(weights) == before);
  EXPECT_TRUE(ReadAll(first) == part);
}

}  // namespace
}  // namespace intarsia
