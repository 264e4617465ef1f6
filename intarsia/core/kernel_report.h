// Which kernel ran each op, why not a faster one, and the lists of kernels that
// ops choose from.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "intarsia/core/status.h"

namespace intarsia {

// What `--explain` prints. One thread writes it.
class KernelReport {
 public:
  struct Refusal {
    std::string kernel, reason;
  };
  // `require_fast`: an op that has a tuned kernel for the device and can't run
  // it throws EngineError with the reasons.
  explicit KernelReport(bool require_fast = false)
      : require_fast_(require_fast) {}

  // `slow`: tuned kernels refused, and the one that takes everything ran.
  void Note(const std::string& op, const std::string& kernel,
            const std::vector<Refusal>& refused = {}, bool slow = false);
  // "attention: sm90_paged_decode (30 times)" a line, with the refusals under
  // it; sorted by op.
  std::string ToString() const;

 private:
  struct Entry {
    int64_t times = 0;
    std::vector<Refusal> refused;  // of the last time
  };
  bool require_fast_;
  std::map<std::pair<std::string, std::string>, Entry> entries_;
};

struct Context;

// One way to compute an op, in a list from the fastest to the one that takes
// everything.
template <typename Args>
struct Kernel {
  const char* name;
  Status (*supports)(const Args& args);  // the message says what is in the way
  void (*run)(Context& ctx, Args& args);
};

// Runs the first kernel of the list that takes `args`; the last takes all.
// `report` may be null.
template <typename Args, size_t N>
void RunFirst(Context& ctx, KernelReport* report, const char* op,
              const Kernel<Args> (&kernels)[N], Args& args) {
  std::vector<KernelReport::Refusal> refused;
  for (const Kernel<Args>& kernel : kernels) {
    const Status status = kernel.supports(args);
    if (!status.ok()) {
      if (report != nullptr) refused.push_back({kernel.name, status.message()});
      continue;
    }
    if (report != nullptr) {
      const bool last = &kernel == &kernels[N - 1];
      report->Note(op, kernel.name, refused, last && N > 1);
    }
    return kernel.run(ctx, args);
  }
}

}  // namespace intarsia
