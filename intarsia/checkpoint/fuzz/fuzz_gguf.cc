#include "intarsia/checkpoint/fuzz/targets.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  intarsia::FuzzGguf({reinterpret_cast<const std::byte*>(data), size});
  return 0;
}
