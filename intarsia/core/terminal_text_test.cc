#include "intarsia/core/terminal_text.h"

#include <gtest/gtest.h>

namespace intarsia {
namespace {

TEST(TerminalTextTest, ControlCharactersAreEscapes) {
  EXPECT_EQ(TerminalLine("a\x1b[31mb\n\r\t\x7f"), "a\\x1b[31mb\\n\\r\\t\\x7f");
  EXPECT_EQ(TerminalLine(std::string_view("a\0b", 3)), "a\\x00b");
  EXPECT_EQ(TerminalLine("\xC2\x9B"
                         "31m"),
            "\\x9b31m");  // CSI in one character
  EXPECT_EQ(TerminalLine("\xE2\x80\xAE"
                         "a\xE2\x81\xA6"),
            "\\u202ea\\u2066");
}

TEST(TerminalTextTest, TextStays) {
  const std::string text = "caf\xC3\xA9 \xE2\x82\xAC \xF0\x9F\x98\x80 \"x\\\"";
  EXPECT_EQ(TerminalLine(text), text);
  EXPECT_EQ(TerminalText("a\n\tb\x1b"), "a\n\tb\\x1b");
}

TEST(TerminalTextTest, BytesThatFormNoCharacter) {
  EXPECT_EQ(TerminalLine("\xC3"), "\\xc3");
  EXPECT_EQ(TerminalLine("\xC0\xAF"), "\\xc0\\xaf");           // too long
  EXPECT_EQ(TerminalLine("\xED\xA0\x80"), "\\xed\\xa0\\x80");  // a surrogate
  EXPECT_EQ(TerminalLine("\xF4\x90\x80\x80z"), "\\xf4\\x90\\x80\\x80z");
}

TEST(TerminalTextTest, TheMiddleOfALongTextGoes) {
  std::string text = "[room] file: ";
  for (int i = 0; i < 2000; ++i) text += "\xC3\xA9";
  text += " is wrong";
  const std::string cut = TerminalLine(text, {.most = 2000});
  EXPECT_LT(cut.size(), 2040u);
  EXPECT_TRUE(cut.starts_with("[room] file: \xC3\xA9"));
  EXPECT_TRUE(cut.ends_with("\xC3\xA9 is wrong"));
  EXPECT_EQ(TerminalLine(cut), cut);  // no character was cut
}

}  // namespace
}  // namespace intarsia
