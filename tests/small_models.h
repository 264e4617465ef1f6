// For tests that run the program over models that they make: a folder with
// random weights of a family and a tokenizer of single letters.
#pragma once

#include <filesystem>
#include <string>

#include "intarsia/checkpoint/test_files.h"
#include "intarsia/families/test_models.h"

namespace intarsia {

// Letters, digits and marks, one token each; <s>, </s> and <unk> before them.
inline nlohmann::json LetterTokenizer(int vocab = 50) {
  nlohmann::json json = {
      {"version", "1.0"},          {"added_tokens", nlohmann::json::array()},
      {"normalizer", nullptr},     {"pre_tokenizer", nullptr},
      {"post_processor", nullptr}, {"decoder", {{"type", "Fuse"}}}};
  nlohmann::json words = {{"<s>", 0}, {"</s>", 1}, {"<unk>", 2}};
  for (const auto& [word, id] : words.items()) {
    json["added_tokens"].push_back({{"id", id},
                                    {"content", word},
                                    {"single_word", false},
                                    {"lstrip", false},
                                    {"rstrip", false},
                                    {"normalized", false},
                                    {"special", true}});
  }
  const std::string letters = " abcdefghijklmnopqrstuvwxyz.,:;!?'0123456789\n";
  for (size_t i = 0; i < letters.size() && 3 + static_cast<int>(i) < vocab;
       ++i) {
    words[letters.substr(i, 1)] = 3 + i;
  }
  json["model"] = {{"type", "BPE"},
                   {"unk_token", "<unk>"},
                   {"vocab", words},
                   {"merges", nlohmann::json::array()}};
  return json;
}

// {{role}}: {{content}} a line, and who answers.
inline constexpr char kLetterTemplate[] =
    "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}";

struct SmallModel {
  nlohmann::json config;
  std::vector<NamedTensor> tensors;
  nlohmann::json tokenizer = LetterTokenizer();
  nlohmann::json tokenizer_config = {{"bos_token", "<s>"},
                                     {"eos_token", "</s>"},
                                     {"unk_token", "<unk>"},
                                     {"chat_template", kLetterTemplate}};

  explicit SmallModel(nlohmann::json config)
      : config(std::move(config)), tensors(RandomModel(this->config).tensors) {}

  void Write(const std::string& folder) const {
    std::filesystem::create_directories(folder);
    const Status written =
        WriteSafetensors(folder + "/model.safetensors", tensors);
    CHECK(written.ok()) << written.message();
    WriteFile(folder + "/config.json", config.dump());
    WriteFile(folder + "/tokenizer.json", tokenizer.dump());
    WriteFile(folder + "/tokenizer_config.json", tokenizer_config.dump());
  }
};

}  // namespace intarsia
