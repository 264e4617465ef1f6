// What lies beside the weights comes along by every way: templates, ends,
// tokenizers; nothing runs code of others; stale copies do not count.
#include "intarsia/convert/model_files.h"

#include <nlohmann/json.hpp>

#include <gtest/gtest.h>

#include <fstream>

#include "intarsia/convert/test_convert.h"
#include "intarsia/engine/answer.h"
#include "intarsia/families/gguf_tokenizer.h"
#include "intarsia/families/load.h"
#include "intarsia/tokenizer/json_components.h"

namespace intarsia {
namespace {

using Json = nlohmann::json;

Json Added(int id, const char* text, bool special = true) {
  return {{"id", id},          {"content", text}, {"single_word", false},
          {"lstrip", false},   {"rstrip", false}, {"normalized", false},
          {"special", special}};
}

// Byte-level, every byte a token; three special tokens behind.
Json SmallTokenizer() {
  Json vocab = Json::object();
  int next = 0;
  for (const char c : std::string("abcdefghijklmnopqrstuvwxyz0123456789.,!?<>|/"
                                  "ABCDEFGHIJKLMNOPQRSTUVWXYZ_")) {
    vocab[std::string(1, c)] = next++;
  }
  vocab["\u0120"] = next++;  // a space
  vocab["\u010A"] = next++;  // a line's end
  vocab["ab"] = next++;
  vocab["abc"] = next++;
  vocab["to"] = next++;
  return {{"version", "1.0"},
          {"truncation", nullptr},
          {"padding", nullptr},
          {"added_tokens",
           {Added(next, "<s>"), Added(next + 1, "</s>"),
            Added(next + 2, "<|turn|>"), Added(next + 3, "tool", false),
            Added(next + 4, "<|tail|>")}},
          {"normalizer", nullptr},
          {"pre_tokenizer",
           {{"type", "ByteLevel"},
            {"add_prefix_space", false},
            {"trim_offsets", true},
            {"use_regex", true}}},
          {"post_processor", nullptr},
          {"decoder", {{"type", "ByteLevel"}}},
          {"model",
           {{"type", "BPE"},
            {"vocab", vocab},
            {"merges", {"a b", "ab c", "t o"}}}}};
}

constexpr int kBos = 76, kEos = 77, kTurn = 78, kTool = 79, kTail = 80;

class FilesTest : public testing::Test {
 protected:
  void Write(const Json& tokenizer, const Json& tokenizer_config,
             const Json& extra = Json::object()) {
    Json config = SmallConfig("llama");
    config["vocab_size"] = 82;
    config.update(extra);
    WriteHf(source(), config);
    File("tokenizer.json", tokenizer.dump());
    File("tokenizer_config.json", tokenizer_config.dump());
  }
  void File(const std::string& name, const std::string& text) {
    const std::filesystem::path path = std::filesystem::path(source()) / name;
    std::filesystem::create_directories(path.parent_path());
    WriteFile(path.string(), text);
  }
  std::string source() { return folder_ / "source"; }
  std::vector<std::string> Ways() { return AllWays(source(), folder_); }

  TempFolder folder_;
};

Json PlainConfig() { return {{"bos_token", "<s>"}, {"eos_token", "</s>"}}; }

TEST_F(FilesTest, TemplatesGoAlongFromEveryPlace) {
  struct Place {
    const char* name;
    Json config;  // of the tokenizer's configuration
    std::map<std::string, std::string> files;
    std::map<std::string, std::string, std::less<>> templates;
  };
  const Json list = {{{"name", "default"}, {"template", "D"}},
                     {{"name", "tool_use"}, {"template", "T"}}};
  const Place places[] = {
      {"text", "C", {}, {{"default", "C"}}},
      {"list", list, {}, {{"default", "D"}, {"tool_use", "T"}}},
      {"jinja", nullptr, {{"chat_template.jinja", "J"}}, {{"default", "J"}}},
      {"jinja and text",
       "C",
       {{"chat_template.jinja", "J"}},
       {{"default", "J"}}},
      {"folder",
       nullptr,
       {{"chat_template.jinja", "J"},
        {"additional_chat_templates/rag.jinja", "R"}},
       {{"default", "J"}, {"rag", "R"}}},
      {"json",
       nullptr,
       {{"chat_template.json", R"({"chat_template": "S"})"}},
       {{"default", "S"}}},
      {"json and text",
       "C",
       {{"chat_template.json", R"({"chat_template": "S"})"}},
       {{"default", "C"}}}};
  for (const Place& place : places) {
    SCOPED_TRACE(place.name);
    std::filesystem::remove_all(source());
    Json config = PlainConfig();
    if (!place.config.is_null()) config["chat_template"] = place.config;
    Write(SmallTokenizer(), config);
    for (const auto& [name, text] : place.files) File(name, text);
    for (const std::string& way : Ways()) {
      const auto tokenizer = TokenizerOf(way);
      ASSERT_NE(tokenizer, nullptr);
      EXPECT_EQ(tokenizer->chat_templates(), place.templates) << way;
    }
    for (const std::string& way : Ways()) std::filesystem::remove_all(way);
  }
}

std::vector<int32_t> EndsOf(const std::string& path) {
  const auto opened = OpenModel(path);
  EXPECT_TRUE(opened.ok()) << opened.status().message();
  if (!opened.ok()) return {};
  return StopIds(opened->model().config(), *opened->tokenizer);
}

TEST_F(FilesTest, AllEndsGoAlong) {
  struct Case {
    Json config, generation;
    std::vector<int32_t> ends;
  };
  const Case cases[] = {
      {3, nullptr, {3, kEos}},
      {{3, 5, 6, 7}, nullptr, {3, 5, 6, 7, kEos}},
      {kEos, {{"eos_token_id", {4, kTurn}}}, {4, kEos, kTurn}},
      {nullptr, {{"eos_token_id", 9}}, {9, kEos}}};
  for (const Case& c : cases) {
    std::filesystem::remove_all(source());
    Json extra = Json::object();
    if (!c.config.is_null()) extra["eos_token_id"] = c.config;
    Write(SmallTokenizer(), PlainConfig(), extra);
    if (!c.generation.is_null()) {
      File("generation_config.json", c.generation.dump());
    }
    for (const std::string& way : Ways()) {
      EXPECT_EQ(EndsOf(way), c.ends) << way;
      std::filesystem::remove_all(way);
    }
  }
}

// The tokenizer's eos apart, GGUF's own keys name two more, for programs that
// know no list.
TEST_F(FilesTest, GgufNamesTheEndsItHasPlacesFor) {
  Write(SmallTokenizer(), PlainConfig(),
        {{"eos_token_id", {kEos, kTurn, kTail, 3}}});
  ToGguf(source(), folder_ / "m.gguf");
  const auto checkpoint = OpenPath(folder_ / "m.gguf");
  const GgufMetadata& metadata = *checkpoint->gguf();
  EXPECT_EQ(*metadata.Int("tokenizer.ggml.eos_token_id"), kEos);
  EXPECT_EQ(*metadata.Int("tokenizer.ggml.eot_token_id"), 3);
  EXPECT_EQ(*metadata.Int("tokenizer.ggml.eom_token_id"), kTurn);
  EXPECT_EQ(*metadata.Ints(kEndIds),
            (std::vector<int64_t>{kEos, 3, kTurn, kTail}));
}

TEST_F(FilesTest, SamplingGoesAlong) {
  Write(SmallTokenizer(), PlainConfig());
  const std::string text =
      R"({"do_sample": true, "temperature": 0.6, "top_k": 20, "top_p": 0.95,)"
      R"( "min_p": 0.05, "repetition_penalty": 1.1, "eos_token_id": 77})";
  File("generation_config.json", text);
  ToGguf(source(), folder_ / "m.gguf");
  const auto checkpoint = OpenPath(folder_ / "m.gguf");
  const GgufMetadata& metadata = *checkpoint->gguf();
  EXPECT_FLOAT_EQ(*metadata.Float("general.sampling.temp"), 0.6);
  EXPECT_EQ(*metadata.Int("general.sampling.top_k"), 20);
  EXPECT_FLOAT_EQ(*metadata.Float("general.sampling.top_p"), 0.95);
  EXPECT_FLOAT_EQ(*metadata.Float("general.sampling.min_p"), 0.05);
  EXPECT_FLOAT_EQ(*metadata.Float("general.sampling.penalty_repeat"), 1.1);
  ToHf(folder_ / "m.gguf", folder_ / "hf");
  EXPECT_EQ(ReadFile(folder_ / "hf/generation_config.json"), text);
  // What was changed there counts.
  RewriteGguf(folder_ / "m.gguf", folder_ / "e.gguf", [](GgufModel* model) {
    model->Set("general.sampling.temp", 0.25f);
  });
  ToHf(folder_ / "e.gguf", folder_ / "hf2");
  const Json changed =
      JsonOrNull(ReadFile(folder_ / "hf2/generation_config.json"));
  EXPECT_EQ(changed["temperature"], 0.25);
  EXPECT_EQ(changed["top_k"], 20);
}

// A model that is not sampled has figures that say nothing.
TEST_F(FilesTest, GreedyModelsNameNoSampling) {
  Write(SmallTokenizer(), PlainConfig());
  File("generation_config.json", R"({"do_sample": false, "temperature": 0.6})");
  ToGguf(source(), folder_ / "m.gguf");
  EXPECT_FALSE(
      OpenPath(folder_ / "m.gguf")->gguf()->Has("general.sampling.temp"));
}

constexpr const char* kTexts[] = {
    "",       "abc to",          "a <|turn|>  b",    "atool",
    "HELLO",  "a tool  b",       "  <|turn|> tool ", "Abc ABC\n\nx",
    "to abc", "<|TURN|> A tOOl", "<s>a</s>",         "e\xCC\x81"};

// What GGUF has no place for, one at a time; GGUF's own keys would lose it.
TEST_F(FilesTest, TokenizersComeAlongWhole) {
  struct Change {
    const char* name;
    std::function<void(Json*, Json*)> make;
    const char* said;  // part of a warning; empty: none
  };
  const auto flag = [](int token, const char* name) {
    return [=](Json* t, Json*) { (*t)["added_tokens"][token][name] = true; };
  };
  const Change changes[] = {
      {"plain", [](Json*, Json*) {}, ""},
      {"rstrip", flag(2, "rstrip"), "rstrip of <|turn|>"},
      {"lstrip", flag(2, "lstrip"), "lstrip of <|turn|>"},
      {"single_word", flag(3, "single_word"), "single_word of tool"},
      {"Lowercase",
       [](Json* t, Json*) {
         (*t)["normalizer"] = {{"type", "Lowercase"}};
       },
       "normalizer Lowercase"},
      {"normalized",
       [](Json* t, Json*) {
         (*t)["normalizer"] = {{"type", "Lowercase"}};
         (*t)["added_tokens"][3]["normalized"] = true;
       },
       "normalized of tool"},
      {"Replace",
       [](Json* t, Json*) {
         (*t)["normalizer"] = {{"type", "Sequence"},
                               {"normalizers",
                                {{{"type", "NFC"}},
                                 {{"type", "Prepend"}, {"prepend", "a"}},
                                 {{"type", "Replace"},
                                  {"pattern", {{"String", "b"}}},
                                  {"content", "c"}}}}};
       },
       "normalizer NFC, Prepend, Replace"},
      {"ignore_merges",
       [](Json* t, Json*) { (*t)["model"]["ignore_merges"] = true; },
       "ignore_merges true"},
      {"prefix space",
       [](Json* t, Json*) { (*t)["pre_tokenizer"]["add_prefix_space"] = true; },
       "no name in GGUF"},
      {"bos by a template",
       [](Json* t, Json*) {
         (*t)["post_processor"] = {
             {"type", "Sequence"},
             {"processors",
              {{{"type", "ByteLevel"}},
               {{"type", "TemplateProcessing"},
                {"single",
                 {{{"SpecialToken", {{"id", "<s>"}, {"type_id", 0}}}},
                  {{"Sequence", {{"id", "A"}, {"type_id", 0}}}},
                  {{"SpecialToken", {{"id", "</s>"}, {"type_id", 0}}}}}},
                {"pair", Json::array()},
                {"special_tokens",
                 {{"<s>",
                   {{"id", "<s>"}, {"ids", {kBos}}, {"tokens", {"<s>"}}}},
                  {"</s>",
                   {{"id", "</s>"},
                    {"ids", {kEos}},
                    {"tokens", {"</s>"}}}}}}}}}};
       },
       ""},
      {"two before",
       [](Json* t, Json*) {
         (*t)["post_processor"] = {
             {"type", "TemplateProcessing"},
             {"single",
              {{{"SpecialToken", {{"id", "<s>"}, {"type_id", 0}}}},
               {{"SpecialToken", {{"id", "<|turn|>"}, {"type_id", 0}}}},
               {{"Sequence", {{"id", "A"}, {"type_id", 0}}}}}},
             {"pair", Json::array()},
             {"special_tokens",
              {{"<s>", {{"id", "<s>"}, {"ids", {kBos}}, {"tokens", {"<s>"}}}},
               {"<|turn|>",
                {{"id", "<|turn|>"},
                 {"ids", {kTurn}},
                 {"tokens", {"<|turn|>"}}}}}}};
       },
       "begins and ends a text"},
      {"bos before",
       [](Json* t, Json*) {
         (*t)["post_processor"] = FrameProcessor({"<s>", kBos}, {});
       },
       ""},
      {"both",
       [](Json* t, Json*) {
         (*t)["post_processor"] = FrameProcessor({"<s>", kBos}, {"</s>", kEos});
       },
       ""},
      {"flags that don't count",
       [](Json*, Json* c) { (*c)["add_bos_token"] = true; }, ""},
      {"truncation",
       [](Json* t, Json*) {
         (*t)["truncation"] = {{"max_length", 4},
                               {"strategy", "LongestFirst"},
                               {"stride", 0},
                               {"direction", "Right"}};
       },
       ""},
  };
  for (const Change& change : changes) {
    SCOPED_TRACE(change.name);
    std::filesystem::remove_all(source());
    Json tokenizer = SmallTokenizer(), config = PlainConfig();
    change.make(&tokenizer, &config);
    Write(tokenizer, config);
    const auto before = TokenizerOf(source());
    ASSERT_NE(before, nullptr);
    const std::vector<std::string> warnings =
        ToGguf(source(), folder_ / "w.gguf");
    std::string said;
    for (const std::string& warning : warnings) said += warning;
    if (*change.said == '\0') {
      EXPECT_EQ(said, "");
    } else {
      EXPECT_NE(said.find(change.said), std::string::npos) << said;
    }
    for (const std::string& way : Ways()) {
      const auto after = TokenizerOf(way);
      ASSERT_NE(after, nullptr);
      for (const char* text : kTexts) {
        EXPECT_EQ(*before->Encode(text), *after->Encode(text)) << way << text;
        EXPECT_EQ(*before->Encode(text, {true, true}),
                  *after->Encode(text, {true, true}))
            << way << text;
      }
      EXPECT_EQ(before->bos_id(), after->bos_id()) << way;
      EXPECT_EQ(before->eos_id(), after->eos_id()) << way;
      std::filesystem::remove_all(way);
    }
    // Where nothing was said, GGUF's own keys say it all.
    if (!said.empty()) continue;
    RewriteGguf(folder_ / "w.gguf", folder_ / "b.gguf", [](GgufModel* model) {
      std::erase_if(model->metadata, [](const auto& entry) {
        return entry.first == kHfTokenizer;
      });
    });
    const auto bare = TokenizerOf(folder_ / "b.gguf");
    for (const char* text : kTexts) {
      EXPECT_EQ(*before->Encode(text), *bare->Encode(text)) << text;
    }
  }
}

// Special and added tokens in the files of older libraries.
TEST_F(FilesTest, SideFilesComeAlong) {
  Write(SmallTokenizer(), Json::object());
  File("special_tokens_map.json",
       R"({"bos_token": "<s>", "eos_token": "<|turn|>",)"
       R"( "additional_special_tokens": ["<|tail|>"]})");
  File("added_tokens.json", R"({"<|more|>": 81})");
  const auto before = TokenizerOf(source());
  ASSERT_NE(before, nullptr);
  ASSERT_EQ(before->eos_id(), kTurn);
  ASSERT_EQ(before->Find("<|more|>"), 81);
  for (const std::string& way : Ways()) {
    const auto after = TokenizerOf(way);
    ASSERT_NE(after, nullptr);
    EXPECT_EQ(after->bos_id(), before->bos_id()) << way;
    EXPECT_EQ(after->eos_id(), kTurn) << way;
    EXPECT_EQ(after->Find("<|more|>"), 81) << way;
    EXPECT_EQ(*after->Encode("a<|more|>b", {false, true}),
              *before->Encode("a<|more|>b", {false, true}))
        << way;
  }
  // Programs that read GGUF's own keys see it too.
  const auto gguf = OpenPath(folder_ / "m.gguf");
  EXPECT_EQ((*gguf->gguf()->Tokens())[81], "<|more|>");
}

// Of vocab.json and merges.txt a class tells the rest, and flags tell what
// begins a text: neither counts beside the tokenizer.json that is made of them.
TEST_F(FilesTest, VocabularyAndMergesBecomeAWholeTokenizer) {
  Json config = PlainConfig();
  config["tokenizer_class"] = "GPT2Tokenizer";
  config["add_bos_token"] = true;
  Write(SmallTokenizer(), config);
  Json vocab = SmallTokenizer()["model"]["vocab"];
  vocab["<s>"] = kBos;
  vocab["</s>"] = kEos;
  std::filesystem::remove(std::filesystem::path(source()) / "tokenizer.json");
  File("vocab.json", vocab.dump());
  File("merges.txt", "#version: 0.2\na b\nab c\nt o\n");
  const auto before = TokenizerOf(source());
  ASSERT_NE(before, nullptr);
  EXPECT_EQ(*before->Encode("abc"),
            (std::vector<int32_t>{kBos, before->Find("abc")}));
  int written = 0;
  for (const std::string& way : Ways()) {
    const auto after = TokenizerOf(way);
    ASSERT_NE(after, nullptr) << way;
    EXPECT_EQ(*after->Encode("abc to"), *before->Encode("abc to")) << way;
    const std::filesystem::path file =
        std::filesystem::path(way) / "tokenizer.json";
    if (!std::filesystem::exists(file)) continue;
    ++written;
    // Other libraries want every field of a step.
    std::ifstream stream(file);
    const Json json = Json::parse(stream);
    EXPECT_TRUE(json["pre_tokenizer"].contains("trim_offsets")) << way;
    EXPECT_TRUE(json["decoder"].contains("trim_offsets")) << way;
  }
  EXPECT_GT(written, 0);
}

// Whoever changes tokenizer.ggml.* means it.
TEST_F(FilesTest, ChangedMetadataCounts) {
  Json tokenizer = SmallTokenizer();
  tokenizer["normalizer"] = {{"type", "Lowercase"}};
  tokenizer["post_processor"] = FrameProcessor({"<s>", kBos}, {});
  Write(tokenizer, PlainConfig());
  ToGguf(source(), folder_ / "m.gguf");
  const auto edited = [&](const std::function<void(GgufModel*)>& change) {
    RewriteGguf(folder_ / "m.gguf", folder_ / "e.gguf", change);
    return TokenizerOf(folder_ / "e.gguf");
  };
  const auto as = TokenizerOf(folder_ / "m.gguf");
  EXPECT_EQ(*as->Encode("AB"), (std::vector<int32_t>{kBos, as->Find("ab")}));
  // Ids and flags: the rest of the tokenizer stays.
  const auto no_bos = edited([](GgufModel* model) {
    model->Set("tokenizer.ggml.add_bos_token", false);
  });
  EXPECT_EQ(*no_bos->Encode("AB"), (std::vector<int32_t>{as->Find("ab")}));
  const auto other_bos = edited([](GgufModel* model) {
    model->Set("tokenizer.ggml.bos_token_id", uint32_t{kTurn});
  });
  EXPECT_EQ(other_bos->Encode("AB")->front(), kTurn);
  // The folder's post_processor says it, since flags don't count there.
  ToHf(folder_ / "e.gguf", folder_ / "turned");
  EXPECT_EQ(TokenizerOf(folder_ / "turned")->Encode("AB")->front(), kTurn);
  const auto other_eos = edited([](GgufModel* model) {
    model->Set("tokenizer.ggml.eos_token_id", uint32_t{kTail});
  });
  EXPECT_EQ(other_eos->eos_id(), kTail);
  // </s> is an end by its name.
  EXPECT_EQ(EndsOf(folder_ / "e.gguf"), (std::vector<int32_t>{kEos, kTail}));
  ToHf(folder_ / "e.gguf", folder_ / "hf");
  EXPECT_EQ(EndsOf(folder_ / "hf"), (std::vector<int32_t>{kEos, kTail}));
  // The vocabulary: the copy no longer describes it, which is said.
  const auto other = edited([](GgufModel* model) {
    for (auto& [key, value] : model->metadata) {
      if (key == "tokenizer.ggml.tokens") {
        std::get<std::vector<std::string>>(value)[25] = "%";
      }
    }
  });
  EXPECT_EQ(other->Find("%"), 25);
  std::vector<std::string> warnings;
  ASSERT_TRUE(OpenTokenizer(*OpenPath(folder_ / "e.gguf"), &warnings).ok());
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_NE(warnings[0].find("was changed"), std::string::npos);
  const auto template_changed = edited([](GgufModel* model) {
    model->Set("tokenizer.chat_template", std::string("new"));
  });
  EXPECT_EQ(template_changed->chat_template(), "new");
  EXPECT_EQ(*template_changed->Encode("AB"), *as->Encode("AB"));
}

// The source configuration counts where it agrees with the metadata.
TEST_F(FilesTest, StaleSourceConfigurationsDoNotCount) {
  Write(SmallTokenizer(), PlainConfig());
  ToGguf(source(), folder_ / "m.gguf");
  const auto back = [&](const std::function<void(GgufModel*)>& change) {
    std::filesystem::remove_all(folder_ / "hf");
    RewriteGguf(folder_ / "m.gguf", folder_ / "e.gguf", change);
    const std::vector<std::string> warnings =
        ToHf(folder_ / "e.gguf", folder_ / "hf");
    std::string said;
    for (const std::string& warning : warnings) said += warning + "\n";
    return std::pair(OpenPath(folder_ / "hf")->config(), said);
  };
  const auto [same, nothing] = back([](GgufModel*) {});
  EXPECT_EQ(same, OpenPath(source())->config());
  EXPECT_EQ(nothing, "");
  const auto [theta, why] = back(
      [](GgufModel* model) { model->Set("llama.rope.freq_base", 5000.0f); });
  EXPECT_EQ(theta["rope_theta"], 5000.0);
  EXPECT_NE(why.find("rope.freq_base"), std::string::npos) << why;
  const auto [eps, also] = back([](GgufModel* model) {
    model->Set("llama.attention.layer_norm_rms_epsilon", 0.5f);
  });
  EXPECT_EQ(eps["rms_norm_eps"], 0.5);
  EXPECT_NE(also.find("does not count"), std::string::npos) << also;
  // A scaling that the source does not know.
  const auto [scaled, new_key] = back([](GgufModel* model) {
    model->Set("llama.rope.scaling.type", std::string("linear"));
    model->Set("llama.rope.scaling.factor", 4.0f);
  });
  EXPECT_NE(scaled.dump().find("linear"), std::string::npos);
  EXPECT_NE(new_key.find("does not count"), std::string::npos);
  // Quantising leaves the stale copy behind.
  QuantizeTo(folder_ / "e.gguf", folder_ / "q.gguf");
  EXPECT_FALSE(OpenPath(folder_ / "q.gguf")->gguf()->Has(kSourceConfig));
}

TEST_F(FilesTest, NoCodeOfOthersGoesAlong) {
  const Json map = {{"AutoModelForCausalLM", "modeling_x.X"}};
  Json config = PlainConfig();
  config["auto_map"] = map;
  config["tokenizer_file"] = "/home/somebody/tokenizer.json";
  Write(SmallTokenizer(), config,
        {{"auto_map", map}, {"custom_pipelines", {{"x", {{"impl", "y.Z"}}}}}});
  File("generation_config.json", R"({"custom_generate": "x", "top_k": 3})");
  const auto expect_none = [&](const std::string& path) {
    std::vector<std::string> files = {path};
    if (std::filesystem::is_directory(path)) {
      files.clear();
      for (const auto& entry : std::filesystem::directory_iterator(path)) {
        files.push_back(entry.path().string());
      }
    }
    for (const std::string& file : files) {
      const std::string text = ReadFile(file);
      for (const char* key : {"auto_map", "modeling_x", "custom_pipelines",
                              "custom_generate", "somebody"}) {
        EXPECT_EQ(text.find(key), std::string::npos) << file << " " << key;
      }
    }
  };
  for (const std::string& way : Ways()) expect_none(way);
  // Nor from a file that has it already.
  RewriteGguf(folder_ / "m.gguf", folder_ / "e.gguf", [&](GgufModel* model) {
    Json old = JsonOrNull(model->Text(kSourceConfig));
    old["auto_map"] = map;
    model->Set(kSourceConfig, old.dump());
  });
  QuantizeTo(folder_ / "e.gguf", folder_ / "q4.gguf");
  expect_none(folder_ / "q4.gguf");
  ToHf(folder_ / "e.gguf", folder_ / "hf4");
  expect_none(folder_ / "hf4");
}

// Added tokens that the model has no rows for: other programs refuse files with
// more tokens than rows.
TEST_F(FilesTest, GgufHasAsManyTokensAsRows) {
  Write(SmallTokenizer(), PlainConfig(), {{"vocab_size", 80}});
  const std::vector<std::string> warnings =
      ToGguf(source(), folder_ / "m.gguf");
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_NE(warnings[0].find("past the rows"), std::string::npos);
  const auto gguf = OpenPath(folder_ / "m.gguf");
  EXPECT_EQ(gguf->gguf()->Tokens()->size(), 80u);
  EXPECT_EQ(*TokenizerOf(folder_ / "m.gguf")->Encode("ab"),
            *TokenizerOf(source())->Encode("ab"));
}

// A tokenizer of which no file can be made is named.
TEST_F(FilesTest, LossesAreNamed) {
  Write(SmallTokenizer(), PlainConfig());
  ToGguf(source(), folder_ / "m.gguf");
  RewriteGguf(folder_ / "m.gguf", folder_ / "e.gguf", [](GgufModel* model) {
    model->Set("tokenizer.ggml.model", std::string("bert"));
  });
  const auto files = ReadModelFiles(*OpenPath(folder_ / "e.gguf"));
  ASSERT_TRUE(files.ok()) << files.status().message();
  ASSERT_EQ(files->losses.size(), 1u);
  EXPECT_NE(files->losses[0].find("bert"), std::string::npos);
  const auto none = ReadModelFiles(*OpenPath(folder_ / "m.gguf"));
  ASSERT_TRUE(none.ok());
  EXPECT_TRUE(none->losses.empty());
}

}  // namespace
}  // namespace intarsia
