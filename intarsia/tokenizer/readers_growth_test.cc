// Time and memory of reading vocabularies and chat templates.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "intarsia/core/growth_testing.h"
#include "intarsia/tokenizer/chat_template/chat_template.h"
#include "intarsia/tokenizer/tokenizer.h"

namespace intarsia {
namespace {

void Read(const Result<std::unique_ptr<Tokenizer>>& tokenizer) {
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().message();
}

// tokenizer.json of BPE that is filled by tokens or, where these are none, by
// merges of three tokens.
void ExpectJson(const std::string& name, const std::string& token,
                const std::string& merge, double memory) {
  ExpectLinear(
      "tokenizer.json: " + name,
      [&](size_t bytes) {
        if (merge.empty()) {
          return Repeated(R"({"model":{"type":"BPE","merges":[],"vocab":{)",
                          token, "}}}", bytes);
        }
        return Repeated(R"({"model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":2)"
                        R"(},"merges":[)",
                        merge, "]}}", bytes);
      },
      [](const std::string& text) { Read(Tokenizer::FromJson(text)); },
      {.memory = memory});
}

TEST(VocabularyGrowth, Json) {
  ExpectJson("tokens", R"("t#":#)", "", 40);
  ExpectJson("long tokens", "\"" + std::string(200, 't') + R"(#":#)", "", 16);
  ExpectJson("merges", "", R"("a b")", 16);
  ExpectJson("pairs", "", R"(["a","b"])", 16);
}

TEST(VocabularyGrowth, AddedTokens) {
  const auto make = [](const std::string& fields) {
    return [=](size_t bytes) {
      return Repeated(R"({"model":{"type":"BPE","vocab":{"a":0},"merges":[]},)"
                      R"("added_tokens":[)",
                      R"({"id":#,"content":"<x#>")" + fields + "}", "]}",
                      bytes);
    };
  };
  const auto read = [](const std::string& text) {
    Read(Tokenizer::FromJson(text));
  };
  ExpectLinear("tokenizer.json: added tokens", make(""), read, {.memory = 40});
  ExpectLinear("tokenizer.json: special tokens", make(R"(,"special":true)"),
               read, {.memory = 40});
  ExpectLinear(
      "tokenizer_config.json: added tokens",
      [](size_t bytes) {
        return Repeated(R"({"added_tokens_decoder":{)",
                        R"("#":{"content":"<x#>"})", "}}", bytes);
      },
      [](const std::string& text) {
        (void)Tokenizer::FromJson(
            R"({"model":{"type":"BPE","vocab":{"a":0},"merges":[]}})", text);
      },
      {.memory = 40});
  ExpectLinear(
      "tokenizer_config.json: extra special tokens",
      [](size_t bytes) {
        return Repeated(R"({"extra_special_tokens":{)", R"("n#":"<t#>")", "}}",
                        bytes);
      },
      [](const std::string& text) {
        (void)Tokenizer::FromJson(
            R"({"model":{"type":"BPE","vocab":{"a":0},"merges":[]}})", text);
      },
      {.memory = 60});
}

TEST(VocabularyGrowth, Unigram) {
  ExpectLinear(
      "tokenizer.json: Unigram",
      [](size_t bytes) {
        return Repeated(R"({"model":{"type":"Unigram","unk_id":0,"vocab":[)",
                        R"(["u#",-1])", "]}}", bytes);
      },
      [](const std::string& text) { Read(Tokenizer::FromJson(text)); },
      {.memory = 40});
}

TEST(VocabularyGrowth, Gguf) {
  const auto expect = [](const std::string& model, double memory) {
    ExpectLinear(
        "GGUF vocabulary: " + model,
        [](size_t bytes) { return std::string(bytes, ' '); },
        [&](const std::string& text) {
          TokenizerVocab vocab;
          vocab.model = model;
          size_t bytes = 0;
          for (size_t i = 0; bytes < text.size(); ++i) {
            vocab.tokens.push_back("t" + std::to_string(i));
            bytes += 8 + vocab.tokens.back().size() + 4;
          }
          vocab.tokens.insert(vocab.tokens.end(), {"t", "0"});
          if (model == "gpt2") vocab.merges = {"t 0"};
          vocab.scores.resize(vocab.tokens.size());
          vocab.token_types.resize(vocab.tokens.size(), 1);
          Read(Tokenizer::FromVocab(std::move(vocab)));
        },
        {.memory = memory});
  };
  expect("llama", 40);
  expect("gpt2", 40);
  expect("rwkv", 40);
  expect("t5", 40);
}

std::string Varint(uint64_t value) {
  std::string out;
  for (; value > 127; value >>= 7) {
    out += static_cast<char>((value & 127) | 128);
  }
  return out + static_cast<char>(value);
}

std::string Bytes(uint32_t field, const std::string& bytes) {
  return Varint(field << 3 | 2) + Varint(bytes.size()) + bytes;
}

std::string Piece(const std::string& text, uint64_t type) {
  const float score = -1;
  return Bytes(1, Bytes(1, text) + Varint(2 << 3 | 5) +
                      std::string(reinterpret_cast<const char*>(&score), 4) +
                      Varint(3 << 3) + Varint(type));
}

TEST(VocabularyGrowth, SentencePiece) {
  const auto expect = [](const std::string& name, uint64_t model, uint64_t type,
                         const std::string& start) {
    ExpectLinear(
        "tokenizer.model: " + name,
        [&](size_t bytes) {
          std::string out = Piece("<unk>", 2);
          for (size_t i = 0; out.size() < bytes; ++i) {
            out += Piece(start + std::to_string(i), type);
          }
          return out + Bytes(2, Varint(3 << 3) + Varint(model));
        },
        [](const std::string& bytes) {
          Read(Tokenizer::FromSentencePiece(bytes));
        },
        {.memory = 40});
  };
  expect("Unigram", 1, 1, "u");
  expect("BPE", 2, 1, "u");
  expect("BPE, control pieces", 2, 3, "u");
  expect("BPE, user defined pieces", 2, 4, "u");
  expect("Unigram, long pieces", 1, 1, std::string(400, 'u'));
  expect("BPE, long pieces", 2, 1, std::string(400, 'u'));
}

TEST(VocabularyGrowth, RwkvWords) {
  const auto expect = [](const std::string& name, const std::string& start,
                         const std::string& between, double memory) {
    ExpectLinear(
        "RWKV words: " + name,
        [&](size_t bytes) {
          std::string out;
          for (size_t i = 1; out.size() < bytes; ++i) {
            const std::string word = start + std::to_string(i);
            out += std::to_string(i) + " '" + word + "' " +
                   std::to_string(word.size()) + "\n" + between;
          }
          return out;
        },
        [](const std::string& text) { Read(Tokenizer::FromRwkvVocab(text)); },
        {.memory = memory});
  };
  expect("short", "w", "", 40);
  expect("long", std::string(100, 'w'), "", 40);
  expect("blank lines between", "w", std::string(100, '\n'), 8);
}

// Blank lines are no words: ids beyond what the words make likely are refused.
TEST(VocabularyGrowth, RwkvIdsPastTheWords) {
  const auto refused =
      Tokenizer::FromRwkvVocab(std::string(1 << 20, '\n') + "1000000 'a' 1\n");
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.status().message().find("far past the number of words"),
            std::string::npos)
      << refused.status().message();
}

TEST(TemplateGrowth, Parse) {
  const auto expect = [](const std::string& name, const std::string& head,
                         const std::string& item, const std::string& tail,
                         double memory, const std::string& between = "") {
    ExpectLinear(
        "chat template: " + name,
        [&](size_t bytes) {
          return Repeated(head, item, tail, bytes, between);
        },
        // Read, refused or stopped by the limits of rendering.
        [](const std::string& text) {
          const auto rendered = RenderTemplate(
              text, nlohmann::ordered_json::object(), ChatTemplateOptions());
          if (!rendered.ok()) {
            EXPECT_LT(rendered.status().message().size(), 600u);
          }
        },
        {.memory = memory, .bytes = 900'000});
  };
  // At most 2^18 tokens are read, whatever the bytes.
  expect("text", "", "text ", "", 8);
  expect("open braces", "", "{ ", "", 8);
  expect("carriage returns", "", "\r", "", 8);
  expect("comments", "", "{# x #}", "", 8);
  expect("statements", "", "{%set a=1%}", "", 60);
  expect("macros", "", "{%macro m#()%}x{%endmacro%}", "", 60);
  expect("prints", "", "{{a}}", "", 60);
  expect("raw blocks", "", "{%raw%}{%x {%endraw%}", "", 40);
  expect("raw blocks without an end", "{%raw%}", "{% ", "", 8);
  expect("a list", "{{[", "1", "]}}", 60, ",");
  expect("an object", "{{{", "\"a#\":#", "}}}", 60, ",");
  expect("a sum", "{{1", "+1", "}}", 60);
  expect("filters", "{{a", "|e", "}}", 60);
  expect("brackets", "{{", "(", "", 60);
  expect("conditions", "{%if a%}", "{%elif a%}", "{%endif%}", 60);
  expect("loops in loops", "", "{%for a in b%}", "", 60);
  expect("a string", "{{'", "x\\n", "'}}", 12);
  expect("strings", "{{", "'x'", "}}", 40);
  expect("a number", "{{", "1", "}}", 8);
  expect("zeros and digits", "{{", "01", "}}", 60, " ");
  expect("a name", "{{", "x", "}}", 8);
  expect("white space in a tag", "{{", "   \n", "a}}", 8);
  expect("trimmed white space", "", "x  {{- a}}", "", 60);
}

}  // namespace
}  // namespace intarsia
