// Replays the corpora of a folder's targets.def, which CMake names.
#include "intarsia/core/fuzz/replay.h"

namespace intarsia {

#define FUZZER(corpus, target, letters, edits) \
  bool target(std::string_view input);
#include INTARSIA_FUZZ_TARGETS
#undef FUZZER

namespace {

#define FUZZER(corpus, target, letters, edits)                              \
  TEST(FuzzReplay, target) {                                                \
    ReplayFuzzCorpus(INTARSIA_FUZZ_CORPUS #corpus, target, letters, edits); \
  }
#include INTARSIA_FUZZ_TARGETS
#undef FUZZER

}  // namespace
}  // namespace intarsia
