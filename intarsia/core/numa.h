// Memory nodes (NUMA): on machines with several, a page is near some processors
// and far from others.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

namespace intarsia {

// The nodes of the processors that this process may use, ascending; empty where
// the system has no such files. `root` is for tests.
std::vector<int> UsableMemoryNodes(
    const std::string& root = "/sys/devices/system/node");

// Asks that the pages of a block that nothing has touched yet come from all
// `nodes` in turn: tasks go to whichever thread is free, so no node is the near
// one, and the memory of all serves at once. The block begins at a page. False:
// the system refused, and pages come from wherever they are touched first.
bool SpreadOverNodes(void* block, size_t bytes, std::span<const int> nodes);

}  // namespace intarsia
