// Verbs of the command line and the flags that they take. The parser behind
// them (CLI11) is known to verb.cc alone: its headers are 80,000 lines.
#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "intarsia/core/status.h"

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace intarsia {

class CommandLine;

// A decimal whole number in [low, high]. The parser's own conversions take more
// ("0x10", "010" for 8, "-1" for 2^64 - 1, nothing at all).
struct Whole {
  int64_t low = 0;
  uint64_t high = 0;
};

// A flag or a positional argument that a verb takes.
class Argument {
 public:
  explicit Argument(CLI::Option* option) : option_(option) {}

  Argument& Required();
  Argument& Group(const std::string& title);  // its heading in the help
  Argument& Excludes(const Argument& other);
  Argument& Needs(const Argument& other);
  Argument& ValueOptional();  // "--flag" as well as "--flag VALUE"
  // `fault` says what is wrong with a text; empty: nothing.
  Argument& Check(std::function<std::string(const std::string&)> fault);

  bool given() const;  // once the arguments are parsed

 private:
  CLI::Option* option_;
};

// A handle, cheap to copy. `names` are such as "--threads,-t", or "MODEL" for a
// positional argument. What an argument is stored in must outlive the command
// line; its value when the argument is added is the default. The help shows the
// default of single values.
class Verb {
 public:
  Verb(CommandLine* line, CLI::App* app) : line_(line), app_(app) {}

  Argument Add(const std::string& names, bool* on, const std::string& help);
  Argument Add(const std::string& names, std::string* text,
               const std::string& help);
  // One of some words.
  Argument Add(const std::string& names, std::string* word,
               std::initializer_list<const char*> words,
               const std::string& help);
  // May be given again; a text each time.
  Argument Add(const std::string& names, std::vector<std::string>* texts,
               const std::string& help);
  Argument Add(const std::string& names, int* number, Whole range,
               const std::string& help);
  Argument Add(const std::string& names, int64_t* number, Whole range,
               const std::string& help);
  Argument Add(const std::string& names, uint64_t* number, Whole range,
               const std::string& help);
  // Apart by commas; may be given again.
  Argument Add(const std::string& names, std::vector<int>* numbers, Whole range,
               const std::string& help);
  // Any finite number, or any that is not negative.
  Argument Add(const std::string& names, float* number,
               const std::string& help);
  Argument Add(const std::string& names, double* number,
               const std::string& help);
  Argument AddNotNegative(const std::string& names, double* number,
                          const std::string& help);

  // Exactly one of the arguments that are added to what this returns.
  Verb OneOf(const std::string& title);
  // `cache list`: a word after the verb. One must be given; it takes the
  // verb's flags too.
  Verb Word(const std::string& word, const std::string& help);
  // Bad usage unless `missing` returns an empty text.
  void Require(std::function<std::string()> missing);
  void Footer(const std::string& text);  // of the help
  void Run(std::function<Status()> run);

  const CommandLine& line() const { return *line_; }

 private:
  CommandLine* line_;
  CLI::App* app_;
};

class CommandLine {
 public:
  // `version` is what --version prints.
  CommandLine(const std::string& name, const std::string& about,
              const std::string& version);
  ~CommandLine();

  Verb Add(const std::string& word, const std::string& help);

  // The exit status where nothing is left to run: help and the version were
  // printed to stdout, or what is wrong with the usage to stderr.
  std::optional<int> Parse(std::vector<std::string> arguments);
  Status Run() const;  // the verb that was given

  // What may follow a verb: "--threads", "list" ...
  struct Words {
    std::string verb;
    std::string words;  // a space between
  };
  std::vector<Words> Completions() const;

 private:
  friend class Verb;
  struct Parser;
  std::unique_ptr<Parser> parser_;
};

}  // namespace intarsia
