// SentencePiece's tokenizer.model from the vocabulary of a GGUF file.
#pragma once

#include <string>

#include "intarsia/tokenizer/tokenizer.h"

namespace intarsia {

// The protobuf of a "llama" (BPE by scores) or "t5" (Unigram) vocabulary; empty
// for other models, and where none of the tokens is the unknown one, which the
// format wants.
std::string SentencePieceOf(const TokenizerVocab& vocab);

}  // namespace intarsia
