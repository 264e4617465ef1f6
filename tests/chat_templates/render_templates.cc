// Renders templates: what published_templates.py compares.
//
// Each line of the input is {"template": TEXT, "variables": OBJECT}, each line
// of the output {"text": TEXT} or {"error": MESSAGE}. The clock stands at
// 13:05:09 on Saturday, 26 July 2025.
#include <cstdio>
#include <ctime>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>

#include "intarsia/tokenizer/chat_template/chat_template.h"

int main() {
  intarsia::ChatTemplateOptions options;
  std::tm now{};
  now.tm_year = 125;
  now.tm_mon = 6;
  now.tm_mday = 26;
  now.tm_hour = 13;
  now.tm_min = 5;
  now.tm_sec = 9;
  now.tm_wday = 6;
  now.tm_yday = 206;
  options.now = now;
  std::string line;
  while (std::getline(std::cin, line)) {
    using Json = nlohmann::ordered_json;
    const Json input = Json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (input.is_discarded()) {
      std::fprintf(stderr, "render_templates: a line is not JSON\n");
      return 2;
    }
    const auto text = intarsia::RenderTemplate(
        input.at("template").get_ref<const std::string&>(),
        input.at("variables"), options);
    Json output;
    if (text.ok()) {
      output["text"] = *text;
    } else {
      output["error"] = text.status().message();
    }
    std::printf("%s\n", output.dump().c_str());
  }
  return 0;
}
