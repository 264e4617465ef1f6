#include "intarsia/core/fuzz/replay.h"

#include "intarsia/tokenizer/fuzz/targets.h"

namespace intarsia {
namespace {

const std::string kCorpus = "intarsia/tokenizer/fuzz/corpus/";

TEST(FuzzReplay, TokenizerJson) {
  ReplayFuzzCorpus(kCorpus + "tokenizer_json", FuzzTokenizerJson,
                   "0123456789\"{}[],:\\");
}

TEST(FuzzReplay, TokenizerParts) {
  ReplayFuzzCorpus(kCorpus + "tokenizer_parts", FuzzTokenizerParts,
                   "0123456789\"{}[],:\\^&(");
}

TEST(FuzzReplay, TokenizerConfig) {
  ReplayFuzzCorpus(kCorpus + "tokenizer_config", FuzzTokenizerConfig,
                   "0123456789\"{}[],:\\");
}

TEST(FuzzReplay, TokenizerVocab) {
  ReplayFuzzCorpus(kCorpus + "tokenizer_vocab", FuzzTokenizerVocab,
                   "0123456789 \t\n-.");
}

TEST(FuzzReplay, VocabMerges) {
  ReplayFuzzCorpus(kCorpus + "vocab_merges", FuzzVocabMerges,
                   "0123456789\"{}:, \n#");
}

TEST(FuzzReplay, SentencePiece) {
  ReplayFuzzCorpus(kCorpus + "sentencepiece", FuzzSentencePiece,
                   "\x08\x0a\x10\x12\x1a\xff");
}

TEST(FuzzReplay, RwkvWords) {
  ReplayFuzzCorpus(kCorpus + "rwkv_words", FuzzRwkvWords,
                   "0123456789 '\"\\xbu\n");
}

TEST(FuzzReplay, ChatTemplate) {
  ReplayFuzzCorpus(kCorpus + "chat_template", FuzzChatTemplate,
                   "{}%|()[]'\"-+*/.,:=! 0123456789");
}

}  // namespace
}  // namespace intarsia
