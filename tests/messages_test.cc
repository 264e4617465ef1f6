// What the program says of files and flags that it cannot take: the fault by
// its name, whose it is, and what to do.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>

#include "tests/program.h"
#include "tests/small_models.h"

namespace intarsia {
namespace {

class MessagesTest : public testing::Test {
 protected:
  MessagesTest() : model_(SmallConfig("llama")) { model_.Write(folder_ / "m"); }

  // `verb` fails, and what it says has each of `parts`.
  void ExpectSays(const std::string& verb,
                  const std::vector<std::string>& parts, int code = 1) {
    const Outcome outcome = Invoke(verb);
    EXPECT_EQ(outcome.code, code) << verb << outcome.err;
    for (const std::string& part : parts) {
      EXPECT_NE(outcome.err.find(part), std::string::npos)
          << verb << ": " << outcome.err << " lacks " << part;
    }
  }
  std::string Generate() const {
    return "generate " + (folder_ / "m") + " --prompt abc -n 1";
  }

  TempFolder folder_;
  SmallModel model_;
};

TEST_F(MessagesTest, AFifoIsNoRegularFile) {
  const std::string path = folder_ / "m/model.safetensors";
  std::filesystem::remove(path);
  ASSERT_EQ(mkfifo(path.c_str(), 0600), 0);
  ExpectSays(Generate(), {path + ": is a FIFO, not a regular file"});
}

TEST_F(MessagesTest, AnAdapterNamesItsModel) {
  std::filesystem::create_directories(folder_ / "a");
  WriteFile(folder_ / "a/adapter_config.json",
            R"({"peft_type": "LORA",
                "base_model_name_or_path": "acme/Base-1B"})");
  WriteFile(folder_ / "a/adapter_model.safetensors", "");
  const std::vector<std::string> parts = {"holds a PEFT adapter (LORA)",
                                          "acme/Base-1B", "merge_and_unload"};
  ExpectSays("info " + (folder_ / "a"), parts);
  // Some lay the configuration of the model beside it.
  WriteFile(folder_ / "a/config.json", model_.config.dump());
  ExpectSays("info " + (folder_ / "a"), parts);
}

TEST_F(MessagesTest, QuantisersByAnyForm) {
  model_.config["quantization_config"] = "awq";
  model_.Write(folder_ / "m");
  ExpectSays(Generate(), {"quantised by AWQ", "\"quantization_config\""});
  model_.config["quantization_config"] = {{"quant_method", "fp8"},
                                          {"weight_block_size", {64, 64}}};
  model_.Write(folder_ / "m");
  ExpectSays(Generate(), {"quantised by FP8", "weight_block_size [64,64]",
                          "blocks of 128 x 128 alone"});
}

TEST_F(MessagesTest, FilesThatAreNotWhatAFlagTakes) {
  const std::string text = folder_ / "README.md";
  WriteFile(text, "# About\n");
  ExpectSays(Generate() + " --load-state " + text,
             {"[engine] " + text + ": is not a saved state"});
  WriteFile(folder_ / "text", std::string(200, 'a'));
  ExpectSays("perplexity " + (folder_ / "m") + " --ctx 32 --text " +
                 (folder_ / "text") + " --reference " + text,
             {text + ": is not a recording of `perplexity --record`"});
  ExpectSays("verify " + (folder_ / "m") + " --reference " + text,
             {"[verify] " + text + ": is not a file of recorded logits"});
  ExpectSays("verify " + (folder_ / "m") + " --reference " + (folder_ / "m"),
             {"is a folder, not a file of recorded logits"});
}

TEST_F(MessagesTest, OutputsThatAreTheModelNameTheVerb) {
  const std::string weights = folder_ / "m/model.safetensors";
  ExpectSays(Generate() + " --save-state " + weights,
             {"[generate] " + weights + " is the model itself"});
  WriteFile(folder_ / "text", std::string(200, 'a'));
  ExpectSays("perplexity " + (folder_ / "m") + " --ctx 32 --text " +
                 (folder_ / "text") + " --record " + weights,
             {"[perplexity] " + weights + " is the model itself"});
}

TEST_F(MessagesTest, SizesNameTheirFlag) {
  for (const char* size : {"x", "0", "1T", "1e30"}) {
    ExpectSays("convert " + (folder_ / "m") + " " + (folder_ / "c.gguf") +
                   " --split-max-size " + size,
               {"--split-max-size: '" + std::string(size) + "' is not a size",
                "500M"});
  }
  ExpectSays("convert " + (folder_ / "m") + " " + (folder_ / "hf") +
                 " --to hf --max-shard-size 1X",
             {"--max-shard-size: '1X'"});
}

TEST_F(MessagesTest, BenchTakesOneModel) {
  ExpectSays("bench " + (folder_ / "m") + " another",
             {"the word kernels before 'another'"}, 2);
}

TEST_F(MessagesTest, NormsAreNamedByTheirPlace) {
  const auto refuse = [&](const std::string& text, const std::string& name) {
    std::filesystem::create_directories(folder_ / "n");
    WriteFile(folder_ / "n/model.safetensors",
              std::string("\x02\0\0\0\0\0\0\0{}", 10));
    WriteFile(folder_ / "n/intarsia.json", text);
    ExpectSays("info " + (folder_ / "n"), {"\"" + name + "\""});
  };
  refuse(R"({"intarsia": 1, "vocab_size": 10, "dim": 8,
             "final_norm": {"eps": 2},
             "blocks": [{"sublayers": [{"mixer": "glu",
                                        "config": {"hidden": 8}}]}]})",
         "final_norm.eps");
  refuse(R"({"intarsia": 1, "vocab_size": 10, "dim": 8,
             "blocks": [{"sublayers": [{"mixer": "glu", "norm": {"eps": 2},
                                        "config": {"hidden": 8}}]}]})",
         "blocks[0].sublayers[0].norm.eps");
  refuse(R"({"intarsia": 1, "vocab_size": 10, "dim": 8,
             "blocks": [{"sublayers": [{"mixer": "attention",
               "config": {"heads": 2, "qk_norm": {"eps": 2}}}]}]})",
         "qk_norm.eps");
}

}  // namespace
}  // namespace intarsia
