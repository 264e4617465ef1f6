#include "intarsia/core/fuzz/replay.h"

#include "intarsia/families/fuzz/sound_configs.h"
#include "intarsia/families/fuzz/targets.h"

namespace intarsia {
namespace {

const std::string kCorpus = "intarsia/families/fuzz/corpus/";
constexpr char kJson[] = "0123456789\"{}[],:\\-eNI";

TEST(FuzzReplay, SoundConfigsAreAccepted) {
  for (const char* config : kSoundConfigs) {
    EXPECT_TRUE(FuzzModelConfig(config)) << config;
  }
  for (size_t i = 0; i < std::size(kSoundConfigs); ++i) {
    EXPECT_TRUE(FuzzModelConfig(std::string(1, static_cast<char>(i)))) << i;
  }
}

TEST(FuzzReplay, ModelConfig) {
  ReplayFuzzCorpus(kCorpus + "model_config", FuzzModelConfig, kJson);
}

TEST(FuzzReplay, GgufModel) {
  ReplayFuzzCorpus(kCorpus + "gguf_model", FuzzGgufModel,
                   "GUF\1\2\3\4\5\6\7\x08\x09", 500);
}

TEST(FuzzReplay, ModelFolder) {
  ReplayFuzzCorpus(kCorpus + "model_folder", FuzzModelFolder, kJson, 500);
}

}  // namespace
}  // namespace intarsia
