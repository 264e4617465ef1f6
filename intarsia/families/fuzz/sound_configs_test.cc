#include "intarsia/families/fuzz/sound_configs.h"

#include <gtest/gtest.h>

#include <iterator>
#include <string>
#include <string_view>

namespace intarsia {

bool FuzzModelConfig(std::string_view input);  // targets.def

namespace {

TEST(FuzzReplay, SoundConfigsAreAccepted) {
  for (const char* config : kSoundConfigs) {
    EXPECT_TRUE(FuzzModelConfig(config)) << config;
  }
  for (size_t i = 0; i < std::size(kSoundConfigs); ++i) {
    EXPECT_TRUE(FuzzModelConfig(std::string(1, static_cast<char>(i)))) << i;
  }
}

}  // namespace
}  // namespace intarsia
