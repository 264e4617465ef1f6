// Cuts a template into text and the tokens of its tags, with jinja2's rules
// for white space: trim_blocks and lstrip_blocks are on, one newline at the
// end of the template is dropped, "-" and "+" at a tag's sides overrule.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace intarsia::chat_template {

struct Token {
  enum Type {
    kText,
    kVariableBegin,
    kVariableEnd,
    kBlockBegin,
    kBlockEnd,
    kName,
    kString,  // text: the value, escapes resolved
    kInteger,
    kFloat,
    kOperator,
    kEnd,
  };
  Type type = kEnd;
  std::string text;
  int line = 1;
};

// The last token is kEnd. Fails with a TemplateError that names the line.
std::vector<Token> Tokenize(std::string_view source);

}  // namespace intarsia::chat_template
