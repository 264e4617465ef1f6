#include "intarsia/core/lazy_memory.h"

#include <sys/mman.h>

#include <vector>

#include "intarsia/core/numa.h"

namespace intarsia {

std::shared_ptr<Storage> LazyZeros(size_t bytes) {
  constexpr size_t kLargePage = size_t{2} << 20;
  // One page more, so that large pages begin where the tensor does.
  const size_t mapped = (bytes / kLargePage + 2) * kLargePage;
  if (mapped < bytes) return nullptr;
  void* const block = mmap(nullptr, mapped, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (block == MAP_FAILED) return nullptr;
  const std::shared_ptr<const void> owner(
      block, [mapped](const void* p) { munmap(const_cast<void*>(p), mapped); });
  const auto address = reinterpret_cast<uintptr_t>(block);
  const uintptr_t begin = (address + kLargePage - 1) / kLargePage * kLargePage;
#if defined(MADV_HUGEPAGE)
  // Not the first: short sequences take what they need and no more.
  if (bytes > kLargePage) {
    madvise(reinterpret_cast<void*>(begin + kLargePage), bytes - kLargePage,
            MADV_HUGEPAGE);
  }
#endif
  static const std::vector<int> nodes = UsableMemoryNodes();
  if (nodes.size() > 1) {
    SpreadOverNodes(reinterpret_cast<void*>(begin), bytes, nodes);
  }
  return Storage::Borrow(reinterpret_cast<const void*>(begin), bytes, owner);
}

}  // namespace intarsia
