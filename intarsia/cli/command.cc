#include "intarsia/cli/command.h"

#include <unistd.h>

#include <charconv>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "intarsia/core/terminal_text.h"

namespace intarsia {

void AddCommon(Verb verb, CommonFlags* flags) {
  verb.Add("--device", &flags->device, {"cpu", "cuda"}, "Where to compute");
  verb.Add("--threads,-t", &flags->threads, Whole{0, 4096},
           "CPU threads; 0 takes all this process may use");
  verb.Add("--seed", &flags->seed,
           Whole{0, std::numeric_limits<uint64_t>::max()},
           "Seed of all random numbers");
  verb.Add("--json", &flags->json, "Print one JSON object on stdout");
}

void AddStateDType(Verb verb, std::string* name) {
  verb.Add("--state-dtype", name, {"bf16", "f16", "f32", "int8"},
           "Of per-token state (keys and values); int8: with a scale for "
           "each 32 channels, on the CPU");
}

DType StateDType(const std::string& name) {
  return name == "f32"    ? DType::kF32
         : name == "f16"  ? DType::kF16
         : name == "int8" ? DType::kI8
                          : DType::kBF16;
}

void AddStateMemory(Verb verb, std::string* size) {
  verb.Add("--state-memory", size,
           "Most bytes of state, such as 500M or 2G; default: as needed")
      .Check([](const std::string& text) {
        return text.empty()
                   ? ""
                   : ParseSize("--state-memory", text).status().message();
      });
}

int64_t StateMemory(const std::string& size) {
  return size.empty()
             ? 0
             : static_cast<int64_t>(ParseSize("--state-memory", size).value());
}

namespace {

void NameNotFinite(nlohmann::json* json) {
  if (json->is_structured()) {
    for (nlohmann::json& inner : *json) NameNotFinite(&inner);
    return;
  }
  if (!json->is_number_float()) return;
  const double value = json->get<double>();
  if (std::isnan(value)) *json = "nan";
  if (std::isinf(value)) *json = value > 0 ? "inf" : "-inf";
}

// The message without what differs among those of a kind: quotations, and words
// with a mark or a digit inside.
std::string KindOf(const std::string& message) {
  std::string kind, word;
  bool quoted = false;
  const auto end_word = [&] {
    const bool name =
        word.find_first_of("0123456789._/<>|[]") != std::string::npos;
    kind += name ? "*" : word;
    word.clear();
  };
  for (const char c : message) {
    if (c == '"') quoted = !quoted;
    if (quoted || c == '"') continue;
    if (c != ' ') {
      word += c;
      continue;
    }
    end_word();
    kind += c;
  }
  end_word();
  return kind;
}

}  // namespace

Status CheckNotInput(const std::string& out,
                     std::initializer_list<std::string> inputs,
                     const std::string& room) {
  for (const std::string& input : inputs) {
    std::error_code error;
    // Devices may be read and written.
    if (std::filesystem::is_regular_file(out, error) &&
        std::filesystem::equivalent(input, out, error)) {
      return InvalidArgument("[" + room + "] " + out +
                             ": is an input too; give another name");
    }
  }
  return Status::Ok();
}

void PrintJson(const nlohmann::json& json) {
  nlohmann::json named = json;
  NameNotFinite(&named);
  const std::string text =
      named.dump(2, ' ', false, nlohmann::json::error_handler_t::replace);
  std::printf("%s\n", text.c_str());
}

void Warn(const std::string& message) {
  static auto* const shown = new std::set<std::string>;
  if (!shown->insert(message).second) return;
  std::fprintf(stderr, "warning: %s\n", TerminalLine(message).c_str());
}

void WarnAll(const std::vector<std::string>& messages) {
  constexpr int kMost = 10;
  std::map<std::string, int> counts;
  for (const std::string& message : messages) ++counts[KindOf(message)];
  std::map<std::string, int> shown;
  for (const std::string& message : messages) {
    const std::string kind = KindOf(message);
    const int n = ++shown[kind];
    if (n <= kMost) Warn(message);
    if (n == kMost && counts[kind] > kMost) {
      Warn("and " + std::to_string(counts[kind] - kMost) + " more like these");
    }
  }
}

void PrintError(const std::string& message) {
  std::fflush(stdout);
  std::fprintf(stderr, "error: %s\n", TerminalLine(message).c_str());
}

Status ReportLosses(const std::string& verb,
                    const std::vector<std::string>& losses, bool allowed) {
  for (const std::string& loss : losses) Warn("lost: " + loss);
  if (losses.empty() || allowed) return Status::Ok();
  return InvalidArgument(
      "[" + verb + "] the new file has no place for " +
      (losses.size() == 1
           ? losses[0]
           : std::to_string(losses.size()) + " things, which are named above") +
      "; --allow-loss goes on without");
}

bool StderrIsTerminal() { return isatty(STDERR_FILENO) == 1; }
bool StdoutIsTerminal() { return isatty(STDOUT_FILENO) == 1; }

namespace {

std::string Scaled(double value, double step, const char* const* units,
                   int count) {
  int unit = 0;
  while (value >= step && unit + 1 < count) {
    value /= step;
    ++unit;
  }
  char text[64];
  std::snprintf(text, sizeof(text), unit == 0 ? "%.0f%s" : "%.1f%s", value,
                units[unit]);
  return text;
}

}  // namespace

Result<uint64_t> ParseSize(const std::string& flag, const std::string& text) {
  double number = 0;
  const char* const end = text.data() + text.size();
  const auto parsed = std::from_chars(text.data(), end, number);
  const std::string_view unit(parsed.ptr,
                              static_cast<size_t>(end - parsed.ptr));
  const double scale = unit.empty()                 ? 1
                       : unit == "K" || unit == "k" ? 1e3
                       : unit == "M"                ? 1e6
                       : unit == "G"                ? 1e9
                                                    : 0;
  if (parsed.ec != std::errc() || scale == 0 || !(number * scale >= 1) ||
      number * scale > 1e18) {
    return InvalidArgument(
        flag + ": '" + TerminalLine(text, {.most = 60}) +
        "' is not a size, which is a number of bytes from 1 on, with K, M or "
        "G for a thousand, a million or 10^9 of them: 500M, 1.5G");
  }
  return static_cast<uint64_t>(number * scale);
}

std::string HumanBytes(double bytes) {
  static constexpr const char* kUnits[] = {" B", " KiB", " MiB", " GiB",
                                           " TiB"};
  return Scaled(bytes, 1024, kUnits, 5);
}

std::string HumanCount(double count) {
  static constexpr const char* kUnits[] = {"", " K", " M", " B", " T"};
  return Scaled(count, 1000, kUnits, 5);
}

ProgressBar::~ProgressBar() {
  if (drawn_) std::fprintf(stderr, "\n");
}

void ProgressBar::Update(double done, double total) {
  if (!StderrIsTerminal()) return;
  const double now = std::chrono::duration<double>(
                         std::chrono::steady_clock::now().time_since_epoch())
                         .count();
  if (drawn_ && now - last_draw_ < 0.1 && done < total) return;
  if (!drawn_) first_time_ = now, first_done_ = done;
  last_draw_ = now;
  drawn_ = true;
  constexpr int kWidth = 30;
  const int full =
      total > 0 ? static_cast<int>(kWidth * std::min(1.0, done / total)) : 0;
  std::string bar(full, '#');
  bar.resize(kWidth, '.');
  std::fprintf(stderr, "\r%s [%s] %s", label_.c_str(), bar.c_str(),
               HumanBytes(done).c_str());
  if (total > 0) std::fprintf(stderr, " of %s", HumanBytes(total).c_str());
  const double seconds = now - first_time_;
  if (seconds > 1 && done > first_done_) {
    const double rate = (done - first_done_) / seconds;
    std::fprintf(stderr, ", %s/s", HumanBytes(rate).c_str());
    const double left = (total - done) / rate;
    if (done < total && left < 360000) {
      const auto minutes = static_cast<int>(left / 60);
      std::fprintf(stderr, ", %d:%02d left", minutes,
                   static_cast<int>(left) - 60 * minutes);
    }
  }
  std::fprintf(stderr, "\033[K");
}

}  // namespace intarsia
