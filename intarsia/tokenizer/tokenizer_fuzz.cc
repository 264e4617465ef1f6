// Reads any bytes as a tokenizer.json. One that is accepted must encode and
// decode, and a stream must give what Decode gives.
#include <cstdint>
#include <string>

#include "intarsia/core/check.h"
#include "intarsia/tokenizer/tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto tokenizer = intarsia::Tokenizer::FromJson(text);
  if (!tokenizer.ok()) {
    CHECK(tokenizer.status().message().rfind("[tokenizer] ", 0) == 0);
    return 0;
  }
  const intarsia::Tokenizer& t = **tokenizer;
  const std::string_view sample = text.substr(0, 200);
  for (const bool special : {false, true}) {
    const auto ids = t.Encode(sample, {special, special});
    intarsia::Tokenizer::Stream stream(t, special);
    std::string streamed;
    for (const int32_t id : ids) {
      CHECK(special || id < t.vocab_size());
      streamed += stream.Push(id);
    }
    streamed += stream.Finish();
    CHECK(streamed == t.Decode(ids, special));
  }
  return 0;
}
