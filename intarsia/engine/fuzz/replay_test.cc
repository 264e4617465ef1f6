#include "intarsia/core/fuzz/replay.h"

#include "intarsia/engine/fuzz/targets.h"

namespace intarsia {
namespace {

TEST(FuzzReplay, SessionFile) {
  ReplayFuzzCorpus("intarsia/engine/fuzz/corpus/session_file", FuzzSessionFile,
                   "0123456789\"{}[],:\\", 500);
}

}  // namespace
}  // namespace intarsia
