#include "intarsia/core/fuzz/replay.h"

#include "intarsia/checkpoint/fuzz/targets.h"

namespace intarsia {
namespace {

const std::string kCorpus = "intarsia/checkpoint/fuzz/corpus/";
constexpr char kJson[] = "0123456789\"{}[],:\\-eNI";

TEST(FuzzReplay, Safetensors) {
  ReplayFuzzCorpus(kCorpus + "safetensors", FuzzSafetensors, kJson);
}

TEST(FuzzReplay, Gguf) {
  ReplayFuzzCorpus(kCorpus + "gguf", FuzzGguf, "GUF\1\2\3\4\5\6\7\x08\x09");
}

TEST(FuzzReplay, ShardIndex) {
  ReplayFuzzCorpus(kCorpus + "shard_index", FuzzShardIndex, kJson);
}

TEST(FuzzReplay, Json) { ReplayFuzzCorpus(kCorpus + "json", FuzzJson, kJson); }

TEST(FuzzReplay, CheckpointFolder) {
  ReplayFuzzCorpus(kCorpus + "checkpoint_folder", FuzzCheckpointFolder, kJson,
                   500);
}

}  // namespace
}  // namespace intarsia
