#include "intarsia/core/kernel_report.h"

#include "intarsia/core/check.h"

namespace intarsia {

void KernelReport::Note(const std::string& op, const std::string& kernel,
                        const std::vector<Refusal>& refused, bool slow) {
  if (require_fast_ && slow) {
    std::string message = "[" + op + "] would run as " + kernel;
    for (const Refusal& r : refused) {
      message += "; " + r.kernel + " needs " + r.reason;
    }
    throw EngineError(message + "; leave out --require-fast to run it so");
  }
  Entry& entry = entries_[{op, kernel}];
  ++entry.times;
  entry.refused = refused;
}

std::string KernelReport::ToString() const {
  std::string out;
  for (const auto& [name, entry] : entries_) {
    out += name.first + ": " + name.second + " (" +
           std::to_string(entry.times) +
           (entry.times == 1 ? " time)\n" : " times)\n");
    for (const Refusal& r : entry.refused) {
      out += "  not " + r.kernel + ", which needs " + r.reason + "\n";
    }
  }
  return out;
}

}  // namespace intarsia
