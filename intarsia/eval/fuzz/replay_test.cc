#include "intarsia/core/fuzz/replay.h"

#include "intarsia/eval/fuzz/targets.h"

namespace intarsia {
namespace {

TEST(FuzzReplay, RecordedLogits) {
  ReplayFuzzCorpus("intarsia/eval/fuzz/corpus/recorded_logits",
                   FuzzRecordedLogits, "0123456789\"{}[],:\\", 500);
}

}  // namespace
}  // namespace intarsia
