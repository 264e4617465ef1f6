#include "intarsia/core/numa.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace intarsia {
namespace {

namespace fs = std::filesystem;

class NumaTest : public testing::Test {
 protected:
  NumaTest() : root_(fs::path(testing::TempDir()) / "numa_test") {
    fs::remove_all(root_);
  }
  void Node(const std::string& name, const std::string& cpus) {
    fs::create_directories(root_ / name);
    std::ofstream(root_ / name / "cpulist") << cpus << "\n";
  }
  std::vector<int> Nodes() const { return UsableMemoryNodes(root_.string()); }
  fs::path root_;
};

// A processor that this process may use.
int AProcessor() {
  cpu_set_t set;
  EXPECT_EQ(sched_getaffinity(0, sizeof(set), &set), 0);
  for (int i = 0; i < CPU_SETSIZE; ++i) {
    if (CPU_ISSET(i, &set)) return i;
  }
  return -1;
}

TEST_F(NumaTest, NodesOfUsableProcessors) {
  EXPECT_TRUE(Nodes().empty());  // no such folder
  const std::string mine = std::to_string(AProcessor());
  Node("node10", "1021-1022," + mine);
  Node("node2", "0-" + mine);
  Node("node3", "1020-1023");       // not ours
  Node("node4", "");                // memory alone
  Node("power", mine);              // no node
  Node("node5", "x,7-3,9999999-");  // nonsense
  EXPECT_EQ(Nodes(), (std::vector<int>{2, 10}));
}

TEST_F(NumaTest, PagesAreSpread) {
  const size_t bytes = 64 * static_cast<size_t>(sysconf(_SC_PAGESIZE));
  void* block = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(block, MAP_FAILED);
  const std::vector<int> nodes = {0};
  const bool spread = SpreadOverNodes(block, bytes, nodes);
#ifdef SYS_get_mempolicy
  constexpr unsigned long kOfAddress = 2;
  int mode = -1;
  // A container may allow neither question nor wish.
  if (syscall(SYS_get_mempolicy, &mode, nullptr, 0UL, block, kOfAddress) == 0) {
    EXPECT_EQ(mode, spread ? 3 : 0);
  } else {
    EXPECT_FALSE(spread);
  }
#else
  EXPECT_FALSE(spread);
#endif
  munmap(block, bytes);
}

}  // namespace
}  // namespace intarsia
