// What one door of the project reads right, all others do: every recorded model
// goes through `verify`, `generate`, `perplexity`, `bench`, `quantize`,
// `convert` and the C library, as it was published and in each form that
// `convert` writes. Logits are those that another library recorded; tokens and
// perplexities are the same in every form.
#include <filesystem>
#include <map>

#include "intarsia/intarsia.h"
#include "tests/program.h"

namespace intarsia {
namespace {

namespace fs = std::filesystem;

constexpr char kPrompt[] = "abcab";

// Recorded models that GGUF has no place for, and what `convert` says of them.
const std::map<std::string, std::string>& WithoutGguf() {
  static const auto* models = new std::map<std::string, std::string>{
      {"mamba2", "not written as GGUF"},
      {"retnet", "not written as GGUF"},
      {"gemma2", "not written as GGUF"},
      {"phi", "not written as GGUF"},
      {"falcon7b", "not written as GGUF"},
      {"falcon_h1", "not written as GGUF"},
      {"falcon_h1_multipliers", "not written as GGUF"},
      {"granite4_hybrid", "not written as GGUF"},
      {"bloom", "not written as GGUF"},
      {"diffllama", "not written as GGUF"},
      {"apertus", "not written as GGUF"},
      {"cohere2", "not written as GGUF"},
      {"doge", "not written as GGUF"},
      {"zamba2", "not written as GGUF"}};
  return *models;
}

std::vector<std::string> RecordedModels() {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator("tests/golden")) {
    if (fs::exists(entry.path() / "config.json") &&
        fs::exists(entry.path() / "golden.safetensors")) {
      names.push_back(entry.path().filename().string());
    }
  }
  std::sort(names.begin(), names.end());
  return names;
}

// The likeliest tokens after kPrompt, from the C library.
std::vector<int32_t> Continue(const std::string& path) {
  std::vector<int32_t> prompt(64), all;
  size_t count = 0;
  intarsia_model* model = nullptr;
  EXPECT_EQ(intarsia_model_load(path.c_str(), nullptr, &model), INTARSIA_OK)
      << intarsia_last_error();
  if (model == nullptr) return {};
  EXPECT_EQ(intarsia_tokenize(model, kPrompt, sizeof(kPrompt) - 1,
                              INTARSIA_ADD_SPECIAL | INTARSIA_PARSE_SPECIAL,
                              prompt.data(), prompt.size(), &count),
            INTARSIA_OK);
  prompt.resize(count);
  intarsia_session_options session_options;
  intarsia_session_options_init(&session_options, sizeof(session_options));
  session_options.threads = 1;
  intarsia_session* session = nullptr;
  EXPECT_EQ(intarsia_session_create(model, &session_options, &session),
            INTARSIA_OK)
      << intarsia_last_error();
  intarsia_generate_options options;
  intarsia_generate_options_init(&options, sizeof(options));
  options.max_tokens = 6;
  options.temperature = 0;
  options.ignore_eos = 1;
  std::string text;
  EXPECT_EQ(intarsia_generate(
                session, prompt.data(), prompt.size(), &options,
                [](const char* piece, size_t length, void* out) {
                  static_cast<std::string*>(out)->append(piece, length);
                  return 0;
                },
                &text, nullptr, 0),
            INTARSIA_OK)
      << intarsia_last_error();
  std::vector<int32_t> answer(64);
  EXPECT_EQ(intarsia_tokenize(model, text.data(), text.size(), 0, answer.data(),
                              answer.size(), &count),
            INTARSIA_OK);
  answer.resize(count);
  intarsia_session_free(session);
  intarsia_model_free(model);
  return answer;
}

// What the doors say of one form of a model.
struct Said {
  std::vector<int32_t> tokens;
  double perplexity = 0;
};

class InterfacesTest : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    folder_ = testing::TempDir() + "interfaces_" + GetParam();
    fs::remove_all(folder_);
    fs::create_directories(folder_);
    source_ = folder_ + "/model";
    fs::copy("tests/golden/" + GetParam(), source_);
    WriteTokenizer();
    std::ofstream text(folder_ + "/text");
    for (int i = 0; i < 40; ++i) text << "the cat sat " << i << "\n";
  }
  void TearDown() override { fs::remove_all(folder_); }

  // Recorded models have 128 tokens; here these are the bytes of ASCII.
  void WriteTokenizer() {
    Json tokenizer =
        Json::parse(std::ifstream("tests/golden/tiny/tokenizer.json"));
    Json vocabulary = Json::object();
    for (const auto& item : tokenizer["model"]["vocab"].items()) {
      if (item.value() < 128) vocabulary[item.key()] = item.value();
    }
    tokenizer["model"]["vocab"] = vocabulary;
    if (GetParam().starts_with("qwen")) {
      // What every published one has; without it `info` would warn.
      tokenizer["normalizer"] = {{"type", "NFC"}};
      const Json split = {
          {"type", "Split"},
          {"pattern",
           {{"Regex",
             R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|)"
             R"( ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"}}},
          {"behavior", "Isolated"},
          {"invert", false}};
      tokenizer["pre_tokenizer"] = {
          {"type", "Sequence"},
          {"pretokenizers", {split, tokenizer["pre_tokenizer"]}}};
    } else {
      tokenizer["pre_tokenizer"]["use_regex"] = true;
    }
    std::ofstream(source_ + "/tokenizer.json") << tokenizer;
    fs::copy_file("tests/golden/tiny/tokenizer_config.json",
                  source_ + "/tokenizer_config.json");
  }

  Json Run(const std::string& arguments) {
    const Outcome outcome = Invoke(arguments + " --json --threads 1");
    EXPECT_EQ(outcome.code, 0) << arguments << "\n" << outcome.err;
    return outcome.code == 0 ? outcome.json() : Json::object();
  }

  // Every door over one form of the model.
  Said Ask(const std::string& model) {
    SCOPED_TRACE(model);
    Run("verify " + model + " --reference " + source_ + "/golden.safetensors");
    Said said;
    const Json answer =
        Run("generate " + model + " --temperature 0 --ignore-eos -n 6 -p " +
            std::string(kPrompt));
    said.tokens = answer.value("tokens", std::vector<int32_t>());
    EXPECT_EQ(said.tokens.size(), 6u);
    EXPECT_EQ(Continue(model), said.tokens);
    EXPECT_EQ(Run("tokenize " + model + " " + kPrompt)["count"],
              answer.value("prompt_tokens", -1));
    said.perplexity = Run("perplexity " + model + " --text " + folder_ +
                          "/text --ctx 32 --state-dtype f32")
                          .value("perplexity", 0.0);
    EXPECT_GT(said.perplexity, 1.0);
    EXPECT_FALSE(Run("bench " + model + " -p 8 -n 2 -d 0 -r 1").empty());
    EXPECT_EQ(Run("info " + model)["warnings"], Json::array());
    return said;
  }

  void ExpectSame(const std::string& model, const Said& first) {
    const Said said = Ask(model);
    EXPECT_EQ(said.tokens, first.tokens) << model;
    EXPECT_NEAR(said.perplexity, first.perplexity, 1e-4 * first.perplexity)
        << model;
  }

  std::string folder_, source_;
};

TEST_P(InterfacesTest, AllFormsAreOneModel) {
  const Said first = Ask(source_);
  const std::string native = folder_ + "/native", gguf = folder_ + "/m.gguf",
                    back = folder_ + "/back", again = folder_ + "/again.gguf";
  Run("convert " + source_ + " " + native + " --to native");
  ExpectSame(native, first);
  if (const auto lost = WithoutGguf().find(GetParam());
      lost != WithoutGguf().end()) {
    for (const char* verb : {"convert ", "quantize --type Q8_0 "}) {
      const Outcome refused = Invoke(verb + source_ + " " + gguf);
      EXPECT_EQ(refused.code, 1);
      EXPECT_NE(refused.err.find(lost->second), std::string::npos)
          << refused.err;
      EXPECT_FALSE(fs::exists(gguf));
    }
    return;
  }
  Run("convert " + source_ + " " + gguf);
  ExpectSame(gguf, first);
  Run("convert " + gguf + " " + back + " --to hf");
  ExpectSame(back, first);
  Run("convert " + back + " " + again);
  ExpectSame(again, first);
  // Fewer bits are another model, which every door reads alike.
  const std::string small = folder_ + "/q.gguf";
  Run("quantize " + source_ + " " + small + " --type Q8_0");
  const Json answer = Run("generate " + small +
                          " --temperature 0 --ignore-eos -n 6 -p " + kPrompt);
  EXPECT_EQ(Continue(small), answer.value("tokens", std::vector<int32_t>()));
  EXPECT_NEAR(Run("perplexity " + small + " --text " + folder_ +
                  "/text --ctx 32 --state-dtype f32")
                  .value("perplexity", 0.0),
              first.perplexity, 0.1 * first.perplexity);
}

INSTANTIATE_TEST_SUITE_P(Recorded, InterfacesTest,
                         testing::ValuesIn(RecordedModels()),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace intarsia
