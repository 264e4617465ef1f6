// Reads any bytes as a tokenizer.model; see targets.h.
#include "intarsia/tokenizer/fuzz/targets.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  intarsia::FuzzSentencePiece({reinterpret_cast<const char*>(data), size});
  return 0;
}
