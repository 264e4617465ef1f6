#include "intarsia/cli/command.h"

#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>

namespace intarsia {

void AddCommon(CLI::App* app, CommonFlags* flags) {
  app->add_option("--device", flags->device, "Where to compute")
      ->check(CLI::IsMember({"cpu", "cuda"}))
      ->capture_default_str();
  app->add_option("--threads,-t", flags->threads,
                  "CPU threads; 0 takes all this process may use")
      ->check(CLI::Range(0, 4096))
      ->capture_default_str();
  app->add_option("--seed", flags->seed, "Seed of all random numbers")
      ->capture_default_str();
  app->add_flag("--json", flags->json, "Print one JSON object on stdout");
}

void AddStateDType(CLI::App* app, std::string* name) {
  app->add_option("--state-dtype", *name,
                  "Of per-token state (keys and values)")
      ->check(CLI::IsMember({"bf16", "f16", "f32"}))
      ->capture_default_str();
}

DType StateDType(const std::string& name) {
  return name == "f32"   ? DType::kF32
         : name == "f16" ? DType::kF16
                         : DType::kBF16;
}

void PrintJson(const nlohmann::json& json) {
  const std::string text =
      json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace);
  std::printf("%s\n", text.c_str());
}

void Warn(const std::string& message) {
  std::fprintf(stderr, "warning: %s\n", message.c_str());
}

bool StderrIsTerminal() { return isatty(STDERR_FILENO) == 1; }

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

Result<uint64_t> ParseSize(const std::string& text) {
  char* end = nullptr;
  errno = 0;
  const double number = std::strtod(text.c_str(), &end);
  const std::string_view unit(end);
  const double scale = unit.empty()                 ? 1
                       : unit == "K" || unit == "k" ? 1e3
                       : unit == "M"                ? 1e6
                       : unit == "G"                ? 1e9
                                                    : 0;
  if (end == text.c_str() || errno != 0 || scale == 0 ||
      !(number * scale >= 1) || number * scale > 1e18) {
    return InvalidArgument("a size is a number with K, M, G or nothing: " +
                           text);
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
