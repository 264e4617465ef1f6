// The fixture of tests that pull from a hub of their own.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <string>

#include "intarsia/checkpoint/test_files.h"
#include "intarsia/hub/model_cache.h"
#include "intarsia/hub/pull.h"
#include "intarsia/hub/test_hub_server.h"

namespace intarsia {

inline constexpr char kBig[] = "Tiny-Q8_0.gguf";
inline constexpr char kHub[] = "hf:acme/Tiny-GGUF";

class HubPullTest : public ::testing::Test {
 protected:
  HubPullTest() {
    ::setenv("no_proxy", "127.0.0.1", 1);
    server_.large_files = {{kBig, Noise(200'000, 1)},
                           {"Tiny-Q4_K_M.gguf", Noise(90'000, 2)}};
    server_.small_files = {{"README.md", "A model."}};
  }

  static constexpr char kIndexText[] =
      "{\"weight_map\": {\"a\": \"model-00001-of-00002.safetensors\","
      "\"b\": \"model-00002-of-00002.safetensors\"}}";

  // Weights in two shards, configuration and tokenizer.
  void UseSafetensors() {
    server_.large_files = {
        {"model-00001-of-00002.safetensors", Noise(120'000, 3)},
        {"model-00002-of-00002.safetensors", Noise(100'000, 4)},
        {"tokenizer.json", Noise(50'000, 5)}};
    server_.small_files = {{"config.json", "{}"},
                           {"model.safetensors.index.json", kIndexText},
                           {"README.md", "A model."},
                           {"pytorch_model.bin", "pickled"}};
  }

  PullOptions Options(int attempts = 1) {
    PullOptions options;
    options.cache = folder_.path();
    options.hub = HubSettings{.endpoint = server_.url()};
    options.hub->access.token = token_;
    options.hub->access.stall_seconds = stall_seconds_;
    options.retry = {.attempts = attempts, .delay_ms = 1, .max_delay_ms = 5000};
    options.progress = [this](const PullProgress& p) {
      EXPECT_LE(p.done, p.total);
      progress_ = p;
    };
    return options;
  }
  Result<PulledModel> Run(const std::string& name = "hf:acme/Tiny-GGUF:Q8_0",
                          int attempts = 1) {
    return Pull(name, Options(attempts));
  }
  std::string Failure(const std::string& name = "hf:acme/Tiny-GGUF:Q8_0",
                      int attempts = 1) {
    const auto pulled = Run(name, attempts);
    EXPECT_FALSE(pulled.ok());
    return pulled.ok() ? "" : pulled.status().message();
  }
  // Nothing has the model's name, and nothing is in its folder.
  void ExpectNothing() {
    EXPECT_THAT(ListCache(folder_.path()), ::testing::IsEmpty());
    EXPECT_FALSE(ResolveModel(kHub, folder_.path()).ok());
  }
  void ExpectPulled(const std::string& name = "hf:acme/Tiny-GGUF:Q8_0",
                    const std::string& file = kBig, int attempts = 1) {
    const auto pulled = Run(name, attempts);
    ASSERT_TRUE(pulled.ok()) << pulled.status().message();
    EXPECT_EQ(ReadFile(pulled->path), server_.large_files[file]);
    EXPECT_EQ(*ResolveModel(name, folder_.path()), pulled->path);
    EXPECT_FALSE(std::filesystem::exists(folder_ / "hub/acme/Tiny-GGUF/parts"));
  }
  // After the fault is over, a pull works.
  void ExpectLaterPull() {
    ExpectNothing();
    server_.faults.clear();
    server_.hub_faults.clear();
    ExpectPulled();
  }
  std::string Part() {
    return folder_ / ("hub/acme/Tiny-GGUF/parts/sha256-" +
                      Sha256Hex(BytesOf(server_.large_files[kBig])));
  }

  TempFolder folder_;
  std::string token_;
  int stall_seconds_ = 60;
  PullProgress progress_;
  TestHubServer server_;
};

}  // namespace intarsia
