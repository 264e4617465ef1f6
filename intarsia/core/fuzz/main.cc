// libFuzzer's entry for one target: cmake defines INTARSIA_FUZZ_TARGET.
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace intarsia {
bool INTARSIA_FUZZ_TARGET(std::string_view input);
}  // namespace intarsia

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  intarsia::INTARSIA_FUZZ_TARGET({reinterpret_cast<const char*>(data), size});
  return 0;
}
