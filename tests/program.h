// For tests that run the program as a user would.
#pragma once

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>

namespace intarsia {

using Json = nlohmann::json;

struct Outcome {
  int code = -1;
  std::string out, err;

  Json json() const {
    Json parsed = Json::parse(out, nullptr, /*allow_exceptions=*/false);
    EXPECT_TRUE(parsed.is_object()) << "stdout is: " << out;
    return parsed.is_object() ? parsed : Json::object();
  }
};

inline std::string ReadAll(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

// `arguments` go through a shell; `before` is what stands before the program.
inline Outcome Invoke(const std::string& arguments,
                      const std::string& before = "") {
  const std::string errors =
      testing::TempDir() + "intarsia_stderr_" + std::to_string(getpid());
  const std::string line =
      before + " " + INTARSIA_BINARY + " " + arguments + " 2>" + errors;
  Outcome outcome;
  FILE* pipe = popen(line.c_str(), "r");
  EXPECT_NE(pipe, nullptr);
  char buffer[4096];
  for (size_t n; (n = std::fread(buffer, 1, sizeof(buffer), pipe)) > 0;) {
    outcome.out.append(buffer, n);
  }
  const int status = pclose(pipe);
  outcome.code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  outcome.err = ReadAll(errors);
  return outcome;
}

}  // namespace intarsia
