#include "intarsia/core/fuzz/replay.h"

#include "intarsia/convert/fuzz/targets.h"

namespace intarsia {
namespace {

TEST(FuzzReplay, Imatrix) {
  ReplayFuzzCorpus("intarsia/convert/fuzz/corpus/imatrix", FuzzImatrix,
                   "GUF\1\2\3\4\5\6\7\x08\x09");
}

}  // namespace
}  // namespace intarsia
