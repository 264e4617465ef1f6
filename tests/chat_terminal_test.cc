// `intarsia chat` as a person meets it: in a (pseudo) terminal, with editing,
// commands, history and Ctrl-C.
#include <gtest/gtest.h>
#include <poll.h>
#include <pty.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace {

// A chat in a terminal of its own.
class Terminal {
 public:
  explicit Terminal(std::vector<std::string> flags) {
    std::vector<std::string> words = {INTARSIA_BINARY, "chat",
                                      "tests/golden/tiny"};
    words.insert(words.end(), flags.begin(), flags.end());
    std::vector<char*> arguments;
    for (std::string& word : words) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    child_ = forkpty(&fd_, nullptr, nullptr, nullptr);
    if (child_ == 0) {
      execv(arguments[0], arguments.data());
      _exit(127);
    }
  }
  ~Terminal() {
    if (child_ > 0) {
      kill(child_, SIGKILL);
      waitpid(child_, nullptr, 0);
    }
    close(fd_);
  }
  Terminal(const Terminal&) = delete;
  Terminal& operator=(const Terminal&) = delete;

  void Type(const std::string& text) {
    ASSERT_EQ(write(fd_, text.data(), text.size()),
              static_cast<ssize_t>(text.size()));
  }

  // What came since the last call, up to and with `text`; fails after a while.
  std::string Until(const std::string& text) {
    const auto end =
        std::chrono::steady_clock::now() + std::chrono::seconds(60);
    for (;;) {
      const size_t at = screen_.find(text);
      if (at != std::string::npos) {
        const std::string out = screen_.substr(0, at + text.size());
        screen_.erase(0, at + text.size());
        return out;
      }
      if (std::chrono::steady_clock::now() > end || !More()) {
        lost_ = true;
        ADD_FAILURE() << "no '" << text << "' in: " << screen_;
        return "";
      }
    }
  }

  // Until so many characters came that no call has given yet; fails after a
  // while.
  void Await(size_t characters) {
    while (screen_.size() < characters) {
      if (!More()) {
        lost_ = true;
        FAIL() << "nothing more after: " << screen_;
      }
    }
  }

  // The exit code, once the program ends by itself.
  int Wait() {
    if (lost_) return -1;
    while (More()) {
    }
    int status = 0;
    waitpid(child_, &status, 0);
    child_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

 private:
  bool More() {
    pollfd ready{fd_, POLLIN, 0};
    if (poll(&ready, 1, 60000) <= 0) return false;
    char buffer[4096];
    const ssize_t n = read(fd_, buffer, sizeof(buffer));
    if (n <= 0) return false;  // EIO: the program closed its end
    screen_.append(buffer, static_cast<size_t>(n));
    return true;
  }

  bool lost_ = false;  // something awaited never came
  int fd_ = -1;
  pid_t child_ = -1;
  std::string screen_;
};

class ChatTerminalTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = testing::TempDir() + "chat_terminal_test";
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
    setenv("XDG_STATE_HOME", folder_.c_str(), 1);
    setenv("HOME", folder_.c_str(), 1);
    setenv("TERM", "xterm", 1);
  }
  std::string folder_;
};

const std::vector<std::string> kGreedy = {
    "--temperature", "0", "--max-tokens", "8", "--threads", "1"};

TEST_F(ChatTerminalTest, AnswersAndCommands) {
  Terminal terminal(kGreedy);
  terminal.Until("/help lists the commands");
  terminal.Until("> ");
  terminal.Type("Hello\n");
  const std::string first = terminal.Until("generated at");
  terminal.Until("> ");
  terminal.Type("/help\n");
  terminal.Until("Ctrl-C stops an answer.");
  terminal.Until("> ");
  terminal.Type("/nonsense\n");
  terminal.Until("error: [chat] there is no /nonsense");
  terminal.Until("> ");
  terminal.Type("/regen\n");
  terminal.Until("generated at");
  terminal.Until("> ");
  terminal.Type("/stats\n");
  terminal.Until("2 messages, ");
  terminal.Until("> ");
  const std::string saved = folder_ + "/talk.json";
  terminal.Type("/save " + saved + "\n");
  terminal.Until("> ");
  terminal.Type("/reset\n");
  terminal.Until("> ");
  terminal.Type("/stats\n");
  terminal.Until("0 messages, ");
  terminal.Until("> ");
  terminal.Type("/load " + saved + "\n");
  terminal.Until("> ");
  terminal.Type("/system Be brief.\n");
  terminal.Until("> ");
  terminal.Type("/stats\n");
  terminal.Until("1 message, ");
  terminal.Until("> ");
  terminal.Type("/quit\n");
  EXPECT_EQ(terminal.Wait(), 0);

  std::ifstream file(saved);
  const auto json = nlohmann::json::parse(file);
  ASSERT_EQ(json.at("messages").size(), 2u);
  EXPECT_EQ(json.at("messages")[0].at("content"), "Hello");
  // Greedy, so the answer given again is the one that was on the screen.
  std::string answer;
  for (const char c : json.at("messages")[1].at("content").get<std::string>()) {
    answer += c == '\n' ? "\r\n" : std::string(1, c);
  }
  EXPECT_FALSE(answer.empty());
  EXPECT_NE(first.find(answer), std::string::npos) << first;
}

TEST_F(ChatTerminalTest, LinesGoOnAndQuotesHoldSeveral) {
  const std::string saved = folder_ + "/talk.json";
  Terminal terminal(kGreedy);
  terminal.Until("> ");
  terminal.Type("one\\\n");
  terminal.Until("... ");
  terminal.Type("two\n");
  terminal.Until("generated at");
  terminal.Until("> ");
  terminal.Type("\"\"\"\n");
  terminal.Until("... ");
  terminal.Type("three\n");
  terminal.Until("... ");
  terminal.Type("\n");
  terminal.Until("... ");
  terminal.Type("four\"\"\"\n");
  terminal.Until("generated at");
  terminal.Until("> ");
  terminal.Type("/save " + saved + "\n");
  terminal.Until("> ");
  terminal.Type("\x04");  // Ctrl-D
  EXPECT_EQ(terminal.Wait(), 0);
  std::ifstream file(saved);
  const auto messages = nlohmann::json::parse(file).at("messages");
  ASSERT_EQ(messages.size(), 4u);
  EXPECT_EQ(messages[0].at("content"), "one\ntwo");
  EXPECT_EQ(messages[2].at("content"), "three\n\nfour");
}

TEST_F(ChatTerminalTest, HistoryComesBackInTheNextChat) {
  {
    Terminal terminal(kGreedy);
    terminal.Until("> ");
    terminal.Type("remember me\n");
    terminal.Until("generated at");
    terminal.Until("> ");
    terminal.Type("/quit\n");
    EXPECT_EQ(terminal.Wait(), 0);
  }
  Terminal terminal(kGreedy);
  terminal.Until("> ");
  terminal.Type("\x10\x10");  // Ctrl-P twice: past /quit
  terminal.Until("remember me");
  terminal.Type("\n");
  terminal.Until("generated at");
  terminal.Until("> ");
  terminal.Type("/quit\n");
  EXPECT_EQ(terminal.Wait(), 0);
}

TEST_F(ChatTerminalTest, CtrlCStopsTheAnswerAndNotTheProgram) {
  Terminal terminal(
      {"--max-tokens", "1000000", "--ctx", "1000000", "--threads", "1"});
  terminal.Until("> ");
  terminal.Type("\x03");  // at the prompt: a new one
  terminal.Until("> ");
  terminal.Type("Hello\n");
  terminal.Until("Hello");
  terminal.Until("\n");  // the line was read
  terminal.Await(20);    // and is being answered
  terminal.Type("\x03");
  // Keys do not show amid the answer.
  EXPECT_EQ(terminal.Until("generated at").find("^C"), std::string::npos);
  terminal.Until("> ");
  terminal.Type("/quit\n");
  EXPECT_EQ(terminal.Wait(), 0);
}

}  // namespace
