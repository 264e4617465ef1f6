#include "intarsia/cli/reasoning.h"

#include <gtest/gtest.h>

#include <utility>

namespace intarsia {
namespace {

// (answer, reasoning) of a text that arrives in pieces of `size` bytes.
std::pair<std::string, std::string> Split(const std::string& text, size_t size,
                                          bool open = false) {
  std::string parts[2];
  ReasoningSplitter splitter(open,
                             [&](const std::string& piece, bool reasoning) {
                               EXPECT_FALSE(piece.empty());
                               parts[reasoning] += piece;
                             });
  for (size_t i = 0; i < text.size(); i += size) {
    splitter.Push(text.substr(i, size));
  }
  splitter.Finish();
  return {parts[0], parts[1]};
}

using Parts = std::pair<std::string, std::string>;

TEST(ReasoningTest, PiecesOfAnySizeGiveTheSameParts) {
  for (size_t size = 1; size < 40; ++size) {
    EXPECT_EQ(Split("<think>\nfirst\nthen\n</think>\n\nYes <b>!", size),
              Parts("Yes <b>!", "first\nthen\n"));
    EXPECT_EQ(Split("plain < text <thin", size),
              Parts("plain < text <thin", ""));
    EXPECT_EQ(Split("already</think> out", size, true),
              Parts("out", "already"));
    EXPECT_EQ(Split("a<think>b</think>c<think>d", size), Parts("ac", "bd"));
    EXPECT_EQ(Split("<think>\n\n</think>\n\nempty", size), Parts("empty", ""));
  }
}

TEST(ReasoningTest, ThePromptMayOpenIt) {
  EXPECT_TRUE(EndsInReasoning("<|assistant|>\n<think>\n"));
  EXPECT_TRUE(EndsInReasoning("<think>"));
  EXPECT_FALSE(EndsInReasoning("<think></think>"));
  EXPECT_FALSE(EndsInReasoning(""));
  EXPECT_FALSE(EndsInReasoning(" \n"));
}

}  // namespace
}  // namespace intarsia
