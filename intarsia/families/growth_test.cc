// Time and memory of reading configurations, from their text to the model's.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "intarsia/checkpoint/json_input.h"
#include "intarsia/core/growth_testing.h"
#include "intarsia/families/family.h"
#include "intarsia/model/config.h"

namespace intarsia {
namespace {

// More than are read, so that the shapes and not the limit are seen.
constexpr size_t kAll = size_t{1} << 24;

void ExpectNative(const std::string& name, const std::string& head,
                  const std::string& item, const std::string& tail,
                  double memory) {
  ExpectLinear(
      "intarsia.json: " + name,
      [&](size_t bytes) { return Repeated(head, item, tail, bytes); },
      [](const std::string& text) {
        const auto json =
            ParseJson(text, "f", {.non_finite = true, .values = kAll});
        ASSERT_TRUE(json.ok()) << json.status().message();
        (void)ParseModelConfig(*json);  // read or refused
      },
      {.memory = memory});
}

constexpr char kNative[] =
    R"({"intarsia":1,"vocab_size":8,"dim":8,"eos_ids":[1],)";

TEST(ConfigurationGrowth, Native) {
  const std::string wide(900, ' ');  // 4096 blocks are read
  const std::string sublayer =
      R"({"mixer":"glu","config":{"hidden":8,"x":")" + wide + R"("}})";
  ExpectNative("blocks", kNative + std::string(R"("blocks":[)"),
               R"({"sublayers":[)" + sublayer + "]}", "]}", 16);
  ExpectNative("more blocks than are read",
               kNative + std::string(R"("blocks":[)"), R"({"sublayers":[{}]})",
               "]}", 32);
  ExpectNative("sublayers",
               kNative + std::string(R"("blocks":[{"sublayers":[)"),
               R"({"mixer":"glu"})", "]}]}", 32);
  ExpectNative("blocks that repeat", kNative + std::string(R"("blocks":[)"),
               R"({"repeat":1,"sublayers":[)" + sublayer + "]}", "]}", 16);
  ExpectNative("ends", R"({"intarsia":1,"eos_ids":[)", "1", "]}", 32);
  ExpectNative("unknown members", kNative, R"("k#":0)", "}", 24);
}

TEST(ConfigurationGrowth, Foreign) {
  const auto expect = [](const std::string& type, const std::string& name,
                         const std::string& head, const std::string& item,
                         const std::string& tail) {
    const Family* family = FindFamily(type);
    ASSERT_NE(family, nullptr) << type;
    ExpectLinear(
        "config.json of " + type + ": " + name,
        [&](size_t bytes) {
          return Repeated(R"({"model_type":")" + type + R"(",)" + head, item,
                          tail + "}", bytes);
        },
        [&](const std::string& text) {
          const auto json =
              ParseJson(text, "f", {.non_finite = true, .values = kAll});
          ASSERT_TRUE(json.ok()) << json.status().message();
          (void)family->from_config(*json);  // read or refused
        },
        {.memory = 32});
  };
  for (const char* type : {"llama", "qwen2", "mamba2", "gpt2"}) {
    expect(type, "members that are not read", "", R"("k#":0)", "");
    expect(type, "ends", R"("eos_token_id":[)", "2", "]");
    expect(type, "kinds of layers", R"("layer_types":[)", "\"full_attention\"",
           "]");
    expect(type, "rotary fields", R"("rope_scaling":{"short_factor":[)", "1.0",
           "]}");
  }
}

}  // namespace
}  // namespace intarsia
