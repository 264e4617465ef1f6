// What the files beside a model say, in the program and the C library: texts
// that end an answer, and faults, which are named by file.
#include <cctype>
#include <filesystem>

#include "intarsia/intarsia.h"
#include "tests/program.h"

namespace intarsia {
namespace {

namespace fs = std::filesystem;

constexpr char kAsk[] =
    "generate --prompt 'A model is' --temperature 0 --max-tokens 40 ";

class TokenizerFilesTest : public testing::Test {
 protected:
  TokenizerFilesTest() {
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  ~TokenizerFilesTest() override { fs::remove_all(folder_); }

  // A copy of a recorded model.
  std::string Copy(const std::string& name) const {
    const fs::path to = folder_ / name;
    fs::copy(
        fs::path("tests/golden") / name, to,
        fs::copy_options::overwrite_existing | fs::copy_options::recursive);
    return to.string();
  }
  // The recorded Llama has 128 tokens: the bytes of ASCII.
  std::string Llama() const {
    const std::string model = Copy("llama");
    Json tokenizer = Json::parse(ReadAll("tests/golden/tiny/tokenizer.json"));
    Json bytes = Json::object();
    for (const auto& item : tokenizer["model"]["vocab"].items()) {
      if (item.value() < 128) bytes[item.key()] = item.value();
    }
    tokenizer["model"]["vocab"] = bytes;
    Write(model + "/tokenizer.json", tokenizer.dump());
    return model;
  }
  static void Write(const std::string& path, const std::string& text) {
    std::ofstream(path, std::ios::binary) << text;
  }
  std::string In(const std::string& name) const {
    return (folder_ / name).string();
  }

 private:
  const fs::path folder_ = fs::path(testing::TempDir()) / "tokenizer_files";
};

bool IsLetter(char c) { return std::isalnum(static_cast<unsigned char>(c)); }

std::string Text(const std::string& arguments) {
  const Outcome outcome = Invoke(arguments);
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  std::string text = outcome.out;
  if (text.ends_with('\n')) text.pop_back();
  return text;
}

std::string ByLibrary(const std::string& path, bool ignore_end,
                      const char* stop = nullptr) {
  intarsia_model* model = nullptr;
  EXPECT_EQ(intarsia_model_load(path.c_str(), nullptr, &model), INTARSIA_OK)
      << intarsia_last_error();
  if (model == nullptr) return {};
  const std::string prompt = "A model is";
  int32_t ids[64];
  size_t count = 0;
  EXPECT_EQ(intarsia_tokenize(model, prompt.data(), prompt.size(),
                              INTARSIA_ADD_SPECIAL | INTARSIA_PARSE_SPECIAL,
                              ids, 64, &count),
            INTARSIA_OK);
  intarsia_session* session = nullptr;
  EXPECT_EQ(intarsia_session_create(model, nullptr, &session), INTARSIA_OK);
  intarsia_generate_options options;
  intarsia_generate_options_init(&options, sizeof(options));
  options.max_tokens = 40;
  options.temperature = 0;
  options.ignore_eos = ignore_end ? 1 : 0;
  options.stops = &stop;
  options.stop_count = stop == nullptr ? 0 : 1;
  std::string text;
  EXPECT_EQ(intarsia_generate(
                session, ids, count, &options,
                [](const char* piece, size_t length, void* out) {
                  static_cast<std::string*>(out)->append(piece, length);
                  return 0;
                },
                &text, nullptr, 0),
            INTARSIA_OK)
      << intarsia_last_error();
  intarsia_session_free(session);
  intarsia_model_free(model);
  return text;
}

// As in transformers, texts that a caller gives take their place.
TEST_F(TokenizerFilesTest, StopStringsOfTheModelEndAnAnswer) {
  const std::string model = Copy("tiny");
  const std::string whole = Text(kAsk + model);
  ASSERT_GT(whole.size(), 20u);
  const std::string stop = whole.substr(10, 4);
  const std::string cut = whole.substr(0, whole.find(stop));
  ASSERT_EQ(ByLibrary(model, false), whole);
  const std::string chat = " chat --temperature 0 --max-tokens 30 " + model;
  const std::string said = Invoke(chat, "printf 'A model is\\n' |").out;
  Write(model + "/generation_config.json",
        Json{{"stop_strings", {"never said", stop}}}.dump());
  EXPECT_EQ(Text(kAsk + model), cut);
  EXPECT_EQ(Invoke(kAsk + model + " --json").json()["finish"], "stop");
  EXPECT_EQ(Text(kAsk + model + " --stop zzzz"), whole);
  EXPECT_EQ(Text(kAsk + model + " --ignore-eos"), whole);
  EXPECT_EQ(ByLibrary(model, false), cut);
  EXPECT_EQ(ByLibrary(model, false, "zzzz"), whole);
  EXPECT_EQ(ByLibrary(model, true), whole);
  // In a chat: what is said ends where the model's own text stands.
  const std::string word = said.substr(said.size() / 2, 3);
  Write(model + "/generation_config.json", Json{{"stop_strings", word}}.dump());
  const std::string ended = Invoke(chat, "printf 'A model is\\n' |").out;
  EXPECT_NE(ended, said);
  Write(model + "/generation_config.json", "{}");
  EXPECT_EQ(
      ended,
      Invoke(chat + " --stop '" + word + "'", "printf 'A model is\\n' |").out);
}

TEST_F(TokenizerFilesTest, StopStringsGoThroughGguf) {
  const std::string model = Llama();
  const std::string whole = Text(kAsk + model);
  size_t at = 3;  // a piece of plain text, for the JSON
  while (at + 2 < whole.size() &&
         !(IsLetter(whole[at]) && IsLetter(whole[at + 1]))) {
    ++at;
  }
  const std::string stop = whole.substr(at, 2);
  Write(model + "/generation_config.json",
        Json{{"stop_strings", {stop}}}.dump());
  const std::string cut = Text(kAsk + model);
  ASSERT_LT(cut.size(), whole.size());
  const Outcome converted =
      Invoke("convert " + model + " " + In("m.gguf") + " --to gguf");
  ASSERT_EQ(converted.code, 0) << converted.err;
  EXPECT_EQ(Text(kAsk + In("m.gguf")), cut);
  ASSERT_EQ(
      Invoke("convert " + In("m.gguf") + " " + In("hf") + " --to hf").code, 0);
  EXPECT_EQ(Text(kAsk + In("hf")), cut);
}

TEST_F(TokenizerFilesTest, AGenerationConfigThatIsAPointerIsNamed) {
  const std::string model = Copy("tiny");
  Write(model + "/generation_config.json",
        "version https://git-lfs.github.com/spec/v1\noid sha256:" +
            std::string(64, 'a') + "\nsize 161\n");
  const Outcome outcome = Invoke(kAsk + model);
  EXPECT_EQ(outcome.code, 1);
  EXPECT_NE(outcome.err.find("generation_config.json: is a Git LFS pointer"),
            std::string::npos)
      << outcome.err;
}

TEST_F(TokenizerFilesTest, ATemplateThatFailsIsNamedByItsFile) {
  const std::string model = Copy("tiny");
  const std::string verbs[] = {"generate --chat --prompt a " + model,
                               "tokenize --chat --prompt a " + model,
                               "chat " + model + " </dev/null"};
  const auto expect_named = [&](const std::string& file) {
    for (const std::string& verb : verbs) {
      const Outcome outcome = Invoke(verb);
      EXPECT_EQ(outcome.code, 1) << verb;
      EXPECT_NE(outcome.err.find(model + "/" + file + ": "), std::string::npos)
          << verb << ": " << outcome.err;
    }
  };
  Write(model + "/chat_template.jinja", "{{ messages | nosuch }}");
  expect_named("chat_template.jinja");
  fs::remove(model + "/chat_template.jinja");
  Json config = Json::parse(ReadAll(model + "/tokenizer_config.json"));
  config["chat_template"] = "{% raise %}";
  Write(model + "/tokenizer_config.json", config.dump());
  expect_named("tokenizer_config.json");
}

// What nobody can read is no model's tokenizer: it does not go along unsaid.
TEST_F(TokenizerFilesTest, ABrokenTokenizerIsALoss) {
  const std::string model = Llama();
  Write(model + "/tokenizer.json", R"({"model": {"type": "BPE")");
  for (const std::string& verb :
       {std::string("convert "), std::string("quantize --to q8_0 ")}) {
    const std::string out = In("out.gguf");
    const Outcome refused = Invoke(verb + model + " " + out);
    EXPECT_EQ(refused.code, 1) << verb;
    EXPECT_NE(refused.err.find("/tokenizer.json: "), std::string::npos)
        << refused.err;
    EXPECT_NE(refused.err.find("--allow-loss"), std::string::npos)
        << refused.err;
    EXPECT_FALSE(fs::exists(out));
    EXPECT_EQ(Invoke(verb + model + " " + out + " --allow-loss").code, 0);
    EXPECT_TRUE(fs::exists(out));
    fs::remove(out);
  }
}

}  // namespace
}  // namespace intarsia
