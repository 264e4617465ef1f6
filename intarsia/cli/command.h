// What the verbs share: flags, output, errors. Each verb is a file and a line
// of registry.def.
#pragma once

#include <cstdio>
#include <initializer_list>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "intarsia/cli/verb.h"
#include "intarsia/core/device.h"
#include "intarsia/core/dtype.h"
#include "intarsia/core/status.h"

namespace intarsia {

// --device, --threads, --seed, --json: on every verb.
struct CommonFlags {
  std::string device = "cpu";
  int threads = 0;
  uint64_t seed = 0;
  bool json = false;

  Device device_of() const { return device == "cuda" ? Cuda() : Cpu(); }
};

// Adds the common flags; `flags` must outlive the parser.
void AddCommon(Verb verb, CommonFlags* flags);

// --state-dtype, and the type that one of its words means.
void AddStateDType(Verb verb, std::string* name);
DType StateDType(const std::string& name);
// --state-memory, and its bytes; 0 for an empty text.
void AddStateMemory(Verb verb, std::string* size);
int64_t StateMemory(const std::string& size);

// Refuses an output that is one of a command's inputs (empty: none).
Status CheckNotInput(const std::string& out,
                     std::initializer_list<std::string> inputs,
                     const std::string& room);

// The one JSON object of --json, on stdout. JSON has no NaN and no infinity:
// they are the strings "nan", "inf" and "-inf".
void PrintJson(const nlohmann::json& json);
// Warnings, errors and progress go to stderr; bars only on a terminal. What
// stands in the messages comes from files (core/terminal_text.h).
void Warn(const std::string& message);
// At most ten of a kind, then how many more there are. Two messages are of a
// kind when they differ in names, numbers and quotations alone.
void WarnAll(const std::vector<std::string>& messages);
void PrintError(const std::string& message);
// What a new file would have no place for, a line each; an error unless
// `allowed` (--allow-loss). `verb` begins it.
Status ReportLosses(const std::string& verb,
                    const std::vector<std::string>& losses, bool allowed);
bool StderrIsTerminal();
bool StdoutIsTerminal();
// "500M", "2G", bytes; messages name the flag.
Result<uint64_t> ParseSize(const std::string& flag, const std::string& text);
std::string HumanBytes(double bytes);  // "98.1 MiB"
std::string HumanCount(double count);  // "134.5 M"

// A progress bar on stderr, redrawn at most ten times a second, with the speed
// and the time left once both can be told; silent when stderr is no terminal.
class ProgressBar {
 public:
  explicit ProgressBar(std::string label) : label_(std::move(label)) {}
  ~ProgressBar();
  void Update(double done, double total);  // total 0: unknown

 private:
  std::string label_;
  double first_time_ = 0.0, first_done_ = 0.0;  // of the first update
  double last_draw_ = 0.0;
  bool drawn_ = false;
};

}  // namespace intarsia
