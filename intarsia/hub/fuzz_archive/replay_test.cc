#include "intarsia/core/fuzz/replay.h"

#include "intarsia/hub/fuzz_archive/targets.h"

namespace intarsia {
namespace {

const std::string kCorpus = "intarsia/hub/fuzz_archive/corpus/";

TEST(FuzzReplay, Zip) {
  ReplayFuzzCorpus(kCorpus + "zip", FuzzZip, "PK\1\2\3\4\5\6\x08\xff");
}

TEST(FuzzReplay, PackageIndex) {
  ReplayFuzzCorpus(kCorpus + "package_index", FuzzPackageIndex,
                   "<>/=\"'#&-.{}[]:0123456789");
}

TEST(FuzzReplay, PipConfig) {
  ReplayFuzzCorpus(kCorpus + "pip_config", FuzzPipConfig, "[]=:#; \n\t-_");
}

}  // namespace
}  // namespace intarsia
