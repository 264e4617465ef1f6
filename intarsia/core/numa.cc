#include "intarsia/core/numa.h"

#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace intarsia {
namespace {

// Of linux/mempolicy.h, which needs the kernel's headers.
constexpr int kInterleave = 3;

// Whether one of the ranges of "0-3,8" holds a processor of the set.
bool Meets(const std::string& list, const cpu_set_t& set) {
  std::istringstream ranges(list);
  for (std::string range; std::getline(ranges, range, ',');) {
    int first = 0, last = 0;
    char dash = 0;
    std::istringstream numbers(range);
    if (!(numbers >> first)) continue;
    if (!(numbers >> dash >> last)) last = first;
    for (int i = std::max(first, 0); i <= std::min(last, CPU_SETSIZE - 1);
         ++i) {
      if (CPU_ISSET(i, &set)) return true;
    }
  }
  return false;
}

}  // namespace

std::vector<int> UsableMemoryNodes(const std::string& root) {
  std::vector<int> nodes;
  cpu_set_t usable;
  if (sched_getaffinity(0, sizeof(usable), &usable) != 0) return nodes;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(root, error)) {
    int node = 0;
    std::istringstream name(entry.path().filename().string());
    if (!name.ignore(4) || !(name >> node)) continue;  // "node7"
    std::string list;
    if (std::getline(std::ifstream(entry.path() / "cpulist"), list) &&
        Meets(list, usable)) {
      nodes.push_back(node);
    }
  }
  std::ranges::sort(nodes);
  return nodes;
}

bool SpreadOverNodes(void* block, size_t bytes, std::span<const int> nodes) {
#ifdef SYS_mbind
  constexpr int kBits = CHAR_BIT * sizeof(unsigned long);
  unsigned long mask[1024 / kBits] = {};
  for (const int node : nodes) {
    if (node >= 0 && node < 1024) mask[node / kBits] |= 1UL << node % kBits;
  }
  return syscall(SYS_mbind, block, bytes, kInterleave, mask, 1024UL, 0U) == 0;
#else
  (void)block, (void)bytes, (void)nodes;
  return false;
#endif
}

}  // namespace intarsia
