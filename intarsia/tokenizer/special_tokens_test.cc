// Added and special tokens in every file that carries them, beside what
// transformers 5.24.0 makes of the same folders, or, where a class of it
// counts against a tokenizer's own file, the library that made the file
// (tests/oracles/make_special_tokens.py).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "intarsia/tokenizer/base64.h"
#include "intarsia/tokenizer/chat_template/chat_template.h"
#include "intarsia/tokenizer/json_components.h"
#include "intarsia/tokenizer/test_data.h"
#include "intarsia/tokenizer/tokenizer.h"
#include "intarsia/tokenizer/vocab_merges.h"

namespace intarsia {
namespace {

namespace fs = std::filesystem;
using Ids = std::vector<int32_t>;
using Json = nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class Folder {
 public:
  explicit Folder(const std::string& name)
      : path_(fs::path(testing::TempDir()) / ("special_tokens_" + name)) {
    fs::remove_all(path_);
    fs::create_directories(path_);
  }
  ~Folder() { fs::remove_all(path_); }

  void Write(const std::string& name, const std::string& bytes) const {
    std::ofstream(path_ / name, std::ios::binary) << bytes;
  }
  std::string Of(const std::string& name) const {
    return fs::exists(path_ / name) ? (path_ / name).string() : "";
  }
  Result<std::unique_ptr<Tokenizer>> Open() const {
    if (!Of("vocab.json").empty()) {
      return OpenVocabMerges(path_.string(), Of("tokenizer_config.json"), "");
    }
    const std::string json = Of("tokenizer.json");
    return Tokenizer::FromFile(json.empty() ? Of("tokenizer.model") : json,
                               Of("tokenizer_config.json"));
  }

 private:
  fs::path path_;
};

std::string StreamAll(const Tokenizer& t, const Ids& ids, bool skip_special) {
  Tokenizer::Stream stream(t, skip_special);
  std::string text;
  for (const int32_t id : ids) text += stream.Push(id);
  return text + stream.Finish();
}

std::string Rendered(const Tokenizer& t, const std::string& text) {
  ChatTemplateOptions options;
  for (const auto& [name, token] : t.named_tokens()) {
    options.extra[name] = token;
  }
  const auto rendered =
      RenderChat(text, {{{"role", "user"}, {"content", "hi"}}}, options);
  return rendered.ok() ? *rendered : rendered.status().message();
}

// A warning comes where the class of transformers would cut one of the recorded
// texts otherwise. A space that begins a text is set aside for a
// tokenizer.model: there every LlamaTokenizer does.
void ExpectToldOfTheClass(const Tokenizer& t,
                          const nlohmann::ordered_json& record) {
  const bool pieces = record["files"].contains("tokenizer.model");
  bool differs = false;
  for (size_t i = 0; i < record["texts"].size(); ++i) {
    const auto& row = record["texts"][i];
    if (pieces && row[0].get<std::string>().starts_with(" ")) continue;
    differs = differs || row[1] != record["auto"][i];
  }
  if (differs) {
    EXPECT_THAT(t.warnings(), ElementsAre(HasSubstr("transformers 5.24")));
  } else {
    EXPECT_THAT(t.warnings(), ElementsAre());
  }
}

const Json kVocabulary = {{"<s>", 0}, {"</s>", 1}, {"a", 2}, {"b", 3}};

Json SmallTokenizer() {
  return {
      {"model",
       {{"type", "BPE"}, {"vocab", kVocabulary}, {"merges", Json::array()}}},
      {"added_tokens",
       {{{"id", 0}, {"content", "<s>"}, {"special", true}},
        {{"id", 1}, {"content", "</s>"}, {"special", true}}}},
      {"decoder", {{"type", "Fuse"}}}};
}

TEST(SpecialTokens, EqualTheRecordedFolders) {
  const auto records = ReadRecords("special_tokens.jsonl.gz");
  ASSERT_GE(records.size(), 50u);
  const auto text_template = records[0]["template"].get<std::string>();
  for (size_t i = 1; i < records.size(); ++i) {
    const auto& record = records[i];
    SCOPED_TRACE(record["name"].get<std::string>());
    const Folder folder("recorded");
    for (const auto& [name, value] : record["files"].items()) {
      folder.Write(
          name, value.is_string()
                    ? value.get<std::string>()
                    : DecodeBase64(value["base64"].get<std::string>()).value());
    }
    const auto tokenizer = folder.Open();
    if (!tokenizer.ok()) {
      ADD_FAILURE() << tokenizer.status().message();
      continue;
    }
    const Tokenizer& t = **tokenizer;
    for (const auto& row : record["texts"]) {
      const auto text = row[0].get<std::string>();
      const auto ids = row[1].get<Ids>();
      EXPECT_EQ(*t.Encode(text, {true, true}), ids) << text;
      if (row[2].is_null()) continue;  // not told
      EXPECT_EQ(t.Decode(ids, false), row[2].get<std::string>()) << text;
      EXPECT_EQ(t.Decode(ids, true), row[3].get<std::string>()) << text;
      EXPECT_EQ(StreamAll(t, ids, false), t.Decode(ids, false)) << text;
    }
    if (record.contains("auto")) ExpectToldOfTheClass(t, record);
    if (record["rendered"].is_null()) continue;  // not told
    EXPECT_EQ(Rendered(t, text_template),
              record["rendered"].get<std::string>());
    EXPECT_EQ(t.eos_id(), record["eos"].get<int>());
  }
}

// Flags beside a tokenizer.json don't count, which is said where they
// contradict its post_processor.
TEST(SpecialTokens, FlagsBesideAPostProcessor) {
  const auto warnings = [](bool before, const char* config) {
    Json json = SmallTokenizer();
    if (before) json["post_processor"] = FrameProcessor({"<s>", 0}, {});
    Json names = Json::parse(config);
    names["bos_token"] = "<s>";
    const auto t = Tokenizer::FromJson(json.dump(), names.dump()).value();
    EXPECT_EQ(*t->Encode("a"), before ? (Ids{0, 2}) : (Ids{2}));
    return t->warnings();
  };
  EXPECT_THAT(warnings(false, R"({"add_bos_token": false})"), ElementsAre());
  EXPECT_THAT(warnings(true, R"({"add_bos_token": true})"), ElementsAre());
  EXPECT_THAT(warnings(true, R"({"add_bos_token": null})"), ElementsAre());
  EXPECT_THAT(warnings(true, R"({"add_bos_token": false})"),
              ElementsAre(HasSubstr("add_bos_token is false, but "
                                    "\"post_processor\" of tokenizer.json puts "
                                    "tokens before a text")));
  EXPECT_THAT(
      warnings(false, R"({"add_bos_token": true, "add_eos_token": true})"),
      ElementsAre(HasSubstr("add_bos_token is true, but"),
                  HasSubstr("puts nothing after a text, and that counts")));
}

// Models with such files are trained with a first token, and older libraries
// as well as llama.cpp put it there.
TEST(SpecialTokens, ATokenizerModelBeginsWithItsBosUnlessToldOtherwise) {
  std::string model;
  for (const auto& record : ReadRecords("special_tokens.jsonl.gz")) {
    if (record.value("name", "") != "pieces_spaces") continue;
    const auto& file = record["files"]["tokenizer.model"];
    model = DecodeBase64(file["base64"].get<std::string>()).value();
  }
  ASSERT_FALSE(model.empty());
  const auto first = [&](const std::string& flag, bool* warned) {
    const Folder folder("bos");
    folder.Write("tokenizer.model", model);
    folder.Write("tokenizer_config.json",
                 R"({"bos_token": "<s>")" + flag + "}");
    const auto t = folder.Open().value();
    *warned = !t->warnings().empty();
    if (*warned) {
      EXPECT_THAT(t->warnings(),
                  ElementsAre(HasSubstr("\"add_bos_token\" is missing")));
    }
    return t->Encode("a").value()[0] == t->bos_id();
  };
  bool warned = false;
  EXPECT_TRUE(first("", &warned));
  EXPECT_TRUE(warned);
  EXPECT_TRUE(first(R"(, "add_bos_token": true)", &warned));
  EXPECT_FALSE(warned);
  EXPECT_FALSE(first(R"(, "add_bos_token": false)", &warned));
  EXPECT_FALSE(warned);
}

TEST(SpecialTokens, WhatDisagreesIsAWarning) {
  Json json = SmallTokenizer();
  json["added_tokens"].push_back({{"id", 40}, {"content", "<x>"}});
  const auto tokenizer = Tokenizer::FromJson(
      json.dump(), R"({"pad_token": "<pad>", "bos_token": "<s>"})");
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().message();
  const Tokenizer& t = **tokenizer;
  EXPECT_EQ(t.Find("<x>"), 4);
  EXPECT_EQ(t.Find("<pad>"), 5);
  EXPECT_THAT(
      t.warnings(),
      ElementsAre(HasSubstr("\"<x>\" has id 4, not 40"),
                  HasSubstr("pad_token \"<pad>\" is not in the vocabulary")));
  EXPECT_EQ(t.named_tokens().at("pad_token"), "<pad>");
  EXPECT_EQ(t.named_tokens().count("eos_token"), 0u);
}

TEST(SpecialTokens, EndsByName) {
  const auto ends = [](std::vector<const char*> names, const char* config) {
    Json json = SmallTokenizer();
    for (const char* name : names) {
      json["added_tokens"].push_back({{"id", 4}, {"content", name}});
    }
    const auto t = Tokenizer::FromJson(json.dump(), config).value();
    std::vector<std::string> found;
    for (int32_t id = 0; id < t->vocab_size(); ++id) {
      if (t->is_end_of_generation(id)) found.emplace_back(t->Token(id));
    }
    return found;
  };
  EXPECT_THAT(ends({"<|im_end|>", "<|x|>"}, "{}"),
              ElementsAre("</s>", "<|im_end|>"));
  EXPECT_THAT(ends({"<|end|>", "<|call|>"}, "{}"),
              ElementsAre("</s>", "<|end|>"));
  EXPECT_THAT(ends({"<|end|>", "<|return|>", "<|call|>"}, "{}"),
              ElementsAre("</s>", "<|return|>", "<|call|>"));
  EXPECT_THAT(ends({"<|end|>", "<|return|>", "<|call|>"},
                   R"({"eos_token": "<|end|>"})"),
              ElementsAre("</s>", "<|end|>", "<|return|>", "<|call|>"));
}

TEST(SpecialTokens, FaultsNameTheirFileAndField) {
  const struct {
    const char *file, *text, *why;
  } faults[] = {
      {"tokenizer_config.json", "{", "is not JSON"},
      {"tokenizer_config.json", "[]", "the file: must be an object"},
      {"tokenizer_config.json", R"({"eos_token": 3})",
       "eos_token: must be text or an object, is number"},
      {"tokenizer_config.json", R"({"eos_token": {"text": "a"}})",
       "eos_token.content: must be a string"},
      {"tokenizer_config.json", R"({"extra_special_tokens": 3})",
       "extra_special_tokens: must be a list or an object, is number"},
      {"tokenizer_config.json", R"({"extra_special_tokens": {"q": 3}})",
       "extra_special_tokens.q: must be text or an object"},
      {"tokenizer_config.json", R"({"additional_special_tokens": ["a", 3]})",
       "additional_special_tokens[1]: must be text"},
      {"tokenizer_config.json", R"({"added_tokens_decoder": {"x": "<x>"}})",
       "added_tokens_decoder: \"x\" is no token id"},
      {"tokenizer_config.json", R"({"added_tokens_decoder": {"7": 3}})",
       "added_tokens_decoder.7: must be text or an object"},
      {"tokenizer_config.json", R"({"add_bos_token": "yes"})",
       "add_bos_token: must be true or false"},
      {"special_tokens_map.json", R"({"pad_token": []})",
       "pad_token: must be text or an object, is array"},
      {"added_tokens.json", R"({"<x>": "4"})", "\"<x>\": must be a whole"},
      {"added_tokens.json", R"({"<x>": -4})", "token id -4 is outside"},
      {"added_tokens.json", "3", "the file: must be an object"},
  };
  for (const auto& fault : faults) {
    const Folder folder("faults");
    folder.Write("tokenizer.json", SmallTokenizer().dump());
    folder.Write(fault.file, fault.text);
    const auto tokenizer = folder.Open();
    ASSERT_FALSE(tokenizer.ok()) << fault.why;
    EXPECT_EQ(tokenizer.status().message().rfind("[tokenizer] ", 0), 0u);
    EXPECT_THAT(tokenizer.status().message(),
                HasSubstr(std::string(fault.file) + ": "));
    EXPECT_THAT(tokenizer.status().message(), HasSubstr(fault.why));
  }
  // Contents past the searchable length, and one that grows past it.
  Json json = SmallTokenizer();
  json["added_tokens"].push_back(
      {{"id", 4}, {"content", std::string(1025, 'x')}});
  EXPECT_THAT(Tokenizer::FromJson(json.dump()).status().message(),
              HasSubstr("has more than 1024 bytes"));
}

TEST(SpecialTokens, AVocabularyPastTheTableIsRefusedAnAddedTokenWhenMet) {
  Json json = SmallTokenizer();
  json["added_tokens"].push_back({{"id", 4}, {"content", "<x>"}});
  auto tokenizer = Tokenizer::FromJson(json.dump()).value();
  EXPECT_TRUE(tokenizer->SetModelRows(5).ok());
  EXPECT_THAT(tokenizer->warnings(), ElementsAre());
  ASSERT_TRUE(tokenizer->SetModelRows(4).ok());
  EXPECT_THAT(tokenizer->warnings(),
              ElementsAre(HasSubstr("has 5 tokens, the model's table 4 rows")));
  EXPECT_EQ(*tokenizer->Encode("ab"), (Ids{2, 3}));
  EXPECT_THAT(tokenizer->Encode("a<x>").status().message(),
              HasSubstr("\"<x>\", whose id 4 the model has no row for"));
  EXPECT_THAT(tokenizer->SetModelRows(3).message(),
              HasSubstr("the id 3, but the model's table has 3 rows"));
}

TEST(SpecialTokens, ReasoningHasAllOfItsNamesInATemplate) {
  // As transformers 5.24.0 renders it.
  const std::string text =
      "{% for m in messages %}{% for k, v in m.items() %}{{ k }}={{ v }};"
      "{% endfor %}{% endfor %}";
  const struct {
    const char *message, *rendered;
  } cases[] = {
      {R"({"role":"assistant","content":"c","reasoning":"r"})",
       "thinking=r;role=assistant;content=c;reasoning=r;reasoning_content=r;"},
      {R"({"role":"assistant","thinking":"t","content":null})",
       "thinking=t;role=assistant;reasoning_content=t;"},
      {R"({"role":"a","reasoning_content":"x","thinking":"t"})",
       "thinking=t;role=a;reasoning_content=x;"},
      {R"({"role":"a","reasoning":null,"tool_calls":null})", "role=a;"},
      {R"({"role":"a","reasoning":""})",
       "thinking=;role=a;reasoning=;reasoning_content=;"},
  };
  for (const auto& c : cases) {
    const auto rendered =
        RenderChat(text, nlohmann::ordered_json::array(
                             {nlohmann::ordered_json::parse(c.message)}));
    ASSERT_TRUE(rendered.ok()) << rendered.status().message();
    EXPECT_EQ(*rendered, c.rendered);
  }
}

}  // namespace
}  // namespace intarsia
